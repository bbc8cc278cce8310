"""Data in remotes, DVC experiments, and a version reproduced in a clean clone."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml

from stages.__main__ import STAGES
from tests.ops.platform import until
from tests.ops.storage import AWS, s3_server
from tests.support.small_project import ROOT, assert_up_to_date, commit, environment_of, make_project, run

OUTS = ("data/corpus", "data/captions", "data/edits", "data/pairs", "data/training", "models")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Path]:
    """The small project of a team that commits its dvc.lock, after one run; its default remote is in a home of its own."""
    folder = tmp_path_factory.mktemp("rebuilding") / "iedit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder.parent / "home"))
        make_project(folder)
        shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
        commit(folder, "small")
        run(folder, "dvc", "repro")
        commit(folder, "results")
        yield folder


def iedit(project: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "stages.cli.main", *arguments]
    done = subprocess.run(command, cwd=project, env=environment_of(project), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def lose_data(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    for name in OUTS:
        shutil.rmtree(project / name)


def test_data_returns_from_the_default_remote(project):
    run(project, "dvc", "push")
    lose_data(project)
    run(project, "dvc", "pull")
    assert_up_to_date(project)


def test_data_reaches_a_clean_clone_through_s3(project, tmp_path, monkeypatch):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path / "moto.log", "data") as address:
        clone = tmp_path / "clone"
        run(project, "git", "clone", "-q", str(project), str(clone))
        for folder in (project, clone):
            run(folder, "dvc", "remote", "add", "--local", "--default", "s3", "s3://data/iedit")
            run(folder, "dvc", "remote", "modify", "--local", "s3", "endpointurl", address)
        try:
            run(project, "dvc", "push")
            run(clone, "dvc", "pull")
        finally:
            (project / ".dvc" / "config.local").unlink()
        assert clone.joinpath("data/corpus/00000.tar").read_bytes() == project.joinpath("data/corpus/00000.tar").read_bytes()
        found = boto3.client("s3", endpoint_url=address).list_objects_v2(Bucket="data", Prefix="iedit/files/md5/")
        assert found["KeyCount"] > len(STAGES)


def test_champion_is_reproduced_in_a_clean_clone(project):
    """The version was recorded before any commit had a dvc.lock."""
    run(project, "dvc", "push")
    code, output = iedit(project, "reproduce", "models:/iedit@champion")
    assert code == 0, output
    how = ["pulled", *["rebuilt"] * (len(STAGES) - 1)]
    lines = [line.split(maxsplit=1) for line in output.splitlines()]
    for stage, words in zip(STAGES, how, strict=True):
        assert [stage, f"{words}, identical"] in lines, output
    assert re.search(r"^identical: \d+ stages$", output, flags=re.MULTILINE), output


def test_stage_with_other_bytes_does_not_end_the_comparison(project, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # without a remote
    (path,) = project.glob("mlruns/**/lineage/lineage.json")
    before = path.read_text()
    record = json.loads(before)
    captions = record["stages"]["caption"]["data/captions"]
    captions["md5"] = "0" * 32 + ".dir"
    captions["files"]["00001.parquet"] = "0" * 32
    try:
        path.write_text(json.dumps(record))
        code, output = iedit(project, "reproduce", "1", "--into", str(tmp_path / "clone"))
    finally:
        path.write_text(before)
    assert code == 0, output
    lines = output.splitlines()
    files = f"1 of {len(captions['files'])} files: 00001.parquet"
    assert f"caption    rebuilt, other bytes: data/captions ({files})" in lines
    for stage in set(STAGES) - {"caption"}:
        assert f"{stage:<10} rebuilt, identical" in lines, output
    assert any(line.startswith("equal within tolerance: the largest difference of a score is 0 (") for line in lines), output
    assert any(line.startswith("cannot pull data/corpus, ") for line in lines), output
    assert (tmp_path / "clone" / "dvc.yaml").exists()


ONE_ABLATION_MODEL = """
from flows.ablation import EXPERIMENTS, SNAPSHOT, Start, choices_of, scoring_digest, training_digest, try_configuration
from flows.support.sandbox import open_sandbox
from prefect import flow

