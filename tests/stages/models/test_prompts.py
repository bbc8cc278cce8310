"""Prompts of any length and script can be embedded."""

import pytest

from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion
from stages.models.prompts import read_tokenizer, unknown_words
from stages.models.segmenter import load_segmenter
from tests.support import ROOT
from tests.support.samples import HOSTILE, picture

LONG = "a red dog on the beach " * 200


def test_prompts_beyond_the_context_are_truncated(models):
    clip, diffusion, segmenter = load_clip(models.clip), load_diffusion(models.diffusion), load_segmenter(models.segmenter)
    segmenter.processor.tokenizer.model_max_length = diffusion.prompts.tokenizer.model_max_length = (
        10**30
    )  # the default without a limit
    longer = LONG + "and a cat"
    assert clip.embed_texts([LONG]).equal(clip.embed_texts([longer]))
    assert diffusion.embed_prompts([LONG]).text.equal(diffusion.embed_prompts([longer]).text)
    found = [segmenter.probabilities([picture(size=32)], [text]) for text in (LONG, longer)]
    assert found[0].equal(found[1])


@pytest.fixture(scope="module")
def encoders(models) -> list:
    diffusion = load_diffusion(models.diffusion)
    return [load_clip(models.clip).embed_texts, lambda texts: diffusion.embed_prompts(texts).text]


@pytest.mark.parametrize("text", ["海滩上的红色汽车", "красная машина", "🚗" * 50, HOSTILE, LONG, "a" * 10_000])
def test_any_text_can_be_embedded(encoders, text):
    for embed in encoders:
        assert embed([text]).isfinite().all()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a carrot in the forest", []),
        ("a woman on a surfboard", ["woman", "surfboard"]),
        ("a photograph of a train", ["train"]),  # one of two
        ("a photograph of a red car with a train", []),
        ("", []),
        ("of an 12 !", []),
    ],
)
def test_words_outside_the_small_vocabulary_are_named(text, unknown):
    assert unknown_words(read_tokenizer(ROOT / "nano/models/diffusion/tokenizer"), text) == unknown
