"""Captions to measure the mutation on: drawn ones, and those of a file."""

import pytest

from stages.core.errors import InputError
from stages.language.mutation import Dropped
from stages.studies.mutation.__main__ import describe
from stages.studies.mutation.captions import draw_captions, read_captions


def test_drawn_captions_differ_and_follow_their_seed():
    first = draw_captions(50, 1)
    assert len(set(first)) == 50
    assert first == draw_captions(50, 1) != draw_captions(50, 2)
    assert not any("<" in caption or "|" in caption for caption in first)


def test_captions_of_a_file_are_its_lines(tmp_path):
    (tmp_path / "mine.txt").write_text("# mine\na dog on a bed\n\na cat\n", encoding="utf-8")
    assert read_captions(tmp_path / "mine.txt") == ["a dog on a bed", "a cat"]


@pytest.mark.parametrize("text", [None, "", "# none\n\n"])
def test_a_file_without_captions_is_one_line(text, tmp_path):
    if text is not None:
        (tmp_path / "mine.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.txt: .*captions, one on a line$"):
        read_captions(tmp_path / "mine.txt")


def test_the_share_and_the_reasons_are_of_all_captions():
    results = [("a", Dropped.EMPTY), ("b", Dropped.EMPTY), ("c", Dropped.NOT_ENGLISH), ("d", Dropped.EMPTY)]
    assert describe("mine", results).startswith("mine: 0 of 4 captions have an edit (0.0%); empty caption: 3; caption not in")
