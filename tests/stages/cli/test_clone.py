"""A clean clone, and DVC in it."""

from pathlib import Path

import pytest

from stages.cli.clone import clean_clone, run_dvc
from stages.core.errors import InputError
from stages.core.local_files import copy_local_files
from tests.support.recorded_project import git


def test_clone_gets_local_files_and_reports_failing_stages(recorded_project):
    Path("data/nltk/corpora").mkdir(parents=True)
    Path("data/nltk/corpora/words").write_text("words")
    Path(".dvc/config.local").write_text("[core]\n    autostage = false\n")
    with clean_clone(git("rev-parse", "HEAD"), None) as clone:
        copy_local_files(clone)
        for name in ("data/nltk/corpora/words", ".dvc/config.local", "dvc.yaml"):
            assert (clone / name).read_bytes() == Path(name).read_bytes()
        assert not (clone / "dvc.lock").exists()  # no commit has it
        (clone / "dvc.lock").write_text("stages: {ingest: {}}")
        for reason in ("'./dvc.lock' validation failed: 2 errors.", "ERROR: Stage 'nowhere' not found inside 'dvc.yaml' file"):
            with pytest.raises(InputError) as failed:
                run_dvc(clone, "repro", "nowhere")
            assert str(failed.value).strip() == f"dvc repro nowhere: {reason}"
            (clone / "dvc.lock").unlink(missing_ok=True)
    assert not clone.exists()
