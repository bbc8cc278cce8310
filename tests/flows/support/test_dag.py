import pytest

from flows.support.dag import PipelineError, stages_in_order
from tests.support.flow_project import make_dvc_project


def test_order_is_that_of_the_dag(dvc_project):
    order = stages_in_order()
    assert [name for name in order if name not in ("away", "lonely", "wrong")] == ["first", "second", "third"]
    assert "inner" not in order


def test_targets_bring_what_they_need(dvc_project):
    assert stages_in_order(["second"]) == ["first", "second"]


def test_errors_name_the_stage_or_the_file(dvc_project, tmp_path, monkeypatch):
    with pytest.raises(PipelineError, match="thrid: no such stage; there are away, first, lonely, second, third, wrong"):
        stages_in_order(["thrid"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match=r"dvc\.yaml: .*not inside of a DVC repository"):
        stages_in_order()
    make_dvc_project(tmp_path, "stages: {}\n")
    with pytest.raises(PipelineError, match=r"dvc\.yaml: no stages; run from the folder of the project"):
        stages_in_order()
