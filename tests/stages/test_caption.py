"""Stage caption: BLIP's captions, what is dropped, and what a second run remakes."""

import shutil
from dataclasses import replace

import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipProcessor

from stages.caption import caption
from stages.core.errors import InputError
from stages.core.paths import CAPTIONS, CORPUS
from stages.core.shards import pass_on_counts, read_counts
from stages.models.captioner import Captioner, load_captioner
from stages.report.examples import caption_reason
from tests.support.corpora import write_shards_of
from tests.support.samples import ESCAPES, HOSTILE
from tests.support.tiny_corpus import (
    SHARD_SIZE,
    contents,
    counted,
    dropped,
    image,
    key_for,
    params_for,
    rows_of,
    tiny_sample,
    write_tiny_corpus,
    write_world,
)
from tests.support.workers import PROCESSES


def test_captions_are_those_of_blip_image_by_image(models, workplace):
    write_world(2)
    caption(params_for(models))
    network = BlipForConditionalGeneration.from_pretrained(models.captioner.name).eval()
    processor = BlipProcessor.from_pretrained(models.captioner.name)
    wanted = {}
    for number in range(2 * SHARD_SIZE):
        inputs = processor(images=image(number), return_tensors="pt")
        tokens = network.generate(**inputs, max_new_tokens=params_for(models).caption.max_tokens, do_sample=False)
        wanted[key_for(number)] = processor.decode(tokens[0], skip_special_tokens=True).strip()
    rows = rows_of(CAPTIONS)
    assert {row["key"]: row["caption"] for row in rows} == wanted
    assert all(set(row) == {"key", "pixels", "caption"} for row in rows)
    assert sum(dropped("caption").values()) == list(wanted.values()).count("")
    assert counted("caption")[0] == len(wanted) - list(wanted.values()).count("")


def test_empty_captions_are_dropped_and_counted(models, workplace, monkeypatch):
    write_world(1)
    texts = iter(["a dog", "", "a cat", "", "", "a cow", "padding", "padding"])
    monkeypatch.setattr("stages.models.captioner.Captioner.describe", lambda self, pictures, _: [next(texts) for _ in pictures])
    caption(params_for(models))
    assert [row["caption"] for row in rows_of(CAPTIONS)] == ["a dog", "", "a cat", "", "", "a cow"]
    assert dropped("caption") == {caption_reason(params_for(models), "a text"): 3} == {"empty caption": 3}
    assert read_counts(CAPTIONS) == {"test": {}, "caption": {"empty caption": 3}}


def test_hostile_captions_become_clean_lines(models, workplace, monkeypatch):
    write_world(1)
    texts = iter([HOSTILE, ESCAPES, " ", "", "", "", "padding", "padding"])
    monkeypatch.setattr("stages.models.captioner.Captioner.describe", lambda self, pictures, _: [next(texts) for _ in pictures])
    caption(params_for(models))
    rows = rows_of(CAPTIONS)
    assert [bool(row["caption"]) for row in rows] == [True, False, False, False, False, False]
    assert all(row["caption"].isprintable() for row in rows)
    assert dropped("caption") == {"empty caption": 5}  # of escape sequences nothing is left


def test_only_a_new_shard_is_captioned(models, workplace):
    write_world(2)
    caption(params_for(models))
    before, done = contents(CAPTIONS), counted("caption")[0]
    caption(params_for(models))
    assert counted("caption") == (0, done, 0, 2)
    assert contents(CAPTIONS) == before
    write_world(3)
    caption(params_for(models))
    assert counted("caption")[2:] == (1, 2)
    assert contents(CAPTIONS).items() >= before.items()
    assert {name.split(".")[0] for name in set(contents(CAPTIONS)) - set(before)} == {"00002"}


def test_changed_parameters_caption_again(models, workplace):
    write_world(1)
    caption(params_for(models))
    caption(params_for(models, caption={"max_tokens": 3}))
    assert counted("caption")[2:] == (1, 0)


