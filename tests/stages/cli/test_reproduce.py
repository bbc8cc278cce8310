"""``iedit reproduce``: the comparison of every stage and its verdict; tests/ops reproduces a real version."""

import copy
import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from stages.cli import main as cli
from stages.cli import reproduce
from stages.core.errors import InputError
from stages.core.files import write_json
from stages.core.params_file import read_params
from stages.core.paths import REFERENCE
from stages.tracking import lineage, record
from tests.support import ROOT
from tests.support.recorded_project import PIPELINE
from tests.support.versions import keep_record

OUTS = {
    "ingest": {"data/a": {"md5": "1"}},
    "train": {"models/iedit": {"md5": "2"}},
    "evaluate": {"reports/latest/metrics.json": {"md5": "3"}},
}
METRICS = json.loads((ROOT / REFERENCE / "metrics.json").read_text())


class TestRefusals:
    def test_version_made_without_dvc(self, version, capsys):
        Path("dvc.lock").unlink()
        keep_record(version)
        assert cli.main(["reproduce", "1"]) == 2
        assert capsys.readouterr().err == "error: the version was not made by DVC: no hash of a stage was recorded\n"

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            (["stages/a.py", "params.yaml"], "the version was made with changes that no commit holds: stages/a.py"),
            (None, "the version was not made in a git repository: there is no commit to clone"),
        ],
    )
    def test_changes_without_a_commit(self, version, monkeypatch, capsys, changed, reason):
        monkeypatch.setattr(record, "changed_files", lambda: changed)
        keep_record(version)
        assert cli.main(["reproduce", "1"]) == 2
        assert capsys.readouterr().err == f"error: {reason}\n"

    def test_missing_commit_or_full_folder(self, version, monkeypatch, capsys):
        monkeypatch.setattr(record, "git_tags", lambda: {lineage.COMMIT: "0" * 40})
        keep_record(version)
        assert cli.main(["reproduce", "1", "--into", "clone"]) == 2
        assert "error: git checkout: fatal: " in capsys.readouterr().err
        assert cli.main(["reproduce", "1", "--into", "models"]) == 2
        assert capsys.readouterr().err == "error: --into models: is not empty\n"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"train": None}, "stage train: is not in the record of the version, so there is nothing to compare it with"),
            ({"other": {}}, "stage other: is not in dvc.yaml, so there is nothing to compare it with"),
        ],
    )
    def test_stage_without_counterpart(self, tmp_path, changes, reason):
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        stages = {name: {} for name in PIPELINE["stages"]}
        recorded = {name: outs for name, outs in (stages | changes).items() if outs is not None}
        with pytest.raises(InputError, match=reason):
            reproduce.stages_to_compare(tmp_path, recorded)
        assert reproduce.stages_to_compare(tmp_path, stages) == ["ingest", "train", "evaluate"]


class TestDifferences:
    def compare(self, folder: Path, **changes: str) -> str:
        out = folder / "data/a"
        out.mkdir(parents=True)
        for name in "abcdefgh":
            (out / name).write_text(name)
        recorded = {"data/a": record.hash_out(out), "b": {"md5": "1"}}
        for name, text in changes.items():
            (out / name).write_text(text)
        return reproduce.name_differences(recorded, {"data/a": record.hash_out(out)["md5"], "b": "1"}, folder)

    def test_equal_outs(self, tmp_path):
        assert self.compare(tmp_path) == ""

    def test_differing_files_are_named_and_counted(self, tmp_path):
        assert self.compare(tmp_path, b="x", new="y") == "data/a (2 of 8 files: b, new)"

    def test_only_the_first_of_many_are_named(self, tmp_path):
        changes = dict.fromkeys("abcdefgh", "x")
        assert self.compare(tmp_path, **changes) == "data/a (8 of 8 files: a, b, c, d, e and 3 more)"

    def test_missing_out_and_out_without_a_list(self, tmp_path):
        recorded = {"data/a": {"md5": "1.dir", "files": {"x": "1"}}, "b": {"md5": "2"}}
        assert reproduce.name_differences(recorded, {"b": "3"}, tmp_path) == "data/a; b"


def test_the_project_here_says_who_makes_the_shards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(here.replace("workers: null", "workers: 3"))
    (tmp_path / "clone").mkdir()
    there = tmp_path / "clone" / "params.yaml"
    there.write_text(here.replace("engine: auto", "engine: ray").replace("seed: 0", "seed: 010", 1))
    reproduce.choose_engine(there)
    made = read_params(there)
    assert (made.execution.engine, made.execution.workers, made.seed) == ("auto", 3, 10)
    assert made.model_copy(update={"execution": None, "seed": 0}) == read_params().model_copy(update={"execution": None})
    there.write_text("seed: 5\n")  # as a version before the section has it
    reproduce.choose_engine(there)
    assert there.read_text() == "seed: 5\n"


def test_other_libraries_are_reported(capsys):
    reproduce.warn_of_other_libraries(lineage.libraries() | {"torch": "0.1"})
    here = lineage.libraries()["torch"]
    assert capsys.readouterr().err == f"other libraries than the version's may cause differences: torch 0.1 (here {here})\n"
    reproduce.warn_of_other_libraries(lineage.libraries())
    assert capsys.readouterr().err == ""


