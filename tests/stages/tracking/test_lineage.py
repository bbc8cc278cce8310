"""The commit, the libraries, and DVC's digests."""

import subprocess
from pathlib import Path

import yaml

from stages.tracking import lineage


def test_commit_and_changed_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(lineage.git_tags().values()) == {"none"}
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *command], check=True)
    (tmp_path / "dvc.lock").touch()
    assert lineage.git_tags()["iedit.git_dirty"] == "false"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")  # a machine without git
        assert set(lineage.git_tags().values()) == {"none"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").touch()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").touch()
    assert lineage.changed_files() == []  # the user's pictures and the address of the data are not code
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "new.py").touch()
    assert lineage.changed_files() == ["stages/"]
    assert lineage.git_tags()["iedit.git_dirty"] == "true"
    assert len(lineage.git_tags()["mlflow.source.git.commit"]) == 40


def test_pipeline_digest_covers_upstream_stages_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lineage.pipeline_digest("train") == "none"
    stages = {
        "ingest": {"cmd": "i", "outs": [{"path": "data/corpus", "md5": "1"}]},
        "segment": {
            "cmd": "s",
            "deps": [{"path": "data/corpus/x", "md5": "1"}],
            "outs": [{"path": "data/training", "md5": "2"}],
        },
        "train": {"cmd": "t", "deps": [{"path": "data/training", "md5": "2"}], "outs": [{"path": "models", "md5": "3"}]},
    }

    def digest(**changes: object) -> str:
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": {"deps": ["data/training", "code.py"]}}}))
        Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages | changes}))
        return lineage.pipeline_digest("train")

    assert digest() == digest(train={"cmd": "other"}) == digest(other={"outs": [{"path": "elsewhere", "md5": "4"}]})
    assert digest() != digest(ingest={"cmd": "i", "outs": [{"path": "data/corpus", "md5": "9"}]})


def test_libraries_are_those_of_the_stages_and_their_requirements():
    found = lineage.libraries()
    assert {"python", "torch", "numpy", "tokenizers", "faiss-cpu", "pillow"} <= set(found)
    assert {"prefect", "pytest", "ruff"}.isdisjoint(found)
