"""Filters by metadata: what is left out, why, and that nothing is decoded for it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import InputError
from stages.core.params_ingest import Filter
from stages.corpus.filters import check_metadata
from stages.corpus.images import FORMATS, Refused
from stages.ingest import ingest
from tests.support.samples import encoded, noise
from tests.support.sources import FOLDER, corpus_files, kept, params_for, refused, tar_of
from tests.support.strategies import quick

pytestmark = pytest.mark.usefixtures("workplace")


def write(rows: list[dict]) -> None:
    """Write photos/ with metadata.jsonl; a picture named ``broken`` is none."""
    Path("photos").mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        data = b"no picture" if "broken" in row["file_name"] else encoded(noise(number))
        Path("photos", row["file_name"]).write_bytes(data)
    Path("photos/metadata.jsonl").write_text("\n".join(json.dumps({"text": "noise"} | row) for row in rows))


def dropped() -> dict[str, int]:
    return json.loads(Path("logs/ingest.json").read_text())["dropped"]


def names() -> list[str]:
    return sorted(row.origin["name"] for row in kept())


LAION = {
    "similarity": {"min": 0.3},
    "punsafe": {"max": 0.1},
    "license": {"any": ["CC-BY", "cc0"]},
}


def test_each_filter_is_counted_and_nothing_is_decoded_for_it():
    good = {"SIMILARITY": 0.31, "punsafe": "0.1", "LICENSE": "cc-by"}
    write(
        [
            good | {"file_name": "good.png"},
            good | {"file_name": "broken-1.png", "SIMILARITY": 0.29},
            good | {"file_name": "broken-2.png", "SIMILARITY": None},
            good | {"file_name": "broken-3.png", "SIMILARITY": "unknown"},
            good | {"file_name": "broken-4.png", "punsafe": 0.11},
            good | {"file_name": "broken-5.png", "LICENSE": "all rights reserved"},
            good | {"file_name": "broken-6.png", "LICENSE": " "},
        ]
    )
    ingest(params_for(FOLDER, filters=LAION, max_refused=0.0))
    assert names() == ["good.png"]
    assert dropped() == {
        "ingest.filters.similarity: below 0.3": 1,
        "ingest.filters.similarity: no value": 2,
        "ingest.filters.punsafe: above 0.1": 1,
        "ingest.filters.license: not one of CC-BY, cc0": 1,
        "ingest.filters.license: no value": 1,
    }
    assert refused() == {}
    ingest(params_for(FOLDER, max_refused=1.0))
    assert set(dropped()) == {f"not an image ({', '.join(FORMATS)})"}


def test_sides_come_from_the_metadata_or_else_from_the_picture():
    rows = [
        {"file_name": "broken-wide.png", "width": 640, "height": 64},
        {"file_name": "broken-small.png", "width": 31, "height": 40},
        {"file_name": "said.png", "width": 640, "height": 400},
        {"file_name": "silent.png"},
        {"file_name": "wide.png"},
    ]
    write(rows)
    Path("photos/wide.png").write_bytes(encoded(noise(9).resize((256, 64))))
    ingest(params_for(FOLDER, filters={"Width": {"min": 32}, "aspect": {"max": 2}}, max_refused=0.0))
    assert names() == ["said.png", "silent.png"]
    assert dropped() == {"ingest.filters.Width: below 32": 1, "ingest.filters.aspect: above 2": 2}


def test_tars_are_filtered_by_their_json():
    members = []
    records = [
        {"AESTHETIC": 6.1, "original_width": 640, "width": 64},
        {"aesthetic": 4.9, "original_width": 640, "width": 64},
        {"aesthetic": 6.1, "original_width": 100, "width": 64},
        {"aesthetic": None, "original_width": 640, "width": 64},
    ]
    for number, record in enumerate(records):
        members += [(f"{number}.png", encoded(noise(number))), (f"{number}.json", json.dumps(record).encode())]
        members += [(f"{number}.txt", b"noise")]
    Path("a.tar").write_bytes(tar_of(members))
    ingest(params_for({"kind": "webdataset", "path": "a.tar"}, filters={"aesthetic": {"min": 5}, "width": {"min": 512}}))
    assert names() == ["a.tar/0"]
    assert dropped() == {
        "ingest.filters.aesthetic: below 5": 1,
        "ingest.filters.aesthetic: no value": 1,
        "ingest.filters.width: below 512": 1,
    }


def test_filters_that_leave_nothing_are_one_line():
    write([{"file_name": "a.png"}, {"file_name": "b.png"}])
    message = r"^ingest\.filters: leave out all 2 samples, 2 of them for: ingest\.filters\.similarity: no value$"
    with pytest.raises(InputError, match=message):
        ingest(params_for(FOLDER, filters=LAION))


def test_a_changed_value_or_filter_is_seen():
    rows = [{"file_name": "a.png", "similarity": 0.5}, {"file_name": "b.png", "similarity": 0.2}]
    write(rows)
    params = params_for(FOLDER, filters={"similarity": {"min": 0.3}})
    ingest(params)
    assert names() == ["a.png"]
    write([rows[0], rows[1] | {"similarity": 0.4, "other": "not looked at"}])
    ingest(params)
    files = corpus_files()
    assert names() == ["a.png", "b.png"]
    write([rows[0], rows[1] | {"similarity": 0.4, "other": "changed"}])
    ingest(params)
    assert corpus_files() == files
    ingest(params_for(FOLDER, filters={"similarity": {"min": 0.45}}))
    assert names() == ["a.png"]


NUMBERS = st.one_of(st.none(), st.floats(allow_infinity=False), st.integers(-3, 3))
ROWS = st.lists(st.fixed_dictionaries({"a": NUMBERS, "b": NUMBERS}), min_size=1, max_size=20)


@quick
@given(rows=ROWS, least=st.floats(-2, 2), most=st.floats(-2, 2))
def test_numbers_are_filtered_as_by_pandas(rows, least, most):
    filters = {"a": Filter(min=least), "b": Filter(max=most)}
    passed = []
    for number, row in enumerate(rows):
        try:
            check_metadata(filters, row)
        except Refused:
            continue
        passed.append(number)
    frame = pd.DataFrame(rows, dtype="float64")
    assert passed == list(frame[(frame.a >= least) & (frame.b <= most)].index)


@pytest.mark.parametrize("wrong", [{}, {"any": []}, {"min": 1.0, "any": ["a"]}, {"min": "a"}, {"most": 1.0}, {"any": [False]}])
def test_a_filter_says_one_thing(wrong):
    with pytest.raises(ValueError, match=r"must have|valid number|no such key|valid string"):
        params_for(FOLDER, filters={"similarity": wrong})
