"""How much of the disk folders take, beside `du`."""

import os
import subprocess
from pathlib import Path

import pytest

from stages.core.disk import used_gigabytes


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a large, a small, an empty and a sparse file, one of them under two names, and a link out of it."""
    (tmp_path / "outside").write_bytes(bytes(range(256)) * 40_000)
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    for name, size in (("large", 3_000_000), ("deep/small", 1), ("empty", 0)):
        (inside / name).write_bytes(os.urandom(size))
    os.truncate(inside / "empty", 50_000_000)
    (inside / "again").hardlink_to(inside / "large")
    (inside / "link").symlink_to(tmp_path / "outside")
    return inside


def test_it_is_what_du_finds_in_the_files(folder):
    files = [str(path) for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    lines = subprocess.run(["du", "--block-size=1", "--total", *files], capture_output=True, text=True, check=True).stdout
    assert used_gigabytes([folder]) * 1e9 == pytest.approx(int(lines.splitlines()[-1].split()[0]))


def test_a_folder_within_another_counts_once(folder):
    assert used_gigabytes([folder, folder / "deep"]) == used_gigabytes([folder]) > 0.003


def test_a_folder_that_is_left_out_does_not_count(folder):
    rest = used_gigabytes([folder]) - used_gigabytes([folder / "deep"])
    assert used_gigabytes([folder], without=folder / "deep") == pytest.approx(rest)
    assert used_gigabytes([folder / "deep"]) > 0


def test_a_folder_that_does_not_exist_takes_nothing(folder):
    assert used_gigabytes([folder / "none"]) == 0