class Clone:
    """A clone in which the stages make what ``made`` says, without DVC; the remote has nothing."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.kept, self.folder = folder, folder / "clone"
        self.ran: list[str] = []
        self.made = {"ingest": "1", "train": "2", "evaluate": "3"}
        (self.folder / "reports/latest").mkdir(parents=True)
        (self.folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        kept = {"commit": "c", "changed": ["params.yaml"], "stages": OUTS, "libraries": lineage.libraries()}
        write_json(folder / "lineage.json", kept)
        for name in ("params.yaml", "dvc.lock"):
            (folder / name).write_text("{}")
        monkeypatch.chdir(folder)  # a folder without local files to copy
        monkeypatch.setattr(reproduce, "clean_clone", lambda *_: nullcontext(self.folder))
        monkeypatch.setattr(reproduce, "run_dvc", self.run)

    def run(self, folder: Path, *arguments: str) -> None:
        if arguments[0] == "pull":
            raise InputError("dvc pull: ERROR: no such bucket")
        self.ran.append(arguments[-1])
        entries = {name: {"outs": [{"path": next(iter(OUTS[name])), "md5": self.made[name]}]} for name in self.ran}
        (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": entries}))

    def write_scores(self, **scores: float) -> None:
        """Keep the reference's scores with the version; in the clone, some of iEdit-M are others."""
        found = copy.deepcopy(METRICS)
        found["systems"]["iedit_m"] |= scores
        write_json(self.kept / "metrics.json", METRICS)
        write_json(self.folder / "reports/latest/metrics.json", found)


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Clone:
    return Clone(tmp_path, monkeypatch)


class TestVerdict:
    """Every stage is compared, also after one that differs; the scores decide."""

    def test_identical(self, clone, capsys):
        assert reproduce.compare_in_clone(clone.kept) is True
        assert clone.ran == ["ingest", "train", "evaluate"]
        printed = capsys.readouterr()
        assert printed.out.splitlines() == [
            "ingest     rebuilt, identical",
            "train      rebuilt, identical",
            "evaluate   rebuilt, identical",
            "identical: 3 stages",
        ]
        assert printed.err == "cannot pull data/a from the DVC remote: dvc pull: ERROR: no such bucket\n"

    def test_equal_within_tolerance(self, clone, capsys):
        clone.made |= {"train": "other", "evaluate": "other"}
        clone.write_scores(ssim_m_bar_frame=METRICS["systems"]["iedit_m"]["ssim_m_bar_frame"] + 0.5)
        assert reproduce.compare_in_clone(clone.kept) is True
        assert clone.ran == ["ingest", "train", "evaluate"]
        assert capsys.readouterr().out.splitlines() == [
            "ingest     rebuilt, identical",
            "train      rebuilt, other bytes: models/iedit",
            "evaluate   rebuilt, other bytes: reports/latest/metrics.json",
            "equal within tolerance: the largest difference of a score is 0.5 (SSIM-M̄ (frame, %) of iEdit-M; allowed 1)",
        ]

    def test_scores_beyond_tolerance_differ(self, clone, capsys):
        clone.made |= {"ingest": "other"}
        clone.write_scores(edit_success=METRICS["systems"]["iedit_m"]["edit_success"] - 3.5)
        assert reproduce.compare_in_clone(clone.kept) is False
        assert clone.ran == ["ingest", "train", "evaluate"]
        verdict = "differs: the largest difference of a score is 3.5 (Edit success (%) of iEdit-M; allowed 3)"
        assert capsys.readouterr().out.splitlines()[-1] == verdict

    def test_without_recorded_scores_other_bytes_differ(self, clone, capsys):
        clone.made |= {"train": "other"}
        assert reproduce.compare_in_clone(clone.kept) is False
        verdict = "differs: 1 of 3 stages have other bytes; no scores were recorded that could be compared"
        assert capsys.readouterr().out.splitlines()[-1] == verdict

    def test_scores_on_other_cases_are_not_compared(self, clone, capsys):
        clone.made |= {"ingest": "other"}
        clone.write_scores()
        write_json(clone.kept / "metrics.json", METRICS | {"cases_digest": "other"})
        assert reproduce.compare_in_clone(clone.kept) is False
        verdict = "differs: 1 of 3 stages have other bytes, as do the cases or the models that score them"
        assert capsys.readouterr().out.splitlines()[-1] == verdict

    @pytest.mark.parametrize(("result", "code"), [(True, 0), (False, 1)])
    def test_exit_code(self, version, monkeypatch, result, code):
        keep_record(version)
        monkeypatch.setattr(reproduce, "compare_in_clone", lambda *_: result)
        assert cli.main(["reproduce", "1"]) == code


def test_pulled_corpus_is_compared_by_its_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # a folder without local files to copy
    clone = tmp_path / "clone"
    (clone / "data/a").mkdir(parents=True)
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
    assert capsys.readouterr().out.splitlines()[0] == "ingest     pulled, other bytes: data/a (1 of 1 files: 0.tar)"
