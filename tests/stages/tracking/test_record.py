"""The record of how a version was made."""

import json
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages.core.params_file import read_params
from stages.tracking import record, registry, store
from tests.support.recorded_project import commit, git
from tests.support.versions import keep_record


def location_of(made: registry.Registered) -> Path:
    return Path(store.connect().get_logged_model(made.model_id).artifact_location.removeprefix("file://"))


def change_code() -> None:
    Path("nano").mkdir()
    Path("nano/code.py").write_text("changed")


def test_outs_are_hashed_as_dvc_hashes_them(recorded_project):
    ((_, out),) = record.read_lock(Path("dvc.lock"))["ingest"].items()
    assert record.hash_out(Path("data/a"))["md5"] == out
    assert set(record.hash_out(Path("data/a"))["files"]) == {"part", "deep/er"}
    Path("one.txt").write_text("one")
    for name in ("dvc.yaml", "dvc.lock"):  # DVC refuses them: they hold no more than this project reads
        Path(name).unlink()
    with Repo() as repo:
        (added,) = repo.add("one.txt")
        assert record.hash_out(Path("one.txt")) == {"md5": added.outs[0].hash_info.value}


def test_record_holds_every_stage_and_the_commit(version):
    kept = keep_record(version)
    assert kept["commit"] == git("rev-parse", "HEAD")
    assert kept["changed"] == []
    assert {name: set(outs) for name, outs in kept["stages"].items()} == {
        "ingest": {"data/a"},
        "train": {"models/iedit"},
        "evaluate": {"reports/latest/metrics.json"},
    }
    assert kept["stages"]["ingest"]["data/a"] == record.hash_out(Path("data/a"))


def test_files_are_kept_beside_the_record(version):
    keep_record(version)
    folder = record.fetch_record(store.connect(), version, Path("kept").absolute())
    for path in (Path("params.yaml"), Path("dvc.lock"), Path("reports/latest/metrics.json")):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_untracked_lock_file_is_recorded_and_no_change(version):
    assert "dvc.lock" in git("status", "--porcelain")
    kept = keep_record(version)
    assert (kept["changed"], "ingest" in kept["stages"]) == ([], True)


def test_committed_lock_file_that_differs_is_no_change(version):
    commit("with dvc.lock")
    Path("dvc.lock").write_text(Path("dvc.lock").read_text() + "\n")
    assert "dvc.lock" in git("status", "--porcelain")
    assert keep_record(version)["changed"] == []


def test_evaluation_amid_changes_keeps_the_first_record(version):
    first = keep_record(version)
    change_code()
    assert keep_record(version) == first
    commit("two")
    assert keep_record(version)["commit"] != first["commit"]


def test_record_that_a_kill_cut_short_is_replaced(version):
    first = keep_record(version)
    change_code()
    (path,) = location_of(version).rglob("lineage.json")
    path.write_text(path.read_text()[:99])
    assert keep_record(version) == first | {"changed": ["nano/"]}


def test_record_from_before_scores_were_kept_is_whole(version):
    keep_record(version)
    (path,) = location_of(version).rglob("lineage.json")
    content = json.loads(path.read_text())
    del content["files"]["metrics.json"]
    path.write_text(json.dumps(content))
    path.with_name("metrics.json").unlink()
    Path("fetched").mkdir()
    folder = record.fetch_record(store.connect(), version, Path("fetched").absolute())
    assert not (folder / "metrics.json").exists()


@pytest.mark.parametrize("missing", [["dvc.lock"], ["dvc.lock", "dvc.yaml"]])
def test_record_without_dvc_has_no_upstream_stages(version, monkeypatch, missing):
    for name in missing:
        Path(name).unlink()
    monkeypatch.setattr(record, "changed_files", list)
    record.save_record(store.connect(), version, read_params(), {})
    shutil.rmtree("kept", ignore_errors=True)
    Path("kept").mkdir()
    kept = record.fetch_record(store.connect(), version, Path("kept").absolute())
    stages = json.loads((kept / "lineage.json").read_text())["stages"]
    assert set(stages) == (set() if "dvc.yaml" in missing else {"train", "evaluate"})
