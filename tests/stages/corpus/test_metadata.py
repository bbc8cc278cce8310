"""The table of a folder: columns in any case, one text a row, hints where people write something else, growth by the row."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import InputError
from stages.corpus.metadata import Metadata
from stages.ingest import ingest
from tests.support.samples import encoded, noise
from tests.support.sources import FOLDER, corpus_files, kept, params_for
from tests.support.strategies import quick

pytestmark = pytest.mark.usefixtures("workplace")


def write(name: str, content: str, pictures: int = 3) -> None:
    Path("photos").mkdir(exist_ok=True)
    Path("photos", name).write_text(content, encoding="utf-8")
    for number in range(pictures):
        Path(f"photos/{number}.png").write_bytes(encoded(noise(number)))


def jsonl(*rows: dict) -> str:
    return "\n".join(json.dumps(row) for row in rows)


@pytest.mark.parametrize("header", ["File_Name,Text", "FILE_NAME,CAPTION", " file_name , text", "\ufefffile_name,text"])
def test_column_names_count_in_any_case(header):
    write("metadata.csv", f"{header}\n0.png,a cat\n")
    ingest(params_for(FOLDER))
    assert [row.alt_text for row in kept()] == ["a cat"]


def test_facts_in_capitals_are_kept():
    write("metadata.csv", "file_name,TEXT,LICENSE,NSFW,Url,Other\n0.png,a,CC0,UNLIKELY,https://example.org,x\n")
    ingest(params_for(FOLDER))
    (row,) = kept()
    assert row.origin == {"name": "0.png", "license": "CC0", "nsfw": "UNLIKELY", "url": "https://example.org"}


def test_every_row_has_its_own_text_column():
    rows = [{"file_name": "0.png", "text": "a"}, {"file_name": "1.png", "caption": "b"}, {"file_name": "2.png", "CAPTION": "c"}]
    write("metadata.jsonl", jsonl(*rows))
    ingest(params_for(FOLDER))
    assert sorted(row.alt_text for row in kept()) == ["a", "b", "c"]


def test_of_a_list_of_texts_the_first_is_taken():
    rows = [
        {"file_name": "0.png", "text": ["a cat", "a grey cat"]},
        {"file_name": "1.png", "text": [None, " ", "a dog"]},
        {"file_name": "2.png", "text": []},
    ]
    write("metadata.jsonl", jsonl(*rows))
    ingest(params_for(FOLDER))
    assert sorted(row.alt_text for row in kept()) == ["", "a cat", "a dog"]


def test_text_and_caption_may_agree_but_not_differ():
    write("metadata.csv", "file_name,text,caption\n0.png,a cat,\n1.png,,a dog\n2.png,a cow, a  cow\n")
    ingest(params_for(FOLDER))
    assert sorted(row.alt_text for row in kept()) == ["a cat", "a cow", "a dog"]
    write("metadata.csv", "file_name,text,caption\n0.png,a cat,\n1.png,a cat,a dog\n")
    with pytest.raises(InputError, match=r"metadata\.csv line 3: text and caption differ; remove one of them$"):
        ingest(params_for(FOLDER))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("filename,text", r"must have file_name \(rename filename to file_name\)$"),
        ("image,title", r"must have file_name \(rename image to file_name\)$"),
        (
            "file_name,title",
            r"columns file_name, title; set ingest\.source\.text = title if that is the caption, or remove it$",
        ),
        ("file_name;text", r"has one column, file_name;text; separate columns with commas$"),
        ("file_name\ttext", r"has one column, file_name\\ttext; separate columns with commas$"),
        ("file_name,text,Text", r"line 1: more than one column text \(case does not count\)$"),
    ],
    ids=range(6),
)
def test_other_columns_get_a_hint(header, message):
    write("metadata.csv", f"{header}\n0.png,a\n")
    with pytest.raises(InputError, match=message):
        ingest(params_for(FOLDER))


@pytest.mark.parametrize(
    ("splits", "chosen"), [(["train", "test"], "train"), (["test", "validation"], "ONE-OF-THEM")], ids=range(2)
)
def test_split_folders_are_named(splits, chosen):
    for split in splits:
        Path("photos", split).mkdir(parents=True)
        Path(f"photos/{split}/metadata.csv").write_text("file_name,text\n")
    message = rf"^photos: has the splits {', '.join(sorted(splits))}; set ingest\.source\.path = photos/{chosen}$"
    with pytest.raises(InputError, match=message):
        ingest(params_for(FOLDER))


@pytest.mark.parametrize(("name", "ending"), [("METADATA.CSV", "csv"), ("captions.csv", "csv"), ("captions.jsonl", "jsonl")])
def test_table_of_another_name_is_named(name, ending):
    write(name, "file_name,text\n")
    message = rf"has none of metadata\.csv, .*, but {name}: rename the table of the pictures to metadata\.{ending}$"
    with pytest.raises(InputError, match=message):
        ingest(params_for(FOLDER))


TEXTS = {
    "a" * 5000: None,
    "- - - - - - - - - - - -": None,
    "12345": "12345",
    "aaa": "aaa",
    "\x1b[31ma red car\x1b[0m": "a red car",
    "\x9b1;31ma red\x9bm car": "a red car",
    "\x1b]8;;https://example.org\x1b\\a link\x1b]8;;\x1b\\": "a link",
    "50% off [31m": "50% off [31m",
}


def test_texts_that_say_nothing_and_escapes_are_left_out():
    write("metadata.jsonl", jsonl(*({"file_name": f"{n}.png", "text": text} for n, text in enumerate(TEXTS))), len(TEXTS))
    ingest(params_for(FOLDER, shard_size=20))
    assert [row.alt_text for row in kept()] == [text or "" for text in TEXTS.values()]


FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=8)


ROWS = st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12)


@quick
@given(rows=ROWS, cut=st.integers(0, 12), kind=st.sampled_from(["csv", "jsonl"]))
def test_any_run_of_rows_is_read_from_its_place(tmp_path_factory, rows, cut, kind):
    path = tmp_path_factory.getbasetemp() / f"metadata.{kind}"
    if kind == "csv":
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows([("file_name", "text"), *rows])
        path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    else:
        path.write_text(jsonl(*({"file_name": name, "text": text} for name, text in rows)), encoding="utf-8")
    metadata = Metadata(path)
    whole = list(metadata.rows())
    assert [row.file_name for row in whole] == [name for name, _ in rows]
    first, rest = whole[:cut], whole[cut:]
    for part in (first, rest):
        if part:
            assert list(metadata.rows(part[0].start, part[-1].end)) == part


def _shards() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("data/corpus").glob("*.tar")}


def _grow(numbers: list[int]) -> None:
    write("metadata.csv", "file_name,text\n" + "".join(f"{n}.png,text {n}\n" for n in numbers), pictures=0)
    for number in numbers:
        Path(f"photos/{number}.png").write_bytes(encoded(noise(number)))
    ingest(params_for(FOLDER, shard_size=8))


@pytest.mark.parametrize(
    "change",
    [lambda rows: [*rows, 100], lambda rows: [*rows[:30], *rows[31:]], lambda rows: [*rows[:20], 100, *rows[20:]]],
    ids=["appended", "removed", "inserted"],
)
def test_a_picture_more_or_less_costs_its_own_shard(change):
    rows = list(range(60))
    _grow(rows)
    before = _shards()
    _grow(change(rows))
    after = _shards()
    assert len(before) > 8
    assert len([name for name, time in after.items() if before.get(name) != time]) <= 2
    files = corpus_files()
    shutil.rmtree("data")
    _grow(change(rows))
    assert corpus_files() == files
