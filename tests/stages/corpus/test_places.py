"""The source's path, also from the copy of the project in which a queued experiment runs."""

from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.corpus.places import resolve
from stages.ingest import ingest
from tests.support.sources import FOLDER, kept, numbered_folder, params_for


def test_relative_path_in_a_queue_is_the_projects(monkeypatch, tmp_path):
    queue = tmp_path / ".dvc/tmp/exps/tmpab12"
    queue.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("photos") == "photos"
    monkeypatch.chdir(queue)
    assert resolve("photos/*.tar") == str(tmp_path / "photos/*.tar")
    for path in ("/elsewhere/photos", "s3://bucket/*.tar"):
        assert resolve(path) == path


def test_queued_ingest_reads_the_projects_untracked_folder(workplace, monkeypatch):
    source = numbered_folder([1, 2])
    queue = Path(".dvc/tmp/exps/tmpab12")
    queue.mkdir(parents=True)
    monkeypatch.chdir(queue)
    ingest(params_for(source))
    assert len(kept()) == 2
    with pytest.raises(InputError, match=r"'nowhere': no such folder; .* copy of the project"):
        ingest(params_for(FOLDER | {"path": "nowhere"}))
