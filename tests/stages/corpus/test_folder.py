"""A folder as a source: hostile and missing files, captions of every kind, and malformed metadata."""

import json
import os
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.params_ingest import FolderSource
from stages.corpus import listing
from stages.corpus.folder import folder_parts
from stages.ingest import ingest
from tests.support.samples import encoded, noise
from tests.support.sources import FOLDER, kept, params_for, refused, write_folder

PNG = encoded(noise(0))

pytestmark = pytest.mark.usefixtures("workplace")


def test_folder_refuses_hostile_and_missing_files():
    Path("secret.png").write_bytes(PNG)
    rows = [
        ("good.png", "noise", PNG),
        ("../secret.png", "a", None),
        (str(Path("secret.png").resolve()), "b", None),
        ("link.png", "c", None),
        ("missing.png", "d", None),
        ("x" * 5000, "e", None),
        ("nul\0.png", "f", None),
        ("new\nline\x1b[2J.png", "g", None),
        ("sub", "h", None),
        ("silent.png", " \t", encoded(noise(2))),
        ("", "i", None),
        ("circle", "j", None),
        ("tiny.png", "k", encoded(noise(3, 15))),
        ("pipe.png", "l", None),
    ]
    source = write_folder(rows)
    os.mkfifo("photos/pipe.png")
    Path("photos/link.png").symlink_to(Path("secret.png").resolve())
    Path("photos/circle").symlink_to("circle")
    Path("photos/sub").mkdir()
    ingest(params_for(source))
    assert {row.origin["name"]: row.alt_text for row in kept()} == {"good.png": "noise", "silent.png": ""}
    reasons = refused()
    assert len(reasons) == len(rows) - 2
    outside = "file name outside the folder"
    assert reasons["../secret.png"] == reasons[rows[2][0]] == reasons["link.png"] == outside
    assert reasons["missing.png"] == reasons["nul\\x00.png"] == reasons["circle"] == "no such file"
    assert reasons["new\\nline\\x1b[2J.png"] == "no such file"
    assert reasons["sub"] == reasons["pipe.png"] == "not a readable file"
    assert reasons[""] == "no file name"
    assert reasons["tiny.png"] == "shorter side below ingest.min_side = 16: 15 x 15 pixels"
    assert len(Path("data/corpus/refused.csv").read_text().splitlines()) == len(rows) - 1


CAPTIONS = {
    "": None,
    " \t\x00\u200b": None,
    "a red car": "a red car",
    " ".join(["car"] * 5000): " ".join(["car"] * 5000),
    "красная машина на пляже": "красная машина на пляже",
    "海滩上的红色汽车": "海滩上的红色汽车",
    "سيارة حمراء": "سيارة حمراء",
    "../../../etc/passwd": "../../../etc/passwd",
    "/tmp/escaped.png": "/tmp/escaped.png",
    "a \x1b[2J\x1b]0;title\x07 car\u202e\x9b31m": "a car",
    "<script>alert(1)</script>{{ 7 * 7 }}": "<script>alert(1)</script>{{ 7 * 7 }}",
    "\ud800 half a letter": "half a letter",  # valid in JSON
}
"""Alt text of the web → the text that is kept, or None if it says nothing."""


def test_any_caption_becomes_a_clean_line(tmp_path, capsys):
    Path("photos").mkdir()
    rows = [{"file_name": f"{n}.png", "text": text} for n, text in enumerate(CAPTIONS)]
    for n, row in enumerate(rows):
        Path("photos", row["file_name"]).write_bytes(encoded(noise(n)))
    Path("photos/metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    ingest(params_for(FOLDER, shard_size=20))
    assert [sample.alt_text for sample in kept()] == [text or "" for text in CAPTIONS.values()]
    assert refused() == {}
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    assert "\x1b" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "data", "logs"}
    assert {path.name for path in Path("data").iterdir()} == {"corpus", "evaluation", "validation"}


def test_folder_redoes_a_shard_when_a_missing_file_appears():
    source = write_folder([("a.png", "a", PNG), ("b.png", "b", None)])
    ingest(params_for(source))
    Path("photos/b.png").write_bytes(encoded(noise(5)))
    ingest(params_for(source))
    assert [row.key[-4:] for row in kept()] == ["0000", "0001"]
    assert Path("data/corpus/refused.csv").read_text() == "origin,reason\n"


def test_image_deleted_after_listing_stops_the_stage():
    """Refusing it would store the refusal under the fingerprint of the deleted file."""
    source = write_folder([("a.png", "a", PNG), ("b.png", "b", PNG)])
    (part,) = folder_parts(FolderSource(**source), 8)
    Path("photos/b.png").unlink()
    with pytest.raises(InputError, match=r"^photos: has changed since its files were listed; run again$"):
        list(part.read())
    Path("photos/b.png").write_bytes(PNG)
    samples = part.read()
    next(samples)
    Path("photos/b.png").unlink()  # after the files were found
    with pytest.raises(InputError, match=r"photos/b\.png: can no longer be read: No such file or directory; run again$"):
        next(samples)


def test_parts_that_begin_alike_have_shards_of_their_own():
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(PNG)
    Path("photos/metadata.csv").write_text("file_name,text\n" + "a.png,a\n" * 3)
    first, *others = (part.shard for part in folder_parts(FolderSource(kind="folder", path="photos", text=None), 1))
    assert others == [f"{first}-0", f"{first}-1"]


def test_large_file_and_folder_are_refused(monkeypatch):
    source = write_folder([("a.png", "a", PNG), ("b.png", "b", PNG + bytes(1000)), ("c", "c", None)])
    Path("photos/c").mkdir()
    monkeypatch.setattr(listing, "MAX_BYTES", len(PNG))
    ingest(params_for(source))
    assert refused() == {"b.png": f"file larger than {len(PNG):,} bytes", "c": "not a readable file"}


def test_folder_reads_jsonl_with_captions_and_facts():
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(PNG)
    rows = [{"file_name": "a.png", "caption": "noise", "license": "CC0", "other": 1}, {"caption": "no name"}]
    Path("photos/metadata.jsonl").write_text("\n \n\n".join(json.dumps(row) for row in rows))
    ingest(params_for(FOLDER))
    (sample,) = kept()
    assert sample.alt_text == "noise"
    assert sample.origin == {"name": "a.png", "license": "CC0"}
    assert refused() == {"": "no file name"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", b"file_name,title\na.png,x\n", "columns file_name, title; set ingest.source.text = title if that"),
        ("metadata.csv", b"name,text\na.png,x\n", r"columns name, text; must have file_name \(rename name to file_name\)"),
        ("metadata.csv", b"file_name,text\n", "has no rows"),
        ("metadata.csv", b"file_name,text\na.png,red, or blue\n", "line 2: more fields"),
        ("metadata.csv", b"file_name,text\na.png,\xff\n", "not UTF-8"),
        ("metadata.csv", b"file_name,text\na.png," + b"x" * 200_000, "line 2: not CSV"),
        ("metadata.jsonl", b'{"file_name": "a.png", "text": "x"}\n{', "line 2: not JSON"),
        ("metadata.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("metadata.jsonl", b"[]", "line 1: not a JSON object"),
        ("other.csv", b"", "has none of metadata.csv, metadata.jsonl, metadata.parquet, but other.csv"),
    ],
    ids=range(10),
)
def test_bad_metadata_is_one_line(name, content, message):
    Path("photos").mkdir()
    (Path("photos") / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        ingest(params_for(FOLDER))
    assert "\n" not in str(error.value)
