"""The small tokenizers: CLIP's own pieces for the world's words, and a round trip for all others."""

import open_clip
import pytest
from transformers import BertTokenizer, CLIPTokenizer

from nano.settings import MODELS
from nano.tokenization import bert_tokenizer, clip_tokenizer, world_words


@pytest.fixture(params=["", "clip", "judge", "segmenter", "diffusion/tokenizer"], ids=lambda name: name or "made now")
def small(request) -> CLIPTokenizer:
    """The CLIP tokenizer as the code makes it, and as each model's folder has it."""
    return CLIPTokenizer.from_pretrained(MODELS / request.param) if request.param else clip_tokenizer()


def test_clip_tokenizer_splits_the_worlds_words_as_clip_does(small):
    full = open_clip.SimpleTokenizer()
    for word in world_words():
        pieces = [full.decoder[token] for token in full.encode(word)]
        assert small.convert_ids_to_tokens(small(word, add_special_tokens=False).input_ids) == pieces


@pytest.mark.parametrize("text", ["zeppelin", "A Car", "größe 42", "日本", "🚗 beep", "qwxz", "don't", "  two  spaces "])
def test_clip_tokenizer_round_trips_unknown_words(small, text):
    full = open_clip.SimpleTokenizer()
    assert small.decode(small(text).input_ids, skip_special_tokens=True) == full.decode(full.encode(text)).strip()


def test_end_of_text_has_the_highest_id(small):
    assert small.eos_token_id == len(small) - 1
    assert small("a car").input_ids[-1] == small.eos_token_id


def test_bert_tokenizer_round_trips_the_worlds_words(tmp_path):
    for tokenizer in (bert_tokenizer(tmp_path), BertTokenizer.from_pretrained(MODELS / "captioner")):
        for word in world_words():
            assert tokenizer.decode(tokenizer(word).input_ids, skip_special_tokens=True) == word
