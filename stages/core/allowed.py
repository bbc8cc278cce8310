"""What a parameter may be, in words, from the declaration of its type and range."""

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}
BOUNDS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}", "multiple_of": "a multiple of {}"}
NUMBERS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of")


def describe_allowed(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is allowed where pydantic found ``error``, for example "must be a whole number, above 0 and at most 999".

    Args:
        error: one entry of ``ValidationError.errors()``.
        model: the class that was validated.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "finite_number":
        return "must be a finite number"
    declared = _find(model, error["loc"])
    field = declared and _without_null(declared)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a section of keys with values"
    what = KINDS.get(kind.partition("_")[0]) if kind not in NUMBERS else KINDS["int" if _is_whole(field) else "float"]
    if what is None:
        return error["msg"]
    bounds = [] if field is None else list(_bounds(field))
    or_null = ", or null" if field is not declared else ""
    return f"must be {what}{', ' if bounds else ''}{' and '.join(bounds)}{or_null}"


def _find(model: type[BaseModel], keys: Sequence[str | int]) -> FieldInfo | None:
    """Return the declaration of a key; None inside of a list. The tag of a union stands among the keys."""
    candidates, field = [model], None
    for key in keys:
        tagged = [each for each in candidates if "kind" in each.model_fields and key in _choices(each.model_fields["kind"])]
        if tagged and len(candidates) > 1:
            candidates = tagged
            continue
        field = next((each.model_fields[key] for each in candidates if key in each.model_fields), None)
        if field is None:
            return None
        candidates = [each for each in (field.annotation, *_choices(field)) if _is_model(each)]
    return field


def _without_null(field: FieldInfo) -> FieldInfo:
    """Return the declaration of what a field is where it is not null; the field itself if it cannot be."""
    others = [each for each in _choices(field) if each is not NoneType]
    return FieldInfo.from_annotation(others[0]) if NoneType in _choices(field) and len(others) == 1 else field


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    return get_args(field.annotation)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_whole(field: FieldInfo | None) -> bool:
    return field is not None and field.annotation is int


def _bounds(field: FieldInfo) -> Iterator[str]:
    for name, words in BOUNDS.items():
        for limit in (getattr(each, name, None) for each in field.metadata):
            if limit is not None:
                yield words.format(f"{limit:,}" if isinstance(limit, int) else f"{limit:g}")
