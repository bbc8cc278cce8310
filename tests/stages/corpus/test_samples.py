"""Shards: samples come back as written, and malformed or damaged ones are refused with shard and key."""

import gzip
import json
import re
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.corpus.samples import WORDS, EditSample, read_edits, write_edits
from tests.support.samples import ESCAPES, HOSTILE, edit_sample, encoded, picture, replace_member
from tests.support.strategies import quick, sides
from tests.support.tars import RepeatedBlock, empty_member

EDIT = json.dumps(vars(edit_sample()), default=lambda _: None)
BAD_MEMBERS = {
    "no json": ("json", None, "has no json"),
    "half json": ("json", EDIT[:40].encode(), "Unterminated|Expecting"),
    "list": ("json", b"[]", "json is not an object"),
    "deep json": ("json", b"[" * 100_000, "recursion"),
    "number for words": ("json", json.dumps(json.loads(EDIT) | {"edit_prompt": 7}).encode(), "edit_prompt has the wrong type"),
    "words missing": ("json", b'{"metadata": {}}', "has no source_caption"),
    "text for metadata": ("json", json.dumps(json.loads(EDIT) | {"metadata": "x"}).encode(), "metadata has the wrong type"),
    "no picture": ("source.png", None, r"has no source\.png"),
    "half a picture": ("source.png", encoded(picture())[:60], "truncated or damaged image"),
    "grey picture": ("target.png", encoded(picture("L")), "a picture has mode L, must be RGB"),
    "coloured mask": ("source_mask.png", encoded(picture()), "a picture has mode RGB, must be L"),
    "other size": ("target_mask.png", encoded(picture("L", 9)), "pictures of different sizes"),
    "other format": ("source.png", encoded(picture(), "jpeg"), r"not an image \(PNG\)"),
    "large picture": ("source.png", encoded(Image.new("RGB", (2049, 2048))), "more than 4,194,304 pixels"),
}


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_bad_edit_is_refused_with_shard_and_key(tmp_path, name):
    member, data, message = BAD_MEMBERS[name]
    path = tmp_path / "00000.tar"
    write_edits(path, [edit_sample()])
    replace_member(path, f"000000000.{member}", data)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: sample 000000000: .*({message})") as error:
        list(read_edits(path))
    assert str(error.value).isprintable()


def test_truncated_and_compressed_shards_are_refused(tmp_path):
    path = tmp_path / "00000.tar"
    write_edits(path, [edit_sample()])
    data = path.read_bytes()
    for content in (data[:700], data[:-9000], b"", gzip.compress(data)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"00000\.tar: truncated or damaged tar"):
            list(read_edits(path))


def test_links_in_a_shard_are_ignored(tmp_path):
    path = tmp_path / "00000.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("0.png", "0.json"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    assert list(read_edits(path)) == []


def test_member_above_the_size_limit_is_refused(tmp_path, monkeypatch):
    write_edits(tmp_path / "00000.tar", [edit_sample()])
    monkeypatch.setattr("stages.corpus.samples.MAX_BYTES", 20)
    with pytest.raises(InputError, match=r"a member of \d+ bytes"):
        list(read_edits(tmp_path / "00000.tar"))


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.exhaustive)])
def test_links_leave_nothing_in_memory(tmp_path, count):
    write_edits(tmp_path / "0.tar", [edit_sample(key="0")])
    file = RepeatedBlock(empty_member("0.png", tarfile.SYMTYPE), count, (tmp_path / "0.tar").read_bytes())
    before = sys.getallocatedblocks()
    samples = read_edits(SimpleNamespace(open=lambda _: file))
    next(samples)
    assert sys.getallocatedblocks() - before < count  # a remembered member takes about twenty
    assert list(samples) == []


