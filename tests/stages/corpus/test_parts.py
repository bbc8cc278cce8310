"""Untrusted names are safe to print."""

from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.parts import printable
from tests.support.strategies import quick


def test_control_characters_are_escaped():
    assert printable("a\nb\x1b[31m\ud800é") == "a\\nb\\x1b[31m\\ud800é"


@quick
@given(text=st.text(st.characters()))  # includes broken Unicode and control characters
def test_any_name_is_printable(text):
    assert printable(text).isprintable()
