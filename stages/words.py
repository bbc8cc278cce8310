"""Words of others, such as a server, a library or a file, made fit for one line of a message."""

MAX_LINE = 200  # characters


def first_line(words: object) -> str:
    """Return the first line of a text, or of an error's message, cut and without control characters; it may be empty."""
    line = next(iter(str(words).strip().splitlines()), "")[:MAX_LINE]
    return "".join(char if char.isprintable() else " " for char in line)
