"""What is kept of a version's making, and how one that is made again is compared; tests/ops makes a whole one again."""

import json
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from PIL import Image

from stages.cli import main as cli
from stages.cli import reproduce
from stages.cli.clone import clean_clone, copy_local_files, run_dvc
from stages.core.errors import InputError
from stages.core.files import file_digest, write_json
from stages.core.params_file import read_params
from stages.corpus.samples import CorpusSample, write_corpus
from stages.tracking import lineage, record, registry, store
from tests.support import ROOT

WHO = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
PIPELINE = {
    "stages": {
        "evaluate": {
            "cmd": "true",
            "deps": ["models/iedit", "data/a/part"],
            "metrics": [{"reports/metrics.json": {"cache": False}}],
        },
        "train": {"cmd": "true", "deps": ["data/a"], "outs": [{"models/iedit": {"persist": True}}]},
        "ingest": {"cmd": "true", "outs": ["data/a"]},
    }
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A git and DVC project with outs of three stages, the first of which is in DVC's cache and in dvc.lock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("data/a/part", "data/a/deep/er", "models/iedit/unet", "reports/metrics.json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    Path(".gitignore").write_text("/models/\n/mlflow.db\n/mlruns/\n/kept/\n")
    subprocess.run(["git", "init", "-q"], check=True)
    with Repo.init() as repo:
        (added,) = repo.add("data/a")
        md5 = added.outs[0].hash_info.value
    Path("data/a.dvc").unlink()
    Path("dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"ingest": {"outs": [{"path": "data/a", "md5": md5}]}}}))
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", *WHO, "commit", "-qm", "one"], check=True)
    return tmp_path


def test_outs_are_hashed_as_dvc_does_it(project):
    ((_, out),) = record.read_lock(Path("dvc.lock"))["ingest"].items()
    assert record.hash_out(Path("data/a"))["md5"] == out
    assert set(record.hash_out(Path("data/a"))["files"]) == {"part", "deep/er"}
    Path("one.txt").write_text("one")
    for name in ("dvc.yaml", "dvc.lock"):  # they have no more than this module reads
        Path(name).unlink()
    with Repo() as repo:
        (added,) = repo.add("one.txt")
        assert record.hash_out(Path("one.txt")) == {"md5": added.outs[0].hash_info.value}


class TestRecord:
    @pytest.fixture
    def made(self, project, empty_store) -> registry.Registered:
        shutil.copy(empty_store, project)
        client = store.connect()
        model = client.create_logged_model(store.experiment_id(client), name="iedit")
        client.create_model_version(
            "iedit",
            f"models:/{model.model_id}",
            model_id=model.model_id,
            tags={"iedit.digest": "d"},
            description="promoted: why",
        )
        return registry.find_version("1")

    def keep(self, made) -> dict:
        weights = {"train.clip": {"name": "a/clip", "revision": "main", "identity": "c" * 40}}
        record.save_record(store.connect(), made.model_id, read_params(), weights)
        Path("kept").mkdir(exist_ok=True)
        folder = record.fetch_record(store.connect(), made.model_id, Path("kept").absolute())
        assert (folder / "params.yaml").read_bytes() == Path("params.yaml").read_bytes()
        assert (folder / "dvc.lock").read_bytes() == Path("dvc.lock").read_bytes()
        return json.loads((folder / "lineage.json").read_text())

    def test_it_holds_every_stage_and_the_commit(self, made):
        kept = self.keep(made)
        assert (
            kept["commit"]
            == subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        )
        assert kept["changed"] == []
        assert {name: set(outs) for name, outs in kept["stages"].items()} == {
            "ingest": {"data/a"},
            "train": {"models/iedit"},
            "evaluate": {"reports/metrics.json"},
        }
        assert kept["stages"]["ingest"]["data/a"] == record.hash_out(Path("data/a"))

    def test_a_version_does_not_forget_the_commit_that_it_can_be_rebuilt_from(self, made):
        first = self.keep(made)
        Path("nano").mkdir()
        Path("nano/code.py").write_text("changed")
        assert self.keep(made) == first
        subprocess.run(["git", "add", "-A"], check=True)
        subprocess.run(["git", *WHO, "commit", "-qm", "two"], check=True)
        assert self.keep(made)["commit"] != first["commit"]

    def test_a_record_that_a_kill_cut_short_is_made_again(self, made):
        first = self.keep(made)
        Path("nano").mkdir()
        Path("nano/code.py").write_text("changed")
        place = store.connect().get_logged_model(made.model_id).artifact_location
        (path,) = Path(place.removeprefix("file://")).rglob("lineage.json")
        path.write_text(path.read_text()[:99])
        assert self.keep(made) == first | {"changed": ["nano/"]}

    @pytest.mark.parametrize("name", ["params.yaml", "lineage.json"])
    def test_what_does_not_belong_together_is_never_told(self, made, capsys, name):
        self.keep(made)
        place = store.connect().get_logged_model(made.model_id).artifact_location
        (path,) = Path(place.removeprefix("file://")).rglob(name)
        path.write_text(path.read_text()[:99])
        for command in ("lineage", "reproduce"):
            assert cli.main([command, "1"]) == 2
            said = capsys.readouterr().err
            assert said.endswith(": the record of how it was made is not whole; evaluate keeps it again\n")

    def test_it_is_told_from_anywhere(self, made, tmp_path_factory, monkeypatch, capsys):
        self.keep(made)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri())
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        torch = lineage.libraries()["torch"]
        for version in ("1", "models:/iedit/1"):
            assert cli.main(["lineage", version]) == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines[0] == "version    models:/iedit/1"
            assert lines[1] == "decision   promoted: why"
            for said in ("corpus     cases 300, images 6000, kind openmoji", f"  train.clip           a/clip  {'c' * 40}"):
                assert said in lines
            assert any(line.split()[:2] == ["train.losses.noise", "guided"] for line in lines)
            assert ["torch", torch] in [line.split() for line in lines]
            stages = lines[lines.index("stages") + 1 :][:3]
            assert [line.split()[0] for line in stages] == ["ingest", "train", "evaluate"]

    def test_its_training_and_every_shard_are_told(self, made, capsys):
        Path("data/corpus").mkdir()
        picture = Image.new("RGB", (8, 8))
        samples = [
            CorpusSample(key=str(n), image=picture, alt_text="", metadata={"origin": {"name": f"photo {n}"}}) for n in (0, 1)
        ]
        write_corpus(Path("data/corpus/00000.tar"), samples)
        write_json(
            Path("data/corpus/00000.done.json"), {"fingerprint": "", "digest": "", "done": 2, "dropped": {}, "notes": []}
        )
        client = store.connect()
        run = client.create_run(
            store.experiment_id(client),
            run_name="train",
            tags={"mlflow.source.git.commit": "c0ffee", "iedit.git_dirty": "true"},
        ).info.run_id
        version = client.create_model_version(
            "iedit", f"models:/{made.model_id}", run_id=run, model_id=made.model_id, tags={"iedit.digest": "e"}
        ).version
        self.keep(made)
        assert cli.main(["lineage", str(version)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert f"training   run {run} (train), commit c0ffee, with changes" in lines
        digest = file_digest(Path("data/corpus/00000.tar"))
        assert f"  00000.tar  {digest}  2 samples, the first from photo 0" in lines

    @pytest.mark.parametrize("missing", [["dvc.lock"], ["dvc.lock", "dvc.yaml"]])
    def test_what_dvc_recorded_nothing_of_cannot_be_made_again(self, made, monkeypatch, capsys, missing):
        for name in missing:
            Path(name).unlink()
        monkeypatch.setattr(record, "changed_files", list)
        record.save_record(store.connect(), made.model_id, read_params(), {})
        kept = record.fetch_record(store.connect(), made.model_id, Path.cwd())
        assert set(json.loads((kept / "lineage.json").read_text())["stages"]) == (
            set() if "dvc.yaml" in missing else {"train", "evaluate"}
        )
        assert cli.main(["reproduce", "1"]) == 2
        assert capsys.readouterr().err == "error: the version was not made by DVC: no hash of a stage was recorded\n"

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            (["stages/a.py", "params.yaml"], "the version was made with changes that no commit holds: stages/a.py"),
            (None, "the version was not made in a git repository: there is no commit to clone"),
        ],
    )
    def test_what_no_commit_holds_cannot_be_made_again(self, made, monkeypatch, capsys, changed, said):
        monkeypatch.setattr(record, "changed_files", lambda: changed)
        self.keep(made)
        assert cli.main(["reproduce", "1"]) == 2
        assert capsys.readouterr().err == f"error: {said}\n"

    def test_a_commit_that_is_nowhere_is_told(self, made, monkeypatch, capsys):
        monkeypatch.setattr(record, "git_tags", lambda: {lineage.COMMIT: "0" * 40})
        self.keep(made)
        assert cli.main(["reproduce", "1", "--into", "clone"]) == 2
        assert "error: git checkout: fatal: " in capsys.readouterr().err
        assert cli.main(["reproduce", "1", "--into", "models"]) == 2
        assert capsys.readouterr().err == "error: --into models: is not empty\n"


def test_a_clone_has_what_is_of_the_machine_and_a_stage_that_fails_there_is_told(project):
    Path("data/nltk/corpora").mkdir(parents=True)
    Path("data/nltk/corpora/words").write_text("words")
    Path(".dvc/config.local").write_text("[core]\n    autostage = false\n")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    with clean_clone(commit, None) as clone:
        copy_local_files(clone)
        for name in ("data/nltk/corpora/words", ".dvc/config.local", "dvc.yaml"):
            assert (clone / name).read_bytes() == Path(name).read_bytes()
        for said in ("'./dvc.lock' validation failed: 2 errors.", "ERROR: Stage 'nowhere' not found inside 'dvc.yaml' file"):
            with pytest.raises(InputError) as told:
                run_dvc(clone, "repro", "nowhere")
            assert str(told.value).strip() == f"dvc repro nowhere: {said}"
            (clone / "dvc.lock").unlink(missing_ok=True)
    assert not clone.exists()


def test_libraries_are_those_that_the_stages_need_with_all_that_these_need():
    found = lineage.libraries()
    assert {"python", "torch", "numpy", "tokenizers", "faiss-cpu", "pillow"} <= set(found)
    assert {"prefect", "pytest", "ruff"}.isdisjoint(found)


def test_stages_come_after_what_they_need(tmp_path):
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    assert reproduce._in_order(tmp_path) == ["ingest", "train", "evaluate"]


class TestComparison:
    def compare(self, folder: Path, **changes: str) -> str:
        out = folder / "data/a"
        out.mkdir(parents=True)
        for name in "abcdefgh":
            (out / name).write_text(name)
        recorded = {"data/a": record.hash_out(out), "b": {"md5": "1"}}
        for name, text in changes.items():
            (out / name).write_text(text)
        return reproduce._compare(recorded, {"data/a": record.hash_out(out)["md5"], "b": "1"}, folder)

    def test_the_same(self, tmp_path):
        assert self.compare(tmp_path) == ""

    def test_what_differs_is_named_and_counted(self, tmp_path):
        assert self.compare(tmp_path, b="x", new="y") == "differs: data/a (2 of 8 files: b, new)"

    def test_not_all_are_named_of_many(self, tmp_path):
        changes = dict.fromkeys("abcdefgh", "x")
        assert self.compare(tmp_path, **changes) == "differs: data/a (8 of 8 files: a, b, c, d, e and 3 more)"

    def test_an_out_that_is_missing_and_one_without_a_list(self, tmp_path):
        recorded = {"data/a": {"md5": "1.dir", "files": {"x": "1"}}, "b": {"md5": "2"}}
        assert reproduce._compare(recorded, {"b": "3"}, tmp_path) == "differs: data/a; b"


def test_other_libraries_are_told(capsys):
    reproduce._tell_libraries(lineage.libraries() | {"torch": "0.1"})
    here = lineage.libraries()["torch"]
    told = f"other libraries than the version's, so a difference may be theirs: torch 0.1 (here {here})\n"
    assert capsys.readouterr().err == told
    reproduce._tell_libraries(lineage.libraries())
    assert capsys.readouterr().err == ""


def test_a_stage_that_differs_ends_the_comparison(tmp_path, monkeypatch, capsys):
    clone, ran = tmp_path / "clone", []
    for name in ("data/a", ".dvc"):
        (clone / name).mkdir(parents=True)
    (clone / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    outs = {"ingest": {"data/a": {"md5": "1"}}, "train": {"models/iedit": {"md5": "2"}}, "evaluate": {"reports": {"md5": "3"}}}
    kept = {"commit": "c", "changed": ["params.yaml"], "stages": outs, "libraries": lineage.libraries()}
    write_json(tmp_path / "lineage.json", kept)
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("{}")

    def run(folder: Path, *arguments: str) -> None:
        ran.append(arguments[0] if arguments[0] == "pull" else arguments[-1])
        if arguments[0] == "pull":
            raise InputError("dvc pull: ERROR: no such bucket")
        made = {"ingest": "1", "train": "other"}
        entries = {name: {"outs": [{"path": next(iter(outs[name])), "md5": made[name]}]} for name in ran[1:]}
        (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": entries}))

    monkeypatch.setattr(reproduce, "clean_clone", lambda *_: nullcontext(clone))
    monkeypatch.setattr(reproduce, "run_dvc", run)
    assert reproduce.compare_in_clone(tmp_path) is False
    assert ran == ["pull", "ingest", "train"]
    said = capsys.readouterr()
    assert said.out.splitlines() == ["ingest     made again, identical", "train      made again, differs: models/iedit"]
    assert said.err == "the DVC remote does not give data/a: dvc pull: ERROR: no such bucket\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": None}, "stage train: is not in what was recorded of the version, so there is nothing to compare it with"),
        ({"other": {}}, "stage other: is not in dvc.yaml, so there is nothing to compare it with"),
    ],
)
def test_a_stage_without_a_counterpart_is_told(tmp_path, changes, said):
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    all_of_them = {name: {} for name in PIPELINE["stages"]}
    recorded = {name: outs for name, outs in (all_of_them | changes).items() if outs is not None}
    with pytest.raises(InputError, match=said):
        reproduce._stages_to_compare(tmp_path, recorded)
    assert reproduce._stages_to_compare(tmp_path, all_of_them) == ["ingest", "train", "evaluate"]


