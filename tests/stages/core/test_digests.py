"""A file is read once, and again whenever it may have changed."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.core import digests
from stages.core.digests import Digests


@pytest.fixture
def reads(tmp_path, monkeypatch) -> list[str]:
    """The names of the files that are read, in a folder where files count as settled at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digests, "SETTLED", 0.0)
    read = []

    def digest(path: Path) -> str:
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digests, "file_digest", digest)
    return read


def digest_of(name: str) -> str:
    with Digests() as memory:
        return memory.of(Path(name))


def test_file_that_stays_is_read_once(reads):
    Path("a").write_text("text")
    assert digest_of("a") == digest_of("a") == hashlib.sha256(b"text").hexdigest()
    assert reads == ["a"]


@pytest.mark.parametrize("change", ["size", "time", "replaced"])
def test_changed_file_is_read_again(reads, change):
    path = Path("a")
    path.write_text("text")
    digest_of("a")
    if change == "size":
        path.write_text("texts")
    elif change == "time":
        path.write_text("tex2")
    else:  # with the size and the time of modification of the old one
        Path("b").write_text("tex2")
        os.utime("b", ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        Path("b").replace(path)
    assert digest_of("a") == hashlib.sha256(path.read_bytes()).hexdigest()
    assert reads == ["a", "a"]


def test_file_written_just_now_is_read_again(reads, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED", 60.0)
    Path("a").write_text("text")
    digest_of("a")
    digest_of("a")
    assert reads == ["a", "a"]


def test_digest_of_a_written_file_is_learnt(reads):
    Path("a").write_text("text")
    with Digests() as memory:
        memory.learn(Path("a"), "digest")
    assert digest_of("a") == "digest"
    assert reads == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": [[1], 2, 3]}', b"\xff"])
def test_damaged_memory_is_forgotten(reads, content):
    Path("a").write_text("text")
    digest_of("a")
    (memory,) = digests.DIGESTS.glob("*.json")
    memory.write_bytes(content)
    assert digest_of("a") == hashlib.sha256(b"text").hexdigest()


def test_memory_is_kept_after_an_error(reads):
    Path("a").write_text("text")

    def be_interrupted() -> None:
        with Digests() as memory:
            memory.of(Path("a"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    digest_of("a")
    assert reads == ["a"]


def test_many_may_use_a_memory_at_once(reads):
    """As the processes of one training do; flock keeps threads apart as it does processes."""
    Path("a").write_text("text")

    def learn(number: int) -> None:
        with Digests() as memory:
            memory.learn(Path("a"), str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(learn, range(200)))
    assert digest_of("a").isdigit()
    assert reads == []


def test_files_that_are_gone_are_forgotten(reads):
    for name in ("a", "b"):
        Path(name).write_text(name)
        digest_of(name)
    Path("a").unlink()
    Path("b").write_text("new")
    digest_of("b")
    (memory,) = digests.DIGESTS.glob("*.json")
    assert "a" not in digests.read_json(memory)
