"""Text from outside, such as a caption, a file or a request, made fit for one line."""

import re

ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # strings: titles, links
    r"|\x1b[#-/][0-~]"  # character sets
)
"""What a terminal executes (ECMA-48)."""


def one_line(text: object) -> str:
    """Return the words of a text, separated by single spaces; anything but a string gives "".

    Escape sequences are left out. Control characters and invalid Unicode separate words, as line breaks do.
    """
    if not isinstance(text, str):
        return ""
    plain = ESCAPE_SEQUENCE.sub(" ", text)
    if not plain.isprintable():
        plain = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(plain.split())
