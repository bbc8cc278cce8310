"""Parquet tables with a fixed schema, so that equal rows are equal bytes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

Item = TypeVar("Item")


def write_table(path: Path, rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> None:
    """Write rows as Parquet.

    Args:
        path: the file.
        rows: in the order to keep.
        columns: name → pyarrow's name of its type ("string", "float32", "int64").
    """
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file in their order."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
