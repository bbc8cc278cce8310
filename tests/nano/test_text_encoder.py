"""Alt texts of the pictures that train the base: of a scene they name its place, of an object on a plain colour none."""

import torch

from nano.scenes import Scenes
from nano.text_encoder import describe, token_ids
from nano.tokenization import CONTEXT, clip_tokenizer

TEXTS = 200


def scenes() -> Scenes:
    return Scenes(
        pictures_u8=torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        masks_u8=torch.zeros(1, 8, 8, dtype=torch.uint8),
        captions=["a red carrot in the forest"],
        subjects=["red carrot"],
        nouns=["carrot"],
        sceneries=["forest"],
    )


def test_only_texts_of_whole_scenes_name_the_place():
    rows, seeds = torch.zeros(TEXTS, dtype=torch.long), torch.arange(TEXTS)
    whole, alone = (describe(scenes(), rows, torch.full((TEXTS,), value), seeds) for value in (False, True))
    assert any("forest" in text for text in whole)
    assert not any("forest" in text for text in alone)
    assert [text.replace("forest", "isolated") for text in whole] == alone


def test_texts_depend_on_their_seeds_alone():
    rows, alone = torch.zeros(TEXTS, dtype=torch.long), torch.zeros(TEXTS, dtype=torch.bool)
    seeds = torch.arange(TEXTS)
    texts = describe(scenes(), rows, alone, seeds)
    assert texts == describe(scenes(), rows, alone, seeds.flip(0))[::-1]
    assert len(set(texts)) > TEXTS / 2


def test_token_ids_are_padded_to_the_context():
    tokenizer = clip_tokenizer()
    ids = token_ids(tokenizer, ["", "a carrot in the forest"])
    assert ids.shape == (2, CONTEXT)
    assert ids[0].tolist() == [tokenizer.bos_token_id] + [tokenizer.eos_token_id] * (CONTEXT - 1)
