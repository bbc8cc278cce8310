"""Tars as a source: any file system, hostile members, and tars with any number of members."""

import io
import json
import shutil
import sys
import tarfile
from pathlib import Path

import fsspec
import pytest

from stages.core.errors import InputError
from stages.core.params_ingest import WebDatasetSource
from stages.corpus import webdataset
from stages.corpus.duplicates import read_duplicates
from stages.corpus.globs import expand
from stages.corpus.parts import RawSample, shard_name
from stages.corpus.webdataset import _read_tar, tar_parts
from stages.ingest import ingest
from tests.support.memory import least_peak
from tests.support.samples import encoded, noise
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
        assert sorted(row.origin["name"] for row in kept()) == ["a/00000.tar/0000", "a/00000.tar/0001", "b/00000.tar/0002"]
        files = corpus_files()
        ingest(params_for(source))
        assert corpus_files() == files
        memory.pipe("/laion/b/00000.tar", tar_of(noise_pair(3)))
        ingest(params_for(source))
        name = shard_name("a/00000") + ".tar"
        assert corpus_files()[name] == files[name]
        assert {row.alt_text for row in kept()} == {"noise 0", "noise 1", "noise 3"}
    finally:
        memory.rm("/laion", recursive=True)


def test_webdataset_reads_captions_and_refuses_hostile_members():
    buffer = io.BytesIO()

    def add(name: str, data: bytes = PNG, kind: bytes = tarfile.REGTYPE) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, "/etc/passwd", len(data) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(data))

    before = sorted(Path.cwd().parent.iterdir())
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
        add("first.last.jpg", encoded(noise(1)))
    Path("a.tar").write_bytes(buffer.getvalue())
    ingest(params_for({"kind": "webdataset", "path": "a.tar"}))
    sample, *silent = kept()
    assert sample.alt_text == "from json"
    assert sample.origin == {"name": "a.tar/photos/0", "url": "https://example.org/0\\n"}
    assert {(row.origin["name"], row.alt_text) for row in silent} == {("a.tar/mute", ""), ("a.tar/first.last", "")}
    reasons = {name.removeprefix("a.tar/"): reason for name, reason in refused().items()}
    assert {reasons[name] for name in ("../1", "/2", "photos/../../3")} == {"member name outside the archive"}
    assert {reasons[str(number)] for number in range(4, 10)} == {"not a regular member"}
    assert reasons["big"] == "member larger than 1,048,576 bytes"
    assert reasons["text"] == "no image in the sample"
    assert reasons["two"] == "more than one image in the sample"
    assert reasons["latin"] == reasons["deep"] == reasons["list"] == "text or json cannot be read"
    assert reasons["new\\nline"] == "empty file"
    assert len(reasons) == 16
    assert sorted(Path.cwd().parent.iterdir()) == before
    assert {path.name for path in Path.cwd().iterdir()} <= {"data", "logs", "a.tar"}


def test_tar_deleted_after_listing_is_an_error():
    Path("a.tar").write_bytes(tar_of(noise_pair(0)))
    (part,) = tar_parts(WebDatasetSource(kind="webdataset", path="*.tar"), 8)
    Path("a.tar").unlink()
    with pytest.raises(InputError, match=r"^a\.tar: cannot be opened: .*No such file or directory"):
        list(part.read())


@pytest.mark.parametrize("kind", [OSError, TypeError, ValueError, ImportError])
def test_failing_file_system_is_one_line(kind, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise kind("the bucket\nsays no\x1b[2J")

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "glob", fail)
    with pytest.raises(InputError, match=r"^ingest\.source\.path = '\*\.tar': the bucket") as error:
        ingest(params_for({"kind": "webdataset", "path": "*.tar"}))
    assert str(error.value).isprintable()


