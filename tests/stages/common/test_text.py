"""Untrusted text becomes one printable line."""

from hypothesis import given
from hypothesis import strategies as st

from stages.common.text import one_line
from tests.support.strategies import quick


def test_text_becomes_one_clean_line():
    assert one_line(" a\tdog\x00on\u2028a\x1b sofa\n") == "a dog on a sofa"
    assert one_line(" a\tred\ncar\x00 \ud800 ") == "a red car"
    assert one_line("a \x1b[1;31mred\x1b[0m\x1b(B car\x9b2K \x1b]0;title\x07") == "a red car"
    assert one_line("a \x1b]title without an end") == "a ]title without an end"
    assert one_line(None) == one_line(7) == ""


@quick
@given(text=st.text(st.characters()))  # includes broken Unicode and control characters
def test_any_text_becomes_one_line_and_stays_it(text):
    line = one_line(text)
    assert line.isprintable()
    assert line == one_line(line) == line.strip()
    assert line.encode().decode() == line
