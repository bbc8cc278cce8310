"""The files that no commit holds."""

from stages.core.local_files import copy_local_files


def test_existing_files_are_copied_over_older_ones(tmp_path, monkeypatch):
    project, copy = tmp_path / "project", tmp_path / "copy"
    for name, text in (("data/nltk/corpora/words", "new"), (".dvc/config", "remote")):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text(text)
    (copy / "data/nltk/corpora").mkdir(parents=True)
    (copy / "data/nltk/corpora/words").write_text("old")
    (copy / ".dvc").mkdir()
    monkeypatch.chdir(project)
    copy_local_files(copy)
    assert (copy / "data/nltk/corpora/words").read_text() == "new"
    assert [path.name for path in (copy / ".dvc").iterdir()] == ["config"]