def test_members_of_no_sample_leave_nothing_in_memory():
    header, count = tarfile.TarInfo("README.md").tobuf(), 5_000
    memory = fsspec.filesystem("memory")
    memory.pipe("/many.tar", header * count + tar_of(noise_pair(0)))
    try:
        assert [sample.alt_text for sample in _read_tar(memory, "/many.tar", "many.tar")] == ["noise 0"]
        peak = least_peak(lambda: list(_read_tar(memory, "/many.tar", "many.tar")))
    finally:
        memory.rm("/many.tar")
    assert peak < 200 * count  # bytes; a remembered member takes about 1000


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.exhaustive)])
def test_members_of_one_sample_leave_nothing_in_memory(count, monkeypatch):
    header = empty_member("0.png")  # all are one sample
    file = RepeatedBlock(header, count, tar_of(noise_pair(1)))
    monkeypatch.setattr(webdataset, "_open_local", lambda *_: file)
    before = sys.getallocatedblocks()
    samples = _read_tar(None, "0.tar", "0.tar")
    assert str(next(samples).picture) == "more than one image in the sample"
    assert sys.getallocatedblocks() - before < count  # a remembered member takes about twenty
    assert [sample.alt_text for sample in samples] == ["noise 1"]


def test_more_names_than_a_tar_may_have_is_an_error(monkeypatch):
    monkeypatch.setattr(webdataset, "MAX_KEYS", 2)
    Path("a.tar").write_bytes(tar_of([(f"{n}.png", PNG) for n in range(3)]))
    with pytest.raises(InputError, match=r"^a\.tar: more than 2 names of samples in one tar; split it$"):
        ingest(params_for({"kind": "webdataset", "path": "a.tar"}))


def _ingest_tar(members: list[tuple[str, bytes]]) -> tuple[dict[str, str], dict[str, str]]:
    """Ingest one tar, and return (name → alt text) of what is kept and (name → reason) of what is refused."""
    Path("a.tar").write_bytes(tar_of(members))
    try:
        ingest(params_for({"kind": "webdataset", "path": "a.tar"}))
    except InputError as error:  # everything was refused
        assert "samples were refused" in str(error)  # noqa: PT017
        return {}, {name.removeprefix("a.tar/"): reason for name, reason in refused().items()}
    names = {row.origin["name"].removeprefix("a.tar/"): row.alt_text for row in kept()}
    return names, {name.removeprefix("a.tar/"): reason for name, reason in refused().items()}


def _read_one(members: list[tuple[str, bytes]]) -> RawSample:
    """Return the one sample of a tar with these members, as the source delivers it."""
    Path("a.tar").write_bytes(tar_of(members))
    (part,) = tar_parts(WebDatasetSource(kind="webdataset", path="a.tar"), 8)
    (sample,) = part.read()
    return sample


def _pictures(names: list[str]) -> list[tuple[str, bytes]]:
    return [(f"{name}.png", encoded(noise(number))) for number, name in enumerate(names)]


def _texts(names: list[str]) -> list[tuple[str, bytes]]:
    return [(f"{name}.txt", name.encode()) for name in names]


SIX = [f"{n:03d}" for n in range(6)]
DOTTED = [f"img.2024.0{n}" for n in range(6)]
ARRANGED = {
    "apart": _pictures(SIX) + _texts(SIX),
    "texts first": _texts(SIX) + _pictures(SIX)[::-1],
    "dots in the names": [member for pair in zip(_pictures(DOTTED), _texts(DOTTED), strict=True) for member in pair],
    "from a Mac": [
        member
        for pair in zip(_pictures(SIX), _texts(SIX), strict=True)
        for name, data in pair
        for member in ((f"./._{name}", b"\x00\x05\x16\x07Mac OS X"), (f"./{name}", data))
    ],
    "with a folder of a Mac": [*_pictures(SIX), *_texts(SIX), *((f"__MACOSX/._{n}.png", b"x") for n in SIX)],
    "with masks": [*_pictures(SIX), *((f"{name}.seg.png", PNG) for name in SIX), *_texts(SIX)],
}


@pytest.mark.parametrize("name", ARRANGED)
def test_six_pictures_are_six_samples_however_arranged(name):
    names, reasons = _ingest_tar(ARRANGED[name])
    assert len(names) == 6
    assert set(names.values()) == set(DOTTED if "dots" in name else SIX)
    assert reasons == {}


