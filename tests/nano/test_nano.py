"""The committed nano family: complete, small, free of pickles; its tokenizers; its training loop resumes exactly."""

import ast
import copy
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from torch import nn
from transformers import BertTokenizer, CLIPSegForImageSegmentation, CLIPTokenizer

import nano.fit
import nano.settings
from nano.segmenter import segment
from nano.settings import MODELS, Training, inputs_digest
from nano.tokenizers import bert_tokenizer, clip_tokenizer, world_words
from nano.vgg import Classifier, fold_batch_norms
from stages.core.params_file import read_params
from stages.training.checkpoints import read_step
from tests.support import ROOT

MEGABYTE = 1_000_000
STAGES = yaml.safe_load((ROOT / "nano/dvc.yaml").read_text())["stages"]


def test_models_that_the_pipeline_names_are_there_as_safetensors():
    params = read_params(ROOT / "params.yaml")
    named = {params.caption.model, params.retrieve.clip, params.segment.model, params.train.base, params.train.vgg}
    for model in named | {params.evaluate.judge}:
        assert any((ROOT / model.name).rglob("*.safetensors")), model.name


def test_family_is_small_and_has_no_pickles():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert sum(path.stat().st_size for path in files) <= 40 * MEGABYTE


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_knows_the_code_of_a_training(stage):
    entry = STAGES[stage]
    waiting, found = [entry["cmd"].split()[2].partition(".")[2]], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            tree = ast.parse((ROOT / f"nano/{name}.py").read_bytes())
            imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            waiting += [module.removeprefix("nano.") for module in imported if module.startswith("nano.")]
    assert {f"{name}.py" for name in found} <= set(entry["deps"])


@pytest.fixture(params=["", "clip", "judge", "segmenter", "diffusion/tokenizer"], ids=lambda name: name or "as made now")
def small(request) -> CLIPTokenizer:
    """The CLIP tokenizer as it is made, and as it was committed with each model."""
    return CLIPTokenizer.from_pretrained(MODELS / request.param) if request.param else clip_tokenizer()


def test_clip_tokenizer_agrees_with_clip_on_the_words_of_the_world(small):
    full = open_clip.SimpleTokenizer()
    for word in world_words():
        pieces = [full.decoder[token] for token in full.encode(word)]
        assert small.convert_ids_to_tokens(small(word, add_special_tokens=False).input_ids) == pieces


@pytest.mark.parametrize("text", ["zeppelin", "A Car", "größe 42", "日本", "🚗 beep", "qwxz", "don't", "  two  spaces "])
def test_clip_tokenizer_round_trips_words_it_does_not_know(small, text):
    full = open_clip.SimpleTokenizer()
    assert small.decode(small(text).input_ids, skip_special_tokens=True) == full.decode(full.encode(text)).strip()


def test_end_of_text_has_the_highest_id(small):
    assert small.eos_token_id == len(small) - 1
    assert small("a car").input_ids[-1] == small.eos_token_id


def test_bert_tokenizer_round_trips_the_words_of_the_world(tmp_path):
    for tokenizer in (bert_tokenizer(tmp_path), BertTokenizer.from_pretrained(MODELS / "captioner")):
        for word in world_words():
            assert tokenizer.decode(tokenizer(word).input_ids, skip_special_tokens=True) == word


# The training loop.


class Killed(Exception):
    pass


