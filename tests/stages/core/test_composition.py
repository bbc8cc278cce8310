"""params.yaml: composed from conf/, by the user's choices and by DVC's experiments alike."""

from pathlib import Path

import pytest
import yaml

from stages.core.choices import flat
from stages.core.composition import apply_choices, check_composed, compose_params
from stages.core.errors import InputError
from stages.core.params import ModelName, Params, Section
from stages.core.params_file import read_params
from tests.support import ROOT
from tests.support.composed import composed, copy_conf, group

CONF = ROOT / "conf"
OPEN = "???"  # a value that base.yaml leaves to a preset or a source
SWITCHES = {"train.prompts", "segment.targets", *(f"train.losses.{name}" for name in ("noise", "global_clip", "local_clip"))}
FILTERS = {
    **{f"retrieve.min_{name}": -1.0 for name in ("image_image", "text_image", "directional")},
    "retrieve.text_gain": False,
    "segment.min_area": 0.0,
    "segment.max_area": 1.0,
}


def load(path: Path) -> dict:
    return flat(yaml.safe_load(path.read_text()))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The current folder, with conf/ and params.yaml alone."""
    copy_conf(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestConf:
    def test_params_file_is_the_embedded_preset(self):
        assert yaml.safe_load((ROOT / "params.yaml").read_text()) == composed()

    @pytest.mark.parametrize("preset", ["embedded", "paper"])
    @pytest.mark.parametrize("source", ["openmoji", "folder", "webdataset"])
    def test_every_preset_goes_with_every_source(self, preset, source):
        assert (group("preset"), group("source")) == (["embedded", "paper"], ["folder", "openmoji", "webdataset"])
        params = Params.model_validate(composed(f"preset={preset}", f"source={source}"))
        assert params.ingest.source.kind == source

    def test_base_explains_every_key_once(self):
        """Each key of each section has a comment; the keys of a source are explained where they stand, in conf/source."""
        text = (CONF / "base.yaml").read_text()
        lines = {line.partition(":")[0]: line for line in _dotted(text)}
        assert set(lines) == set(_keys(Params))
        uncommented = [key for key, line in lines.items() if "#" not in line]
        parents = {key.rpartition(".")[0] for key in uncommented}
        assert all("#" in lines[key] for key in parents), uncommented
        for name in group("source"):
            sources = (CONF / "source" / f"{name}.yaml").read_text()
            assert sources.count("#") > 1

    @pytest.mark.parametrize("path", [f"{kind}/{name}" for kind in ("preset", "source") for name in group(kind)])
    def test_files_hold_differences_only(self, path):
        base = load(CONF / "base.yaml")
        for key, value in load(CONF / f"{path}.yaml").items():
            known = next(base[at] for at in (key, key.rpartition(".")[0], "ingest.source") if at in base)
            assert known != value, key

    @pytest.mark.parametrize("preset", group("preset"))
    def test_presets_fill_all_that_base_leaves_open(self, preset):
        filled = load(CONF / "preset" / f"{preset}.yaml")
        for key, value in load(CONF / "base.yaml").items():
            if value == OPEN and key != "ingest.source":
                assert any(name == key or name.startswith(f"{key}.") for name in filled), key

    @pytest.mark.parametrize("row", group("ablation"))
    @pytest.mark.parametrize("preset", group("preset"))
    def test_rows_keep_every_number_of_a_preset(self, preset, row):
        """A row switches terms, prompts and targets, or filters off; λ_perc and guidance stay as the preset tuned them."""
        chosen = flat(composed(f"preset={preset}", f"ablation={row}"))
        changed = {key for key, value in flat(composed(f"preset={preset}")).items() if chosen[key] != value}
        assert changed <= SWITCHES | {"train.losses.perceptual"} | set(FILTERS)
        assert all(chosen[key] == FILTERS[key] for key in changed & set(FILTERS))
        Params.model_validate(composed(f"preset={preset}", f"ablation={row}"))


class TestConfigure:
    def test_choices_are_kept_and_composed(self, project):
        choices = ["preset=paper", "source=folder", "ingest.source.path=photos", "train.steps=800"]
        assert "train.steps: 400 → 800" in apply_choices(choices)
        assert yaml.safe_load(Path("params.yaml").read_text()) == composed(*choices)
        assert composed(conf=project / "conf") == composed(*choices)
        check_composed()
        apply_choices(["train.batch=4"])  # a later choice leaves the others as they are
        assert read_params().train.steps == 800
        assert read_params().ingest.source.path == "photos"

    def test_a_row_of_the_ablation_keeps_the_choices(self, project):
        apply_choices(["preset=paper", "source=folder", "train.steps=800"])
        row = composed("ablation=guided", conf=project / "conf")
        assert row == composed("preset=paper", "source=folder", "train.steps=800", "ablation=guided")
        assert row["train"]["losses"]["noise"] == "guided"
        assert row["train"]["base"]["name"].startswith("CompVis/")
        assert compose_params("ablation=guided") == Params.model_validate(row)

    def test_a_damaged_preset_is_named(self, project):
        Path("conf/preset/paper.yaml").write_text("# @package _global_\ntrain: [\n")
        with pytest.raises(InputError, match=r"^conf/preset/paper\.yaml: not YAML: line 3: "):
            apply_choices(["preset=paper"])


class TestFiles:
    """Hydra reads YAML 1.1, iedit and DVC 1.2: a file of conf/ that they read differently is refused."""

    @pytest.mark.parametrize(
        ("word", "hydra", "dvc"),
        [
            ("010", "8", "10"),
            ("0o10", "'0o10'", "8"),
            ("yes", "True", "'yes'"),
            ("1:30", "90", "'1:30'"),
            ("2001-01-01", "'2001-01-01'", r"datetime\.date"),
        ],
    )
    @pytest.mark.parametrize("path", ["conf/preset/embedded.yaml", "conf/config.yaml"])
    def test_words_that_are_read_differently_are_refused(self, project, path, word, hydra, dvc):
        with Path(path).open("a") as file:
            file.write(f"extra:\n  key: {word}\n")
        message = rf"^{path}: extra\.key is {hydra} to Hydra and {dvc}.* to DVC; write a plain number, or a text in quotes$"
        for compose in (check_composed, compose_params, lambda: apply_choices(["train.batch=4"])):
            with pytest.raises(InputError, match=message):
                compose()

    def test_long_texts_are_compared_in_full(self, project):
        """Two lists differ in their last number only; the message shows the first 100 characters."""
        with Path("conf/config.yaml").open("a") as file:
            file.write(f"extra:\n  key: [{', '.join(['1'] * 100)}, 010]\n")
        with pytest.raises(
            InputError, match=r"^conf/config\.yaml: extra\.key is \[1, .{0,100}… to Hydra and \[1, .{0,100}… to DVC;"
        ):
            check_composed()

    @pytest.mark.parametrize(("word", "value"), [("1e-4", 0.0001), ("1_0.5e-4", 0.00105), (".001", 0.001)])
    def test_numbers_that_are_read_alike_are_composed(self, project, word, value):
        path = Path("conf/base.yaml")
        path.write_text(path.read_text().replace("learning_rate: 0.0002", f"learning_rate: {word}"))
        apply_choices(["preset=embedded"])
        assert read_params().train.learning_rate == value
        check_composed()


class TestCheck:
    def test_a_value_in_params_alone_is_refused(self, project):
        path = Path("params.yaml")
        path.write_text(path.read_text().replace("steps: 400", "steps: 700").replace("levels: 4", "levels: 3"))
        message = r"^params\.yaml: mutate\.levels = 3, but conf composes to 4 \(and 1 other differs\), .*KEY=VALUE"
        with pytest.raises(InputError, match=message):
            check_composed()

    def test_further_differences_are_counted(self, project):
        path = Path("params.yaml")
        text = path.read_text().replace("steps: 400", "steps: 700").replace("levels: 4", "levels: 3")
        path.write_text(text.replace("max_cases: ", "max_cases: 1"))
        with pytest.raises(InputError, match=r" \(and 2 others differ\), "):
            check_composed()

    def test_a_preset_in_params_alone_is_refused(self, project):
        """As ``dvc exp run -S preset=paper`` leaves it: the next experiment would be of the embedded world again."""
        Path("params.yaml").write_text(yaml.safe_dump(composed("preset=paper", "source=folder")))
        with pytest.raises(InputError, match=r"^params\.yaml: threads = null, but conf composes to 2 \(and \d+ others"):
            check_composed()


def _dotted(text: str) -> list[str]:
    """Return the lines of a YAML text that have a key, each with its dotted key, in place of the key."""
    lines, parents = [], []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        key, _, rest = line.strip().partition(":")
        parents[depth:] = [key]
        lines.append(f"{'.'.join(parents)}:{rest}")
    return lines


def _keys(section: type[Section], prefix: str = "") -> list[str]:
    """Return every key of params.yaml, sections too, without those of a model and of a source."""
    keys = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        keys.append(prefix + name)
        if isinstance(kind, type) and issubclass(kind, Section) and kind is not ModelName:
            keys += _keys(kind, f"{prefix}{name}.")
    return keys