def test_lone_members_are_counted_once_with_their_reason():
    names, reasons = _ingest_tar(_pictures(["a", "b.c", "d"]) + _texts(["d", "e"]) + [("f.json", b"{}"), ("._g.png", b"x")])
    assert names == {"a": "", "b.c": "", "d": "d"}
    assert reasons == {"e": "no image in the sample", "f": "no image in the sample"}


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"caption": ["a cat", "a grey cat"]}, "a cat"),
        ({"caption": ["", None, 3, "a grey cat"]}, "a grey cat"),
        ({"CAPTION": "a cat"}, "a cat"),
        ({"text": "a cat"}, "a cat"),
        ({"text": "a dog", "caption": "a cat"}, "a cat"),
        ({"caption": " ", "text": ["", "a cat"]}, "a cat"),
        ({"caption": "", "Caption": "a cat", "CAPTION": "a dog"}, "a cat"),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("beside", [[], [("0.txt", b"")], [("0.caption", b" \t\n")]], ids=["alone", "txt", "caption"])
def test_caption_in_json_counts_where_no_text_stands_beside(record, text, beside):
    assert _read_one([("0.png", PNG), ("0.json", json.dumps(record).encode()), *beside]).alt_text == text


def test_caption_files_are_texts():
    json_caption = ("0.json", b'{"caption": "from json"}')
    names, reasons = _ingest_tar(
        [("0.png", PNG), ("0.caption", b"a cat"), json_caption, *noise_pair(1), ("0001.CAPTION", b"x")]
    )
    assert names == {"0": "a cat"}
    assert reasons == {"0001": "more than one text in the sample"}


def test_facts_are_kept_in_any_case():
    record = {"caption": "a", "LICENSE": "CC0", "NSFW": "UNLIKELY", "Url": "https://example.org", "similarity": 0.3}
    _ingest_tar([("0.png", PNG), ("0.json", json.dumps(record).encode())])
    (row,) = kept()
    assert row.origin == {"name": "a.tar/0", "license": "CC0", "nsfw": "UNLIKELY", "url": "https://example.org"}


@pytest.mark.parametrize(
    ("record", "facts"),
    [
        ({"nsfw": 0.25, "license": 4}, {"nsfw": "0.25", "license": "4"}),
        ({"NSFW": False}, {"nsfw": "False"}),
        ({"nsfw": 0, "NSFW": 1}, {"nsfw": "0"}),
        ({"license": "", "LICENSE": "CC0", "License": "MIT"}, {"license": "CC0"}),
        ({"license": None, "url": [], "nsfw": {}}, {}),
    ],
    ids=range(5),
)
def test_facts_may_be_numbers_and_the_first_not_empty_counts(record, facts):
    assert _read_one([("0.png", PNG), ("0.json", json.dumps(record).encode())]).facts == facts


@pytest.mark.parametrize("path", ["t0.tar::t2.tar", "t{0,2}.tar", "t{0..2..2}.tar", "./t0.tar::{t2,t0}.tar"])
def test_lists_and_braces_name_all_their_tars(path):
    for number in range(3):
        Path(f"t{number}.tar").write_bytes(tar_of(noise_pair(number)))
    ingest(params_for({"kind": "webdataset", "path": path}))
    assert {row.alt_text for row in kept()} == {"noise 0", "noise 2"}


def test_padded_ranges_and_missing_tars_of_a_list():
    Path("00007.tar").write_bytes(tar_of(noise_pair(7)))
    ingest(params_for({"kind": "webdataset", "path": "{00007..00007}.tar"}))
    assert [row.key for row in kept()] == ["000070000"]
    for path, message in {
        "00007.tar::no.tar": r"no such file no\.tar",
        "0000{7..8}.tar": r"no such file 00008\.tar",
        "00007.tar::": "nothing stands before or after",
        "{7..8.tar": "a brace has no partner",
    }.items():
        with pytest.raises(InputError, match=message) as error:
            ingest(params_for({"kind": "webdataset", "path": path}))
        assert "\n" not in str(error.value)


