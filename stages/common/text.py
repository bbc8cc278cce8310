"""Text from outside, such as a caption, a file or a request, made fit for one line."""


def one_line(text: object) -> str:
    """Return the words of a text, separated by single spaces; anything but a string gives "".

    Control characters and invalid Unicode separate words, as line breaks do.
    """
    if not isinstance(text, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
