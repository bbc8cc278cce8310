"""``iedit configure`` from the command line."""

from pathlib import Path

import pytest

from stages.cli.main import main
from stages.core.params import FolderSource, WebDatasetSource
from stages.core.params_file import read_params
from tests.support.composed import copy_conf


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The current folder, with conf/ and params.yaml alone."""
    copy_conf(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_prints_choices_and_changed_values(project, capsys):
    assert main(["configure", "preset=paper", "source=folder", "ingest.source.path=photos", "train.steps=800"]) == 0
    assert "params.yaml: train.steps: 400 → 800" in capsys.readouterr().out
    assert main(["configure"]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == ["preset=paper", "source=folder", "ablation=null", "ingest.source.path=photos", "train.steps=800"]
    assert main(["configure", "train.steps=800"]) == 0
    assert capsys.readouterr().out.endswith("params.yaml: nothing changed\n")


def test_both_sources_of_own_images_are_chosen(project):
    assert main(["configure", "preset=paper", "source=folder", "ingest.source.path=photos"]) == 0
    assert read_params().ingest.source == FolderSource(kind="folder", path="photos")
    assert main(["configure", "preset=paper", "source=webdataset", 'ingest.source.path="corpus/*.tar"']) == 0
    assert read_params().ingest.source == WebDatasetSource(kind="webdataset", path="corpus/*.tar")
    assert read_params().ingest.size == 384


def test_without_choices_it_reports_a_value_in_params_alone(project, capsys):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("steps: 400", "steps: 700"))
    assert main(["configure"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: params.yaml: train.steps = 700, but conf composes to 400")
    assert "iedit configure preset=embedded" in error
    assert main(["configure", "preset=embedded"]) == 0
    assert main(["configure"]) == 0


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["preset=papr"], "preset = papr: allowed are embedded, paper"),
        (["preset=null"], "preset = null: allowed are embedded, paper"),
        (["train.steps=0"], "train.steps = 0: must be a whole number, above 0"),
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
def test_errors_are_one_line_and_write_nothing(project, capsys, choices, message):
    before = {path: path.read_bytes() for path in project.rglob("*.yaml")}
    assert main(["configure", "train.batch=4", *choices]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in project.rglob("*.yaml")} == before


def test_outside_of_a_project_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["configure"]) == 2
    assert capsys.readouterr().err == "error: conf/config.yaml: no such file; run from the folder of the project\n"
