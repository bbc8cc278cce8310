"""A process's temporary folder: its own while it runs, and gone after it."""

import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from stages.common.own_folder import own_folder


@pytest.fixture(autouse=True)
def system_folder(tmp_path, monkeypatch):
    """The folder of all temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_removed(system_folder):
    for left in ("kind-left", "other-left"):
        (system_folder / left).mkdir()
    with own_folder("kind-") as running, own_folder("kind-") as folder:
        assert {path.name for path in system_folder.iterdir()} == {running.name, folder.name, "other-left"}
    assert [path.name for path in system_folder.iterdir()] == ["other-left"]


def test_processes_that_start_together_keep_their_folders(system_folder):
    def use(_: int) -> bool:
        with own_folder("kind-") as folder:
            folder.joinpath("file").touch()
            return folder.joinpath("file").is_file()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(400)))
    assert list(system_folder.iterdir()) == []
