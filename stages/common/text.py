"""Words of others, such as a caption, a file or a request, made fit for one line."""


def one_line(text: object) -> str:
    """Return a text from outside as words with single spaces between them; what is not a string is empty.

    Control characters and broken Unicode separate words, as line breaks do.
    """
    if not isinstance(text, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