from stages.core.composition import compose_params

@flow
def one():
    row = compose_params(*choices_of("web_captions"))
    with open_sandbox(EXPERIMENTS) as sandbox, open_sandbox(SNAPSHOT) as snapshot:
        snapshot.check_out()
        try_configuration("web_captions", 0, row, Start(training_digest(), scoring_digest()), sandbox, snapshot)

one()
"""


class TestExperiments:
    def runs(self, project: Path) -> dict[str, dict[str, str]]:
        code = (
            "import json; from stages.tracking.store import connect, experiment_id; client = connect();"
            "print(json.dumps({run.info.run_name: {**run.data.tags, **run.data.params}"
            " for run in client.search_runs([experiment_id(client)])}))"
        )
        return json.loads(run(project, sys.executable, "-c", code).splitlines()[-1])

    def test_training_experiment_is_a_run_of_its_name(self, project):
        run(project, "dvc", "exp", "run", "-n", "four-steps", "-S", "train.steps=4")
        made = self.runs(project)["four-steps"]
        assert (made["iedit.experiment"], made["train.steps"], made["iedit.role"]) == ("four-steps", "4", "train")
        run(project, "git", "stash", "-q")
        shown = run(project, "dvc", "exp", "show", "--csv")
        assert "four-steps" in shown
        run(project, "dvc", "checkout")
        run(project, "dvc", "exp", "apply", "four-steps")
        assert yaml.safe_load((project / "params.yaml").read_text())["train"]["steps"] == 4
        code, output = iedit(project, "lineage", "models:/iedit/2")
        assert code == 0
        assert "with changes in params.yaml" in output

    def test_queued_experiment_logs_to_the_same_store(self, project):
        run(project, "git", "checkout", "-q", ".")
        run(project, "dvc", "checkout")
        run(project, "dvc", "exp", "run", "--queue", "-C", "data/nltk", "-n", "queued", "-S", "evaluate.bootstrap=30")
        run(project, "dvc", "queue", "start")
        until(lambda: any(word in run(project, "dvc", "queue", "status") for word in ("Success", "Failed")))
        status = run(project, "dvc", "queue", "status")
        assert "Success" in status, status + run(project, "dvc", "queue", "logs", "queued")
        made = self.runs(project)["queued"]
        assert (made["iedit.experiment"], made["evaluate.bootstrap"], made["iedit.role"]) == ("queued", "30", "evaluate")
        assert list((project / ".dvc").rglob("mlflow.db")) == []

    def test_ablation_model_in_a_sandbox_logs_to_the_same_store(self, project, tmp_path):
        run(project, "git", "checkout", "-q", ".")
        run(project, "dvc", "checkout")
        names = ["params.yaml", "dvc.lock", *(str(path) for path in (project / "models").rglob("*") if path.is_file())]
        before = {name: (project / name).read_bytes() for name in names}
        (tmp_path / "one.py").write_text(ONE_ABLATION_MODEL)
        output = run(project, sys.executable, str(tmp_path / "one.py"))
        assert {name: (project / name).read_bytes() for name in names} == before
        assert set(re.findall(r"Running stage '(\w+)'", output)) == {"models", "source", "train"}
        made = self.runs(project)["ablation-web_captions-0"]
        assert (made["iedit.experiment"], made["train.prompts"], made["iedit.role"]) == (
            "ablation-web_captions-0",
            "alt",
            "train",
        )
        assert "ablation-web_captions-0" in run(project, "dvc", "exp", "show", "--csv")
        run(project, "dvc", "get", ".", "models/iedit", "--rev", "ablation-web_captions-0", "-o", str(tmp_path / "iedit"))
        weights = "unet/diffusion_pytorch_model.safetensors"
        assert (tmp_path / "iedit" / weights).read_bytes() != (project / "models/iedit" / weights).read_bytes()
        kept = json.loads((project / "logs/ablation/web_captions-0.json").read_text())
        assert set(kept["scores"]) == {"iedit"}
        assert [path.name for path in (project / "logs/ablation").iterdir() if path.is_dir()] == []
        assert list((project / "logs").rglob("mlflow.db")) == []