def test_words_of_a_shard_are_clean_lines(tmp_path):
    write_edits(tmp_path / "0.tar", [edit_sample(key=f"0{ESCAPES[:5]}", **dict.fromkeys(WORDS, HOSTILE))])
    (sample,) = read_edits(tmp_path / "0.tar")
    for name in ("key", *WORDS):
        assert getattr(sample, name).isprintable()
    assert "<script>" in sample.edit_prompt


METADATA = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=9), max_size=3)


def pictures(mode: str, side: int) -> st.SearchStrategy[Image.Image]:
    shape = (side, side) if mode == "L" else (side, side, 3)
    return arrays.arrays(np.uint8, shape).map(Image.fromarray)


@quick
@given(words=st.lists(st.text(st.characters()), min_size=5, max_size=5), metadata=METADATA, side=sides, data=st.data())
def test_edit_samples_come_back_as_clean_lines(tmp_path_factory, words, metadata, side, data):
    words = [word.encode("utf-8", "replace").decode() for word in words]  # a shard is UTF-8
    seen = {name: data.draw(pictures(mode, side)) for name, mode in (("source", "RGB"), ("target", "RGB"))}
    seen |= {f"{name}_mask": data.draw(pictures("L", side)) for name in ("source", "target")}
    sample = EditSample(key="000000000", **seen, **dict(zip(WORDS, words, strict=True)), metadata=metadata)
    path = tmp_path_factory.getbasetemp() / "edits.tar"
    write_edits(path, [sample])
    (found,) = read_edits(path)
    assert [getattr(found, name) for name in WORDS] == list(map(one_line, words))
    assert found.metadata == metadata
    assert all(getattr(found, name).tobytes() == picture.tobytes() for name, picture in seen.items())


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> Path:
    """A shard of two edit samples."""
    folder = tmp_path_factory.mktemp("shards")
    mask, red = Image.new("L", (3, 3), 255), Image.new("RGB", (3, 3), "red")
    seen = {"source": red, "target": red, "source_mask": mask, "target_mask": mask}
    write_edits(folder / "whole.tar", [edit_sample(key=f"{n:09d}", metadata={"n": n}, **seen) for n in range(2)])
    return folder / "whole.tar"


def with_checksum(header: bytes) -> bytes:
    """Return a member's header with the checksum that fits its other fields."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


@st.composite
def damaged(draw, shard: Path) -> bytes:
    """Bytes of ``shard`` with a few changed, some headers of another type, and perhaps cut short."""
    content, block = bytearray(shard.read_bytes()), tarfile.BLOCKSIZE
    with tarfile.open(shard) as tar:
        headers = [member.offset for member in tar]
        inside = [member.offset_data + place for member in tar for place in range(member.size)]
    places = st.sampled_from([at + place for at in headers for place in range(block)]) | st.sampled_from(inside)
    for place, value in draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=4)).items():
        content[place] = value
    kinds = st.sampled_from(b"0123456789LKDSxgMNVX\0")
    for at, kind in draw(st.dictionaries(st.sampled_from(headers), kinds, max_size=2)).items():
        content[at + 156] = kind
    if draw(st.booleans()):  # correct checksums, so that tarfile believes the changed headers
        for at in headers:
            content[at : at + block] = with_checksum(content[at : at + block])
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


@settings(quick, max_examples=300)
@given(data=st.data())
def test_damaged_shard_is_one_error_or_valid_samples(shard, data):
    path = shard.with_name("damaged.tar")
    path.write_bytes(data.draw(damaged(shard)))
    message, samples = "", []
    try:
        samples = list(read_edits(path))
    except InputError as error:
        message = str(error)
    assert message == "" or (message.startswith(f"{path}: ") and message.isprintable())
    for sample in samples:
        assert all(getattr(sample, name).isprintable() for name in (*WORDS, "key"))
        pictures = (sample.source, sample.target, sample.source_mask, sample.target_mask)
        assert [picture.mode for picture in pictures] == ["RGB", "RGB", "L", "L"]
        assert len({picture.size for picture in pictures}) == 1