CHAINS = {
    "simplecache::s3://b/{0..1}.tar": ["simplecache::s3://b/0.tar", "simplecache::s3://b/1.tar"],
    "zip://*.tar::simplecache::s3://b/c.zip": ["zip://*.tar::simplecache::s3://b/c.zip"],
    "tar://a.tar::file:///c.tar": ["tar://a.tar::file:///c.tar"],
    "filecache://::s3://b/a.tar": ["filecache://::s3://b/a.tar"],
    "blockcache::s3://b/0.tar::blockcache::s3://b/1.tar": ["blockcache::s3://b/0.tar", "blockcache::s3://b/1.tar"],
    "s3://b/{0..1}.tar::s3://c/x.tar": ["s3://b/0.tar", "s3://b/1.tar", "s3://c/x.tar"],
    "memory://x/a.tar::memory://x/b.tar": ["memory://x/a.tar", "memory://x/b.tar"],
    "file:///a.tar::b.tar::https://c.org/c.tar": ["file:///a.tar", "b.tar", "https://c.org/c.tar"],
    "zip://a.tar": ["zip://a.tar"],
}


@pytest.mark.parametrize("path", CHAINS)
def test_full_urls_make_a_list_and_links_a_chain(path):
    assert expand(path) == CHAINS[path]


def test_list_over_file_systems_names_all_its_tars():
    memory = fsspec.filesystem("memory")
    for number, name in enumerate(["/mixed/a.tar", "/mixed/b0.tar", "/mixed/b1.tar"]):
        memory.pipe(name, tar_of(noise_pair(number)))
    Path("c.tar").write_bytes(tar_of(noise_pair(3)))
    try:
        urls = ["memory://mixed/a.tar", "memory://mixed/b{0..1}.tar"]
        ingest(params_for({"kind": "webdataset", "path": "::".join(urls)}))
        assert [row.origin["name"] for row in kept()] == ["a.tar/0000", "b0.tar/0001", "b1.tar/0002"]
        for local in ("c.tar", f"file://{Path('c.tar').resolve()}", "simplecache::memory://mixed/b1.tar"):
            ingest(params_for({"kind": "webdataset", "path": "::".join([local, urls[0]])}))
            assert {row.alt_text for row in kept()} == {"noise 0", "noise 2" if "cache" in local else "noise 3"}
    finally:
        memory.rm("/mixed", recursive=True)


def test_same_path_on_two_file_systems_is_two_tars():
    memory, local = fsspec.filesystem("memory"), Path("a.tar").resolve()
    local.write_bytes(tar_of(noise_pair(0)))
    memory.pipe(str(local), tar_of(noise_pair(1)))
    try:
        ingest(params_for({"kind": "webdataset", "path": f"{local}::memory://{local}"}))
        assert {row.alt_text for row in kept()} == {"noise 0", "noise 1"}
    finally:
        memory.rm(str(local))


def _shards() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("data/corpus").glob("*.tar")}


def test_added_removed_or_replaced_tar_costs_its_own_shard():
    source = {"kind": "webdataset", "path": "tars/**/*.tar"}
    for name, number in {"b": 1, "sub/b": 2, "d": 3}.items():
        Path("tars", name).parent.mkdir(parents=True, exist_ok=True)
        Path("tars", f"{name}.tar").write_bytes(tar_of(noise_pair(number)))
    ingest(params_for(source))
    before = _shards()
    assert {"b.tar", "d.tar"} < set(before)
    Path("tars/a.tar").write_bytes(tar_of(noise_pair(3)))  # the first shard, with a picture that d has too
    ingest(params_for(source))
    assert {name: time for name, time in _shards().items() if before.get(name) != time}.keys() == {"a.tar"}
    assert read_duplicates(Path("data/corpus"), "d") == {"d0000": "a0000"}
    Path("tars/b.tar").write_bytes(tar_of(noise_pair(9)))
    Path("tars/a.tar").unlink()
    ingest(params_for(source))
    assert {name for name, time in _shards().items() if before[name] != time} == {"b.tar"}
    files = corpus_files()
    shutil.rmtree("data")
    ingest(params_for(source))
    assert corpus_files() == files
