"""Errors in the input, not in the code: a stage reports them in one line."""

from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from stages.core.allowed import describe_allowed

MAX_LINE = 500  # characters; MLflow cuts a reason after 300
MAX_VALUE = 100  # characters of a wrong value in a message


class InputError(ValueError):
    """The input is invalid; the message is one line that names the thing, its value and what is allowed."""


def first_line(words: object) -> str:
    """Return the first line of a text or an error, shortened and without control characters; it may be empty."""
    line = next(iter(str(words).strip().splitlines()), "")[:MAX_LINE]
    return "".join(char if char.isprintable() else " " for char in line)


def shorten(value: object) -> str:
    """Return the repr of a value, cut to the length that fits in a message."""
    return cut(repr(value))


def cut(text: str) -> str:
    """Return a text, cut to the length of a value that fits in a message."""
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"


def describe_error(error: ErrorDetails, values: Any, model: type[BaseModel]) -> str:
    """Return in one line what pydantic found wrong: the key, its value if it has one, and what is allowed.

    Args:
        error: one entry of ``ValidationError.errors()``.
        values: the mapping that was validated.
        model: the class that it was validated as.
    """
    keys = []
    for part in error["loc"]:
        is_missing = error["type"] == "missing" and part == error["loc"][-1]
        if isinstance(values, dict) and part not in values and not is_missing:
            continue  # the tag of a union, which pydantic puts between a source and its keys
        keys.append(str(part))
        values = values[part] if isinstance(values, dict) and part in values else None
    value, message, context = shorten(error["input"]), describe_allowed(error, model), error.get("ctx", {})
    match error["type"]:
        case "missing":
            return f"{'.'.join(keys)}: is missing"
        case "union_tag_not_found":
            return f"{'.'.join([*keys, 'kind'])}: is missing"
        case "union_tag_invalid":
            keys, value, message = [*keys, "kind"], shorten(context["tag"]), f"allowed are {context['expected_tags']}"
        case "unknown_key" | "no_held_out":
            keys, value = [*keys, context["key"]], context["value"]
    return f"{'.'.join(keys)} = {value}: {message}"
