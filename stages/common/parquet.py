"""Parquet tables with a fixed schema, so that equal rows give equal bytes and readers can rely on the columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import InputError, first_line

BUFFER = 2**20  # bytes of a column that are read at once

Item = TypeVar("Item")


def write_table(path: Path, rows: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows as Parquet.

    Args:
        path: the file to write.
        rows: the rows, in the order to keep.
        columns: column → pyarrow's name of its type ("string", "float32", "int64").
    """
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd")


def write_columns(path: Path, values: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Write columns as :func:`write_table` writes rows, without a Python object for each row.

    Args:
        path: the file to write.
        values: column → its values, as a list or an Arrow array, all of one length.
        columns: column → pyarrow's name of its type, in the order to keep.
    """
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    pq.write_table(pa.table({name: values[name] for name in columns}, schema=schema), path, compression="zstd")


def read_columns(path: Path, columns: Mapping[str, str]) -> pa.Table:
    """Return the given columns of a Parquet file as an Arrow table.

    Args:
        path: the file to read.
        columns: column → pyarrow's name of its type, as for :func:`write_table`.

    Raises:
        InputError: the file is not Parquet or damaged, or a column is missing, has another type, or has an empty cell.
    """
    try:
        with pq.ParquetFile(path) as file:
            for name, kind in columns.items():
                place = file.schema_arrow.get_field_index(name)  # -1: missing, or ambiguous
                if place < 0:
                    raise InputError(f"{path}: has no column {name}")
                found = file.schema_arrow.field(place).type
                if found != pa.type_for_alias(kind):
                    raise InputError(f"{path}: column {name} is {found}, must be {kind}")
            table = file.read(columns=list(columns))
        table.validate(full=True)  # that texts are UTF-8, too
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    empty = next((name for name in columns if table[name].null_count), None)
    if empty is not None:
        raise InputError(f"{path}: column {empty} has an empty cell")
    return table


def read_table(path: Path, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file in their order, reduced to the given columns.

    Raises:
        InputError: see :func:`read_columns`.
    """
    rows: list[dict[str, Any]] = read_columns(path, columns).to_pylist()
    return rows


def read_rows(
    path: Path, columns: Sequence[str], start: int = 0, stop: int | None = None, *, batch: int = 1000
) -> Iterator[dict[str, Any]]:
    """Yield rows of an untrusted Parquet file in their order, with a page of each column in memory.

    Args:
        path: the file to read.
        columns: those that the rows are reduced to.
        start: the first row.
        stop: the row after the last; None: the file's end.
        batch: rows that become Python objects at once.

    Raises:
        InputError: the file is not Parquet, or damaged.
    """
    with _untrusted(path) as file:
        counts = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        stop = sum(counts) if stop is None else stop
        ends = list(accumulate(counts))
        groups = [number for number, end in enumerate(ends) if end > start and end - counts[number] < stop]
        place = ends[groups[0]] - counts[groups[0]] if groups else 0
        for rows in file.iter_batches(batch, row_groups=groups, columns=list(columns), use_threads=False):
            first, last = max(start - place, 0), min(stop - place, len(rows))
            place += len(rows)
            if first < last:
                yield from rows.slice(first, last - first).to_pylist()


def read_schema(path: Path) -> tuple[pa.Schema, int]:
    """Return the columns of an untrusted Parquet file, and how many rows it has.

    Raises:
        InputError: the file is not Parquet, or damaged.
    """
    with _untrusted(path) as file:
        return file.schema_arrow, file.metadata.num_rows


@contextmanager
def _untrusted(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file that is read in pieces of BUFFER bytes, not by whole columns."""
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged, or not Parquet: {first_line(error)}") from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: damaged, or not Parquet: {first_line(error)}; run the stage that writes it")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of ``size`` items; the last may be shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