class Fits:
    """Fits a small linear model in a folder of its own, and notes its weights before every step."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch, self.seen = folder, patch, list[torch.Tensor]()
        patch.setattr(nano.fit, "CHECKPOINT_EVERY", 2)
        patch.setattr(nano.fit, "inputs_digest", lambda _: "as it is")

    def __call__(self, folder: str, steps: list[int], *, kill_at: int | None = None, nan_at: int | None = None) -> nn.Linear:
        """Return the fitted model; the loss of call ``kill_at``, counted from 0, raises, that of ``nan_at`` is NaN."""
        self.patch.setattr(nano.fit, "BUILD", self.folder / folder)
        self.seen.clear()
        torch.manual_seed(0)
        model = nn.Linear(3, 2)

        def loss(generator: torch.Generator) -> torch.Tensor:
            number = len(self.seen)
            if number == kill_at:
                raise Killed
            self.seen.append(model.weight.detach().clone())
            value = model(torch.randn(2, 3, generator=generator)).square().mean()
            return value * torch.nan if number == nan_at else value

        nano.fit.fit("small", model, loss, Training(steps=steps, batch=2, lr=0.1, threads=1, precision="fp32"), 0)
        return model


@pytest.fixture
def fits(tmp_path, monkeypatch) -> Fits:
    return Fits(tmp_path, monkeypatch)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("steps", "kill_at", "left"), [([6], 3, 4), ([6, 4], 3, 8), ([6, 4], 6, 4), ([6, 4], 9, 2)])
def test_interrupted_fit_ends_with_the_same_weights(fits, steps, kill_at, left):
    whole = fits("whole", steps)
    assert len(fits.seen) == sum(steps)
    with pytest.raises(Killed):
        fits("killed", steps, kill_at=kill_at)
    again = fits("killed", steps)
    assert len(fits.seen) == left  # from the last checkpoint on: one every 2 steps, and one at the end of a round
    assert same_weights(again, whole)


def test_a_round_starts_from_the_rounded_average_of_the_one_before(fits):
    fits("longer", [7])  # its first 6 steps are those of the round, for the warm-up has not ended
    average, *after = fits.seen[1:]  # the weights after each of these steps
    for weights in after:
        average = 0.999 * average + 0.001 * weights
    fits("two", [6, 1])
    started = fits.seen[6]
    assert torch.equal(started, started.half().float())
    torch.testing.assert_close(started, average, rtol=2**-10, atol=0)  # a rounding to half precision
    assert not torch.allclose(started, after[-1], rtol=2**-10, atol=0)
    assert torch.equal(fits("one", [6]).weight, started)  # what is left of a training is what the next round starts from


@pytest.mark.parametrize(
    ("steps", "told", "kept"), [([6], "small: the loss of step 5", 4), ([6, 4], "small, round 2: the loss of step 3", 2)]
)
def test_a_loss_that_is_not_finite_stops_the_fit_and_leaves_the_last_checkpoint(fits, steps, told, kept):
    whole = fits("whole", steps)
    with pytest.raises(FloatingPointError, match=f"^{told} is nan; the last checkpoint is ") as error:
        fits("mended", steps, nan_at=sum(steps) - 1)
    checkpoint = Path(str(error.value).rpartition(" is ")[2])
    assert read_step(checkpoint) == kept
    again = fits("mended", steps)
    assert len(fits.seen) == steps[-1] - kept
    assert same_weights(again, whole)


def test_checkpoint_of_other_settings_is_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(nano.fit, "BUILD", tmp_path)
    torch.manual_seed(0)
    start = nn.Linear(3, 2)

    def fitted(steps, seed, inputs="as it is"):
        monkeypatch.setattr(nano.fit, "inputs_digest", lambda _: inputs)
        model = copy.deepcopy(start)
        training = Training(steps=[steps], batch=2, lr=0.1, threads=1, precision="fp32")
        nano.fit.fit("one", model, lambda rng: model(torch.randn(2, 3, generator=rng)).square().mean(), training, seed)
        return model.weight

    first = fitted(3, 0)
    assert torch.equal(fitted(3, 0), first)  # already done: nothing is trained twice
    assert not torch.equal(fitted(3, 1), first)
    assert not torch.equal(fitted(4, 0), first)
    fitted(3, 0, "other code or scenes")
    assert len(list(tmp_path.glob("*.checkpoint.safetensors"))) == 4


def test_inputs_of_a_training_are_what_dvc_names(tmp_path, monkeypatch):
    monkeypatch.setattr(nano.settings, "NANO", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {toy: {cmd: x, deps: [toy.py, parts]}}")
    (tmp_path / "parts").mkdir()
    made_from = set()
    for path in ("toy.py", "parts/a", "parts/b", "toy.py"):
        (tmp_path / path).write_text(f"{path}, version {len(made_from)}")
        if (tmp_path / "toy.py").exists():
            made_from.add(inputs_digest("toy"))
    assert len(made_from) == 4


def test_segmenter_trains_the_function_of_transformers_with_gradients_everywhere():
    model = CLIPSegForImageSegmentation.from_pretrained(MODELS / "segmenter").eval()
    tokens = clip_tokenizer()(["a red dog", "a hat"], padding=True, return_tensors="pt")
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    logits, embedded, patches = segment(model, pictures, tokens.input_ids, tokens.attention_mask)
    assert (len(embedded), patches.shape[:2]) == (2, (2, 64))
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
