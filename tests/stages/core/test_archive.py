"""A tar that proves that it is what was written."""

import io
import tarfile
from pathlib import Path

import pytest

from stages.core.archive import MANIFEST, extract_archive, write_archive
from stages.core.errors import InputError
from stages.core.files import read_json


@pytest.fixture
def archive(tmp_path) -> Path:
    (tmp_path / "a").write_bytes(b"one\0" * 5000)
    (tmp_path / "b").write_bytes(b"")
    write_archive(tmp_path / "all.tar", {"deep/er/a": tmp_path / "a", "b": tmp_path / "b"}, {"made": "today"})
    return tmp_path / "all.tar"


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def rewrite(path: Path, content: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_what_was_written_comes_back(archive, tmp_path):
    assert list(members(archive))[-1] == MANIFEST
    assert extract_archive(archive, tmp_path / "out")["made"] == "today"
    assert (tmp_path / "out/deep/er/a").read_bytes() == b"one\0" * 5000
    assert (tmp_path / "out/b").read_bytes() == b""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b", "deep"]


def change(content: dict[str, bytes]) -> None:
    content["deep/er/a"] = b"two\0" * 5000


def lose(content: dict[str, bytes]) -> None:
    del content["b"]


def add(content: dict[str, bytes]) -> None:
    content["c"] = b"more"


def lose_manifest(content: dict[str, bytes]) -> None:
    del content[MANIFEST]


def spoil_manifest(content: dict[str, bytes]) -> None:
    content[MANIFEST] = b"[]"


def escape(content: dict[str, bytes]) -> None:
    content["../outside"] = b"out"


@pytest.mark.parametrize("damage", [change, lose, add, lose_manifest, spoil_manifest, escape])
def test_a_damaged_archive_is_refused_whole(archive, tmp_path, damage):
    content = members(archive)
    damage(content)
    rewrite(archive, content)
    with pytest.raises(InputError, match=r"all\.tar: damaged") as caught:
        extract_archive(archive, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.7])
def test_an_archive_that_was_cut_off_is_refused(archive, tmp_path, share):
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="damaged"):
        extract_archive(archive, tmp_path / "out")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.tar: no such file"):
        extract_archive(tmp_path / "none.tar", tmp_path / "out")


def test_an_archive_that_fails_leaves_the_former_one(archive, tmp_path):
    before = archive.read_bytes()
    with pytest.raises(FileNotFoundError):
        write_archive(archive, {"gone": tmp_path / "gone"}, {})
    assert archive.read_bytes() == before
    assert "made" in read_json_of(archive)


def read_json_of(archive: Path) -> dict:
    folder = archive.with_name("manifest")
    with tarfile.open(archive) as tar:
        tar.extract(MANIFEST, folder, filter="data")
    return read_json(folder / MANIFEST)
