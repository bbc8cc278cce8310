"""Parquet tables: what is written comes back, and a table of the wrong kind is refused in one line."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common.parquet import read_columns, read_table, write_columns, write_table
from stages.core.errors import InputError
from stages.pairing.columns import PAIR_COLUMNS


def test_table_round_trip(tmp_path):
    values = {"string": "b", "float32": 0.5, "int32": 2**31 - 1, "int64": 2**63 - 1}
    rows = [{name: values[kind] for name, kind in PAIR_COLUMNS.items()}]
    write_table(tmp_path / "a.parquet", rows, PAIR_COLUMNS)
    assert read_table(tmp_path / "a.parquet", PAIR_COLUMNS) == rows
    assert read_table(tmp_path / "a.parquet", {"key": "string"}) == [{"key": "b"}]


def test_columns_are_written_as_their_rows_are(tmp_path):
    columns = {"key": "string", "mask": "binary", "area": "float64", "width": "int32"}
    rows = [{"key": str(number), "mask": bytes([number]), "area": number / 7, "width": number} for number in range(5)]
    write_table(tmp_path / "rows.parquet", rows, columns)
    values = {name: [row[name] for row in rows] for name in columns}
    values["key"] = read_columns(tmp_path / "rows.parquet", columns).take([0, 1, 2, 3, 4])["key"]  # an Arrow array is fine
    write_columns(tmp_path / "columns.parquet", values | {"other": [1]}, columns)
    assert (tmp_path / "columns.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()


BAD_TABLES = {
    "missing column": (pa.table({"caption": ["a"]}), "has no column key"),
    "column twice": (pa.table([["a"], ["b"]], names=["key", "key"]), "has no column key"),
    "numbers": (pa.table({"key": [1], "caption": ["a"]}), "column key is int64, must be string"),
    "bytes": (pa.table({"key": [b"1"], "caption": ["a"]}), "column key is binary, must be string"),
    "lists": (pa.table({"key": ["a"], "caption": [["a"]]}), r"column caption is list<.*>, must be string"),
    "empty cell": (pa.table({"key": ["a"], "caption": pa.array([None], pa.string())}), "column caption has an empty cell"),
    "not UTF-8": (pa.table({"key": ["a"], "caption": pa.array([b"\xff"]).view(pa.string())}), "damaged, or not Parquet"),
    "text": (b"key,caption\n", "damaged, or not Parquet"),
    "nothing": (b"", "damaged, or not Parquet"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_table_is_refused_with_file_and_column(tmp_path, name):
    content, message = BAD_TABLES[name]
    path = tmp_path / "00000.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: {message}") as error:
        read_table(path, {"key": "string", "caption": "string"})
    assert str(error.value).isprintable()