def test_only_new_images_of_a_shard_are_captioned(models, workplace, monkeypatch):
    described = []
    original = Captioner.describe

    def describe(self, pictures, max_tokens):
        described.append(len({picture.numpy().tobytes() for picture in pictures}))
        return original(self, pictures, max_tokens)

    monkeypatch.setattr(Captioner, "describe", describe)
    write_tiny_corpus(range(4))
    caption(params_for(models))
    write_tiny_corpus(range(1, 6))
    caption(params_for(models))
    assert described == [4, 2]
    kept = contents(CAPTIONS)
    shutil.rmtree(CAPTIONS)
    caption(params_for(models))
    assert {name: data for name, (data, _) in contents(CAPTIONS).items()} == {name: data for name, (data, _) in kept.items()}


def write_texts(texts: list[str]) -> None:
    """Write a corpus of one shard with these texts."""
    samples = [replace(tiny_sample(number), alt_text=text) for number, text in enumerate(texts)]
    pass_on_counts(write_shards_of(CORPUS, {"00000": samples}), CORPUS)


def test_given_captions_are_taken_and_no_model_is_loaded(models, workplace, monkeypatch):
    monkeypatch.setattr("stages.models.captioner.load_captioner", None)
    given = params_for(models, caption={"use": "given"})
    write_texts(["a red car", "", "a cat on a mat", "x " * 600])
    caption(given)
    assert [row["caption"] for row in rows_of(CAPTIONS)] == ["a red car", "", "a cat on a mat", ""]
    assert dropped("caption") == {"no caption given": 1, "given caption too long": 1}
    assert {caption_reason(given, text) for text in ("", "x " * 600)} == set(dropped("caption"))
    assert counted("caption")[0] == 2
    write_texts(["a blue car", "", "a cat on a mat", "a dog"])
    caption(given)
    assert [row["caption"] for row in rows_of(CAPTIONS)] == ["a blue car", "", "a cat on a mat", "a dog"]


def test_a_corpus_without_captions_cannot_give_them(models, workplace):
    write_texts(["", ""])
    with pytest.raises(InputError, match=r"^caption\.use = given: no image of the corpus has a caption; set "):
        caption(params_for(models, caption={"use": "given"}))


def test_captions_of_blip_and_given_ones_do_not_mix(models, workplace):
    write_texts(["a red car", "a blue car"])
    caption(params_for(models))
    by_blip = rows_of(CAPTIONS)
    caption(params_for(models, caption={"use": "given"}))
    assert [row["caption"] for row in rows_of(CAPTIONS)] == ["a red car", "a blue car"]
    caption(params_for(models))
    assert rows_of(CAPTIONS) == by_blip


def test_any_engine_writes_the_same_bytes(models, workplace):
    write_world(3)
    params = params_for(models)
    caption(params)
    alone = {name: data for name, (data, _) in contents(CAPTIONS).items()}
    shutil.rmtree(CAPTIONS)
    caption(params.model_copy(update={"execution": PROCESSES}))
    assert {name: data for name, (data, _) in contents(CAPTIONS).items()} == alone


def test_a_picture_is_read_the_same_in_any_company(models):
    """Bit for bit, wherever it stands in a batch of one size; so captions do not depend on the shard."""
    captioner = load_captioner(models.captioner)
    pictures = captioner.prepare([image(number) for number in range(8)])
    alone = captioner.prepare([image(3)] * 8)

    def read(batch):
        with torch.no_grad():
            seen = captioner.model.vision_model(pixel_values=batch).last_hidden_state
            words = torch.tensor([[captioner.model.config.text_config.bos_token_id]] * 8)
            return seen, captioner.model.text_decoder(input_ids=words, encoder_hidden_states=seen).logits

    for together, repeated in zip(read(pictures), read(alone), strict=True):
        assert torch.equal(together[3], repeated[0])
        assert torch.equal(together[3], repeated[7])