def test_a_pulled_corpus_is_compared_by_its_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where no WordNet is, to be copied
    clone = tmp_path / "clone"
    for name in ("data/a", ".dvc"):
        (clone / name).mkdir(parents=True)
    (clone / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": PIPELINE["stages"]["ingest"]}}))
    (clone / "data/a/0.tar").write_text("as it was")
    outs = {"ingest": {"data/a": record.hash_out(clone / "data/a")}}
    write_json(tmp_path / "lineage.json", {"commit": "c", "changed": [], "stages": outs, "libraries": lineage.libraries()})
    lock = yaml.safe_dump({"stages": {"ingest": {"outs": [{"path": "data/a", "md5": outs["ingest"]["data/a"]["md5"]}]}}})
    for name, text in (("params.yaml", "{}"), ("dvc.lock", lock)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(reproduce, "clean_clone", lambda *_: nullcontext(clone))
    monkeypatch.setattr(reproduce, "run_dvc", lambda *_: None)
    assert reproduce.compare_in_clone(tmp_path) is True
    assert capsys.readouterr().out == "ingest     pulled, identical\nidentical: 1 stages\n"
    (clone / "data/a/0.tar").write_text("another")
    assert reproduce.compare_in_clone(tmp_path) is False
    assert capsys.readouterr().out == "ingest     pulled, differs: data/a (1 of 1 files: 0.tar)\n"
