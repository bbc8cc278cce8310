"""Words of others in messages: one printable line of limited length."""

from stages.core.errors import MAX_LINE, MAX_VALUE, first_line, shorten


def test_only_the_first_line_is_quoted():
    assert first_line("\n the server\x1b[2J\nis gone") == "the server [2J"
    assert first_line(OSError("x" * 1000)) == "x" * MAX_LINE
    assert first_line(" \n") == ""


def test_long_values_are_cut():
    assert shorten("a\nb") == r"'a\nb'"
    assert shorten("x" * 1000) == "'" + "x" * (MAX_VALUE - 1) + "…"
