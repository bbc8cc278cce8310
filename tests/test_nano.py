"""The committed nano family: complete, small, free of pickles; its tokenizers; its training loop resumes exactly."""

import copy
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn
from transformers import CLIPSegForImageSegmentation

import nano.fit
from nano.segmenter import segment
from nano.settings import MODELS, Training
from nano.tokenizers import bert_tokenizer, clip_tokenizer, world_words
from nano.vgg import Classifier, fold_batch_norms
from stages.params import read_params

ROOT = Path(__file__).parent.parent
MEGABYTE = 1_000_000


def test_models_that_the_pipeline_names_are_there_as_safetensors():
    params = read_params(ROOT / "params.yaml")
    named = {params.caption.model, params.retrieve.clip, params.segment.model, params.train.base, params.train.vgg}
    for model in named | {params.evaluate.judge}:
        assert any((ROOT / model.name).rglob("*.safetensors")), model.name


def test_family_is_small_and_has_no_pickles():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert sum(path.stat().st_size for path in files) <= 40 * MEGABYTE


def test_clip_tokenizer_agrees_with_clip_on_the_words_of_the_world():
    small, full = clip_tokenizer(), open_clip.SimpleTokenizer()
    for word in world_words():
        pieces = [full.decoder[token] for token in full.encode(word)]
        assert small.convert_ids_to_tokens(small(word, add_special_tokens=False).input_ids) == pieces


@pytest.mark.parametrize("text", ["zeppelin", "a car", "größe 42", "日本", "🚗 beep", "qwxz"])
def test_clip_tokenizer_round_trips_words_it_does_not_know(text):
    small, full = clip_tokenizer(), open_clip.SimpleTokenizer()
    assert small.decode(small(text).input_ids, skip_special_tokens=True) == full.decode(full.encode(text)).strip()


def test_end_of_text_has_the_highest_id():
    tokenizer = clip_tokenizer()
    assert tokenizer.eos_token_id == len(tokenizer) - 1


def test_bert_tokenizer_round_trips_the_words_of_the_world(tmp_path):
    tokenizer = bert_tokenizer(tmp_path)
    for word in world_words():
        assert tokenizer.decode(tokenizer(word).input_ids, skip_special_tokens=True) == word


def test_interrupted_fit_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(nano.fit, "BUILD", tmp_path)
    monkeypatch.setattr(nano.fit, "CHECKPOINT_EVERY", 2)
    training = Training(steps=6, batch=2, lr=0.1, threads=1, precision="fp32")

    def loss_of(model):
        return lambda generator: model(torch.randn(2, 3, generator=generator)).square().mean()

    def fresh():
        torch.manual_seed(0)
        return nn.Linear(3, 2)

    whole = fresh()
    nano.fit.fit("whole", whole, loss_of(whole), training, 0)

    class Killed(Exception):
        pass

    def dying(model, calls):
        def loss(generator):
            calls.append(1)
            if len(calls) > 3:
                raise Killed
            return loss_of(model)(generator)

        return loss

    # The draws of a step are seeded by the training's name, so both have to have the same.
    next(tmp_path.glob("whole-*.checkpoint.safetensors")).unlink()
    model = fresh()
    with pytest.raises(Killed):
        nano.fit.fit("whole", model, dying(model, []), training, 0)
    model = fresh()
    nano.fit.fit("whole", model, loss_of(model), training, 0)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), whole.parameters(), strict=True))


def test_checkpoint_of_other_settings_is_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(nano.fit, "BUILD", tmp_path)
    torch.manual_seed(0)
    start = nn.Linear(3, 2)

    def fitted(steps, seed):
        model = copy.deepcopy(start)
        training = Training(steps=steps, batch=2, lr=0.1, threads=1, precision="fp32")
        nano.fit.fit("one", model, lambda rng: model(torch.randn(2, 3, generator=rng)).square().mean(), training, seed)
        return model.weight

    first = fitted(3, 0)
    assert torch.equal(fitted(3, 0), first)  # already done: nothing is trained twice
    assert not torch.equal(fitted(3, 1), first)
    assert not torch.equal(fitted(4, 0), first)
    assert len(list(tmp_path.glob("*.checkpoint.safetensors"))) == 3


def test_segmenter_trains_the_function_of_transformers_with_gradients_everywhere():
    model = CLIPSegForImageSegmentation.from_pretrained(MODELS / "segmenter").eval()
    tokens = clip_tokenizer()(["a red dog", "a hat"], padding=True, return_tensors="pt")
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    logits, _ = segment(model, pictures, tokens.input_ids, tokens.attention_mask)
    assert torch.equal(logits, model(pixel_values=pictures, **tokens).logits)
    logits.sum().backward()
    assert model.clip.vision_model.embeddings.patch_embedding.weight.grad.abs().sum() > 0
    assert model.clip.text_model.embeddings.token_embedding.weight.grad.abs().sum() > 0


def test_classifier_without_its_batch_norms_is_the_same_function():
    torch.manual_seed(0)
    model = Classifier(5, batch_norm=True)
    pictures = torch.rand(4, 3, 64, 64)
    model(pictures)  # moves the running statistics away from 0 and 1
    model.eval()
    plain = fold_batch_norms(model).eval()
    torch.testing.assert_close(plain(pictures), model(pictures), rtol=1e-4, atol=1e-6)
    assert list(plain.state_dict()) == list(Classifier(5).state_dict())
