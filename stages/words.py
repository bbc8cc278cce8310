"""Words of others, such as a server, a library, a caption or a file, made fit for one line."""

MAX_LINE = 200  # characters


def first_line(words: object) -> str:
    """Return the first line of a text, or of an error's message, cut and without control characters; it may be empty."""
    line = next(iter(str(words).strip().splitlines()), "")[:MAX_LINE]
    return "".join(char if char.isprintable() else " " for char in line)


def one_line(text: object) -> str:
    """Return a text from outside as words with single spaces between them; what is not a string is empty.

    Control characters and broken Unicode separate words, as line breaks do.
    """
    if not isinstance(text, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
