"""params.yaml: composed from conf/, by the user's choices and by DVC's experiments alike."""

import shutil
from pathlib import Path

import pytest
import yaml

from stages.cli.main import main
from stages.core.choices import flat
from stages.core.composition import check_composed, configure
from stages.core.errors import InputError
from stages.core.params import ModelName, Params, Section
from stages.core.params_file import read_params
from tests.support import ROOT
from tests.support.composed import composed, group

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
    """A folder with conf/ and params.yaml alone."""
    shutil.copytree(CONF, tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path)
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
    def test_choices_are_kept_and_composed(self, project, capsys):
        configured = ["preset=paper", "source=folder", "ingest.source.path=photos", "train.steps=800"]
        assert main(["configure", *configured]) == 0
        assert "params.yaml: train.steps: 400 → 800" in capsys.readouterr().out
        wanted = composed(*configured)
        assert yaml.safe_load(Path("params.yaml").read_text()) == wanted
        assert composed(conf=project / "conf") == wanted
        check_composed()
        assert main(["configure"]) == 0
        shown = capsys.readouterr().out.split()
        assert shown == ["preset=paper", "source=folder", "ablation=null", "ingest.source.path=photos", "train.steps=800"]

        configure(["train.batch=4"])  # a later choice leaves the others as they are
        assert read_params().train.steps == 800
        assert read_params().ingest.source.path == "photos"

    def test_a_row_of_the_ablation_keeps_the_choices(self, project):
        configure(["preset=paper", "source=folder", "train.steps=800"])
        row = composed("ablation=guided", conf=project / "conf")
        expected = composed("preset=paper", "source=folder", "train.steps=800", "ablation=guided")
        assert row == expected
        assert row["train"]["losses"]["noise"] == "guided"
        assert row["train"]["base"]["name"].startswith("CompVis/")

    def test_comments_stay_and_texts_are_quoted(self, project):
        comment = Path("conf/config.yaml").read_text().partition("defaults:")[0]
        configure(["train.precision=no"])
        configure(["ingest.source.images=9"])
        text = Path("conf/config.yaml").read_text()
        assert text.startswith(comment)
        assert 'precision: "no"' in text
        assert read_params().train.precision == "no"

    def test_a_value_can_be_forgotten(self, project):
        before = Path("conf/config.yaml").read_text(), Path("params.yaml").read_text()
        assert configure(["train.losses.perceptual_weight=0.1"]) == ["train.losses.perceptual_weight: 0.5 → 0.1"]
        assert configure(["~train.losses.perceptual_weight"]) == ["train.losses.perceptual_weight: 0.1 → 0.5"]
        assert (Path("conf/config.yaml").read_text(), Path("params.yaml").read_text()) == before

    def test_another_source_forgets_the_values_of_the_last(self, project):
        configure(["source=folder", "ingest.source.path=photos"])
        configure(["source=openmoji"])
        assert read_params().ingest.source.kind == "openmoji"

    @pytest.mark.parametrize(
        ("choices", "message"),
        [
            (["preset=papr"], "preset = papr: allowed are embedded, paper"),
            (["preset=null"], "preset = null: allowed are embedded, paper"),
            (["train.steps=0"], "train.steps = 0: Input should be greater than 0"),
            (["train.stepz=3"], "train.stepz = 3: no such key; there are base, "),
            (["source=folder", "ingest.source.images=3"], "ingest.source.images = 3: no such key"),
            (["train.steps"], "train.steps: must be KEY=VALUE or ~KEY"),
            (["train.steps=1,2"], "train.steps=1,2: must be KEY=VALUE, with one value"),
            (["+train.steps=1"], "+train.steps=1: must be KEY=VALUE, with one value"),
            (["~preset"], "~preset: only single values can be forgotten; a group needs a file: preset=embedded"),
            (["defaults=[]"], "defaults=[]: only single values can be forgotten"),
            (["~train.steps"], "~train.steps: is not among the choices: preset=embedded, source=openmoji, ablation=null"),
            (["ablation=guided", "train.losses.noise=mask"], "train.losses.noise = mask: ablation=guided makes it guided"),
        ],
    )
    def test_errors_in_one_line_write_nothing(self, project, capsys, choices, message):
        before = {path: path.read_bytes() for path in project.rglob("*.yaml")}
        assert main(["configure", "train.batch=4", *choices]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}")
        assert error.count("\n") == 1
        assert {path: path.read_bytes() for path in project.rglob("*.yaml")} == before

    @pytest.mark.parametrize("content", ["defaults: [", "- base\n", "seed: 1\n", "defaults: base\n"])
    def test_damaged_choices_are_named(self, project, content):
        Path("conf/config.yaml").write_text(content)
        with pytest.raises(InputError, match=r"^conf/config\.yaml: (not YAML|must hold the list defaults)"):
            configure(["train.batch=4"])

    def test_a_damaged_preset_is_named(self, project):
        Path("conf/preset/paper.yaml").write_text("# @package _global_\ntrain: [\n")
        with pytest.raises(InputError, match=r"^conf: "):
            configure(["preset=paper"])

    def test_outside_of_a_project_it_says_so(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["configure"]) == 2
        assert capsys.readouterr().err == "error: conf/config.yaml: no such file; run from the folder of the project\n"


class TestCheck:
    def test_a_value_in_params_alone_is_refused(self, project, capsys):
        path = Path("params.yaml")
        path.write_text(path.read_text().replace("steps: 400", "steps: 700").replace("levels: 4", "levels: 3"))
        message = (
            r"^params\.yaml: mutate\.levels = 3, but conf composes to 4 \(and 1 more differ\), .*iedit configure KEY=VALUE"
        )
        with pytest.raises(InputError, match=message):
            check_composed()
        assert main(["configure"]) == 2
        assert "iedit configure preset=embedded" in capsys.readouterr().err
        configure(["preset=embedded"])
        check_composed()

    def test_a_preset_in_params_alone_is_refused(self, project):
        """As ``dvc exp run -S preset=paper`` leaves it: the next experiment would be of the embedded world again."""
        Path("params.yaml").write_text(yaml.safe_dump(composed("preset=paper", "source=folder")))
        with pytest.raises(InputError, match=r"^params\.yaml: ingest\.source\.kind = folder, but conf composes to openmoji"):
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
