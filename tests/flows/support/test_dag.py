import pytest

from flows.support.dag import PipelineError, has_remote, local_remote, stages_in_order
from tests.support.flow_project import make_dvc_project


def test_order_is_that_of_the_dag(dvc_project):
    order = stages_in_order()
    assert [name for name in order if name not in ("away", "full", "lonely", "wrong")] == ["first", "second", "third"]
    assert "inner" not in order


def test_targets_bring_what_they_need(dvc_project):
    assert stages_in_order(["second"]) == ["first", "second"]


def test_errors_name_the_stage_or_the_file(dvc_project, tmp_path, monkeypatch):
    with pytest.raises(PipelineError, match="thrid: no such stage; there are away, first, full, lonely, second, third, wrong"):
        stages_in_order(["thrid"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match=r"dvc\.yaml: .*not inside of a DVC repository"):
        stages_in_order()
    make_dvc_project(tmp_path, "stages: {}\n")
    with pytest.raises(PipelineError, match=r"dvc\.yaml: no stages; run from the folder of the project"):
        stages_in_order()


@pytest.mark.parametrize("url", ["", "../remote", "s3://bucket/iedit"])
def test_a_remote_may_be_a_folder(tmp_path, monkeypatch, url):
    make_dvc_project(tmp_path, "stages: {}\n")
    monkeypatch.chdir(tmp_path)
    if url:
        (tmp_path / ".dvc/config").write_text(
            f"[core]\n    no_scm = True\n    remote = own\n['remote \"own\"']\n    url = {url}\n"
        )
    assert has_remote() == bool(url)
    assert local_remote() == (tmp_path / "remote" if url == "../remote" else None)
