"""Errors that are the input's and not the code's: a stage tells them in one line."""

MAX_LINE = 500  # characters; MLflow tells a reason after 300


class InputError(ValueError):
    """The input is not as it must be; the message is one line that names the thing, its value and what is allowed."""


def first_line(words: object) -> str:
    """Return the first line of a text, or of an error's message, cut and without control characters; it may be empty."""
    line = next(iter(str(words).strip().splitlines()), "")[:MAX_LINE]
    return "".join(char if char.isprintable() else " " for char in line)
