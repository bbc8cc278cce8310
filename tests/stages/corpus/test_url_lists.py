"""Lists of URLs from Parquet as LAION's: which columns, which rows, and what is left out before anything is fetched."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import InputError
from stages.core.params_download import Download
from stages.core.params_ingest import Filter
from stages.corpus import url_lists
from stages.corpus.url_lists import metadata_files, open_metadata, write_list
from tests.support.downloads import section_for

pytestmark = pytest.mark.usefixtures("workplace")

ROWS = [
    {"URL": "https://example.org/0.jpg", "TEXT": "a cat", "similarity": 0.31, "punsafe": 0.1, "LICENSE": "CC0", "WIDTH": 640},
    {"URL": "https://example.org/1.jpg", "TEXT": "a dog", "similarity": 0.29, "punsafe": 0.1, "LICENSE": "CC0", "WIDTH": 640},
    {"URL": "https://example.org/2.jpg", "TEXT": None, "similarity": None, "punsafe": 0.1, "LICENSE": "CC0", "WIDTH": 640},
    {"URL": "https://example.org/3.jpg", "TEXT": None, "similarity": 0.4, "punsafe": 0.2, "LICENSE": "CC0", "WIDTH": 640},
    {"URL": "https://example.org/4.jpg", "TEXT": None, "similarity": 0.4, "punsafe": 0.1, "LICENSE": "?", "WIDTH": 300},
    {"URL": "https://example.org/5.jpg", "TEXT": None, "similarity": 0.4, "punsafe": 0.1, "LICENSE": "?", "WIDTH": None},
    {"URL": "file:///etc/passwd", "TEXT": "a", "similarity": 0.4, "punsafe": 0.1, "LICENSE": None, "WIDTH": 640},
    {"URL": None, "TEXT": "a", "similarity": 0.4, "punsafe": 0.1, "LICENSE": None, "WIDTH": 640},
    {
        "URL": " http://example.org/Köln am R.jpg ",
        "TEXT": "b",
        "similarity": 0.4,
        "punsafe": 0.1,
        "LICENSE": None,
        "WIDTH": 640,
    },
    {"URL": "http://[::1/x", "TEXT": "b", "similarity": 0.4, "punsafe": 0.1, "LICENSE": None, "WIDTH": 640},
]
FILTERS = {"similarity": Filter(min=0.3), "PUNSAFE": Filter(max=0.1), "width": Filter(min=512)}


def listed(section: Download, path: Path = Path("laion.parquet")) -> tuple[list[dict], Counter[str]]:
    metadata = open_metadata(path, section, FILTERS)
    count, dropped = write_list(metadata, FILTERS, Path("list.parquet"))
    rows = pq.read_table("list.parquet").to_pylist()
    assert count == len(rows)
    return rows, dropped


@pytest.mark.parametrize("batch", [1, 3, 10_000])
def test_rows_that_pass_the_filters_are_listed(batch, monkeypatch):
    monkeypatch.setattr(url_lists, "BATCH", batch)
    pq.write_table(pa.Table.from_pylist(ROWS), "laion.parquet", row_group_size=4)
    rows, dropped = listed(section_for("laion.parquet", text="text"))
    assert rows == [
        {"url": "https://example.org/0.jpg", "caption": "a cat", "license": "CC0", "punsafe": 0.1, "similarity": 0.31},
        {"url": "https://example.org/5.jpg", "caption": "", "license": "?", "punsafe": 0.1, "similarity": 0.4},
        {
            "url": "http://example.org/K%C3%B6ln%20am%20R.jpg",
            "caption": "b",
            "license": None,
            "punsafe": 0.1,
            "similarity": 0.4,
        },
    ]
    assert dropped == {
        "ingest.filters.similarity: below 0.3": 1,
        "ingest.filters.similarity: no value": 1,
        "ingest.filters.PUNSAFE: above 0.1": 1,
        "ingest.filters.width: below 512": 1,
        "no URL of http or https": 1,
        "no URL": 2,
    }


def test_columns_have_the_names_that_are_given():
    pq.write_table(
        pa.table({"link": ["http://example.org/a"], "alt": ["a cat"], "similarity": [0.5], "punsafe": [0.0]}), "a.parquet"
    )
    rows, _ = listed(section_for("a.parquet", url="LINK", text="Alt"), Path("a.parquet"))
    assert [(row["url"], row["caption"]) for row in rows] == [("http://example.org/a", "a cat")]
    rows, _ = listed(section_for("a.parquet", url="link", text=None), Path("a.parquet"))
    assert [row["caption"] for row in rows] == [""]
    with pytest.raises(InputError, match=r"^download\.url = 'url': a\.parquet has no such column; it has link, alt, "):
        listed(section_for("a.parquet", text=None), Path("a.parquet"))


def test_files_are_found_by_name_folder_and_glob():
    for name in ("a/0.parquet", "a/b/1.parquet", "a/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    both = [Path("a/0.parquet").resolve(), Path("a/b/1.parquet").resolve()]
    assert metadata_files(section_for("a")) == both
    assert metadata_files(section_for("a/**/*.parquet")) == both
    assert metadata_files(section_for("a/0.parquet")) == both[:1]
    with pytest.raises(InputError, match=r"^download\.metadata = 'b/\*\.parquet': no Parquet file there$"):
        metadata_files(section_for("b/*.parquet"))
    with pytest.raises(InputError, match=r"^download\.metadata = null: must name the Parquet files"):
        metadata_files(section_for(None))
