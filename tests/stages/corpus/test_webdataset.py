"""Tars as a source: any file system, hostile members, and tars with any number of members."""

import io
import sys
import tarfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from stages.core.errors import InputError
from stages.core.params import WebDatasetSource
from stages.corpus.samples import write_corpus
from stages.corpus.webdataset import _read_tar, tar_parts
from stages.ingest import ingest
from tests.support.samples import corpus_sample, encoded, noise
from tests.support.sources import corpus_files, kept, noise_pair, params_for, refused, tar_of
from tests.support.tars import RepeatedBlock, empty_member

PNG = encoded(noise(0))

pytestmark = pytest.mark.usefixtures("workplace")


def test_webdataset_on_any_file_system():
    memory = fsspec.filesystem("memory")
    memory.pipe("/laion/a/00000.tar", tar_of(noise_pair(0) + noise_pair(1)))
    memory.pipe("/laion/b/00000.tar", tar_of(noise_pair(2)))
    source = {"kind": "webdataset", "path": "memory://laion/*/*.tar"}
    try:
        ingest(params_for(source))
        assert [sample.metadata["origin"]["name"] for sample in kept()] == [
            "a/00000.tar/0000",
            "a/00000.tar/0001",
            "b/00000.tar/0002",
        ]
        files = corpus_files()
        ingest(params_for(source))
        assert corpus_files() == files
        memory.pipe("/laion/b/00000.tar", tar_of(noise_pair(3)))
        ingest(params_for(source))
        assert corpus_files()["00000.tar"] == files["00000.tar"]
        assert kept()[-1].alt_text == "noise 3"
    finally:
        memory.rm("/laion", recursive=True)


def test_webdataset_reads_captions_and_refuses_hostile_members():
    buffer = io.BytesIO()

    def add(name: str, data: bytes = PNG, kind: bytes = tarfile.REGTYPE) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, "/etc/passwd", len(data) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(data))

    before = sorted(path for path in Path.cwd().parent.rglob("*"))
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add("photos", kind=tarfile.DIRTYPE)
        add("README.md", b"no sample")
        add("photos/0.JPG", encoded(noise(0), "jpeg"))
        add("photos/0.json", b'{"caption": "from json", "url": "https://example.org/0\\n", "width": 7}')
        add("photos/0.seg.png")
        for name in ("../1", "/2", "photos/../../3"):
            add(f"{name}.png")
            add(f"{name}.txt", b"text")
        kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE)
        for number, kind in enumerate(kinds, start=4):
            add(f"{number}.png", kind=kind)
            add(f"{number}.txt", b"text")
        add("big.png")
        add("big.txt", bytes(2**20 + 1))
        add("text.txt", b"no image")
        add("mute.png")
        add("two.png")
        add("two.jpg")
        add("latin.png")
        add("latin.txt", b"\xff\xfe")
        add("deep.png")
        add("deep.json", b"[" * 100_000)
        add("list.png")
        add("list.json", b'["caption"]')
        add("new\nline.png", b"")
        add("new\nline.txt", b"text")
        add("first.last.jpg")
    Path("a.tar").write_bytes(buffer.getvalue())
    ingest(params_for({"kind": "webdataset", "path": "a.tar"}))
    (sample,) = kept()
    assert sample.alt_text == "from json"
    assert sample.metadata["origin"] == {"name": "a.tar/photos/0", "url": "https://example.org/0\\n"}
    reasons = {name.removeprefix("a.tar/"): reason for name, reason in refused().items()}
    assert {reasons[name] for name in ("../1", "/2", "photos/../../3")} == {"member name outside the archive"}
    assert {reasons[str(number)] for number in range(4, 10)} == {"not a regular member"}
    assert reasons["big"] == "member larger than 1,048,576 bytes"
    assert reasons["text"] == reasons["first"] == "no image in the sample"
    assert reasons["mute"] == "no alt text"
    assert reasons["two"] == "more than one image in the sample"
    assert reasons["latin"] == reasons["deep"] == reasons["list"] == "text or json cannot be read"
    assert reasons["new\\nline"] == "empty file"
    assert len(reasons) == 18
    written = {path for path in Path.cwd().parent.rglob("*") if path not in before}
    folders = [Path.cwd() / name for name in ("data", "logs", "a.tar")]
    assert all(any(path.is_relative_to(folder) for folder in folders) for path in written)


def test_tar_deleted_after_listing_is_an_error():
    Path("a.tar").write_bytes(tar_of(noise_pair(0)))
    (part,) = tar_parts(WebDatasetSource(kind="webdataset", path="*.tar"), 8)
    Path("a.tar").unlink()
    with pytest.raises(InputError, match=r"^a\.tar: cannot be opened: .*No such file or directory"):
        list(part.read())


def test_failing_file_system_is_one_line(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError("the bucket\nsays no\x1b[2J")

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "glob", fail)
    with pytest.raises(InputError, match=r"^ingest\.source\.path = '\*\.tar': the bucket") as error:
        ingest(params_for({"kind": "webdataset", "path": "*.tar"}))
    assert str(error.value).isprintable()


def test_members_of_no_sample_leave_nothing_in_memory():
    header, count = tarfile.TarInfo("README.md").tobuf(), 5_000
    memory = fsspec.filesystem("memory")
    memory.pipe("/many.tar", header * count + tar_of(noise_pair(0)))
    tracemalloc.start()
    try:
        samples = list(_read_tar(memory, "/many.tar", "many.tar"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        memory.rm("/many.tar")
    assert [sample.alt_text for sample in samples] == ["noise 0"]
    assert peak < 100 * count  # bytes; a remembered member takes about 1000


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.exhaustive)])
def test_members_of_one_sample_leave_nothing_in_memory(count):
    write_corpus(Path("0.tar"), [corpus_sample(key="0")])
    header = empty_member("0.seg.png")  # belongs to the same sample as the members after it
    file = RepeatedBlock(header, count, Path("0.tar").read_bytes())
    before = sys.getallocatedblocks()
    samples = _read_tar(SimpleNamespace(open=lambda *_: file), "0.tar", "0.tar")
    next(samples)
    assert sys.getallocatedblocks() - before < count / 10  # a remembered member takes about twenty
    assert list(samples) == []
