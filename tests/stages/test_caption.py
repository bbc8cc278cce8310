"""Stage caption: BLIP's captions, what is dropped, and what a second run remakes."""

from transformers import BlipForConditionalGeneration, BlipProcessor

from stages.caption import caption
from stages.core.paths import CAPTIONS
from stages.core.shards import read_counts
from tests.support.samples import ESCAPES, HOSTILE
from tests.support.tiny_corpus import SHARD_SIZE, contents, counted, dropped, image, key_for, params_for, rows_of, write_world


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
    assert {row["key"]: row["caption"] for row in rows} == {key: text for key, text in wanted.items() if text}
    assert len(rows) > 0
    assert all(set(row) == {"key", "caption"} for row in rows)
    assert sum(dropped("caption").values()) == 2 * SHARD_SIZE - len(rows)


def test_empty_captions_are_dropped_and_counted(models, workplace, monkeypatch):
    write_world(1)
    texts = iter(["a dog", "", "a cat", "", "", "a cow"])
    monkeypatch.setattr("stages.models.captioner.Captioner.caption", lambda self, images, _: [next(texts) for _ in images])
    caption(params_for(models))
    assert [row["key"][-1] for row in rows_of(CAPTIONS)] == ["0", "2", "5"]
    assert dropped("caption") == {"empty caption": 3}
    assert read_counts(CAPTIONS) == {"test": {}, "caption": {"empty caption": 3}}


def test_hostile_captions_become_clean_lines(models, workplace, monkeypatch):
    write_world(1)
    texts = iter([HOSTILE, ESCAPES, " ", "", "", ""])
    monkeypatch.setattr("stages.models.captioner.Captioner.caption", lambda self, images, _: [next(texts) for _ in images])
    caption(params_for(models))
    rows = rows_of(CAPTIONS)
    assert [row["key"] for row in rows] == ["000000000"]
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
