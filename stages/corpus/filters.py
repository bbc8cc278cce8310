"""Filters: what the source's metadata must say of a sample, judged before its picture is decoded, or even downloaded.

A filter names a column of the source, in any case: ``similarity``, ``punsafe``, ``language`` and so on. ``width``, ``height``
and ``aspect`` (longer side over shorter) are judged by the picture itself where the metadata do not say.
"""

import math
from collections.abc import Mapping
from typing import Any

from stages.core.params_ingest import Filter
from stages.corpus.images import Refused

PREFIX = "ingest.filters."  # what the reasons of filters begin with
SIDES = ("width", "height")
ASPECT = "aspect"

Filters = Mapping[str, Filter]
"""Column → filter."""


def columns_of(filters: Filters) -> frozenset[str]:
    """Return the columns that filters look at, in lower case."""
    names = {name.lower() for name in filters}
    return frozenset(names.union(SIDES) if ASPECT in names else names)


def check_metadata(filters: Filters, values: Mapping[str, Any]) -> None:
    """Judge a sample by its metadata; sides that are not in it are left to :func:`check_sides`.

    Args:
        filters: the filters.
        values: the source's metadata by column, in lower case; of any type.

    Raises:
        Refused: a filter leaves the sample out; its reason begins with PREFIX. A value that is missing, or no number where
            one is needed, has a reason of its own.
    """
    for name, wanted in filters.items():
        value = _value(name.lower(), values)
        if value is not None or name.lower() not in (*SIDES, ASPECT):
            _check(name, wanted, value)


def check_sides(filters: Filters, values: Mapping[str, Any], size: tuple[int, int]) -> None:
    """Judge a sample by the width and height of its picture, where its metadata do not have them.

    Raises:
        Refused: as for :func:`check_metadata`.
    """
    sides = dict(zip(SIDES, size, strict=True))
    for name, wanted in filters.items():
        if name.lower() in (*SIDES, ASPECT) and _value(name.lower(), values) is None:
            _check(name, wanted, _value(name.lower(), sides))


def _value(column: str, values: Mapping[str, Any]) -> Any:
    """Return the value of a column, or None; the aspect follows from the sides unless the metadata have it."""
    value = values.get(column)
    if column == ASPECT and value is None:
        width, height = (_number(values.get(side)) for side in SIDES)
        return max(width, height) / min(width, height) if width and height and min(width, height) > 0 else None
    return value


def _check(name: str, wanted: Filter, value: Any) -> None:
    if wanted.any is not None:
        text = value.strip() if isinstance(value, str) else ""
        if not text:
            raise Refused(f"{PREFIX}{name}: no value")
        if text.casefold() not in map(str.casefold, wanted.any):
            raise Refused(f"{PREFIX}{name}: not one of {', '.join(wanted.any)}")
        return
    number = _number(value)
    if number is None:
        raise Refused(f"{PREFIX}{name}: no value")
    if wanted.min is not None and number < wanted.min:
        raise Refused(f"{PREFIX}{name}: below {wanted.min:g}")
    if wanted.max is not None and number > wanted.max:
        raise Refused(f"{PREFIX}{name}: above {wanted.max:g}")


def _number(value: Any) -> float | None:
    """Return a number, also one that is written as a text, or None if there is none; NaN is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number
