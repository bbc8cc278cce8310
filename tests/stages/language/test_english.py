"""Which text is taken for an English caption."""

from stages.language.english import is_english


def test_english_captions_are_recognised():
    assert is_english(["a", "dog", "on", "a", "sofa"])
    assert is_english(["a", "bowl", "of", "chili", "con", "carne"])
    assert is_english(["Las", "Vegas", "at", "night"])
    assert not is_english(["le", "bus", "rouge"])
    assert not is_english(["auto", "rossa"])
