"""Vocabularies: the embedded world's, and the errors of a bad list."""

import pytest

from stages.core.errors import InputError
from stages.corpus.world import COLOURS, SIZES, nouns
from stages.language.rules import read_rules


def test_the_vocabulary_is_that_of_the_embedded_world(world):
    assert world.vocabulary == {*nouns(), *COLOURS, *filter(None, SIZES)}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"# things\ndog\nice cream\n", r"words.txt:3: 'ice cream'"),
        (b"dog\ncaf\xe9\n", r"words.txt:2: 'caf"),
        (b"# nothing\n", r"words.txt: holds no word"),
    ],
)
def test_a_bad_word_list_is_an_error(params, tmp_path, content, complaint):
    words = tmp_path / "words.txt"
    words.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        read_rules(params.mutate.model_copy(update={"vocabulary": str(words)}))
