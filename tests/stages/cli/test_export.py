"""``iedit export`` writes a registered model to a folder that diffusers and the editor open."""

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.cli import main as cli
from stages.editing.settings import read_sampling
from stages.models.layout import LORA
from stages.tracking import store
from stages.tracking.card import CARD, save_card
from stages.tracking.registry import fetch_trained, find_version
from tests.support.hub import digest, names
from tests.support.registered import SAMPLING

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def out(champion, tmp_path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "exported"


def test_exported_model_has_the_weights_and_the_card(out, capsys):
    save_card(store.connect(), find_version("models:/iedit@champion"), "# The card\n")
    assert cli.main(["export", str(out)]) == 0
    assert capsys.readouterr().out == f'{out}: diffusers.DiffusionPipeline.from_pretrained("{out}") opens it\n'
    trained = Path("models/iedit")
    assert {name: digest(out / name) for name in names(trained)} == {name: digest(trained / name) for name in names(trained)}
    assert (out / CARD).read_text() == "# The card\n"
    assert read_sampling(out) == SAMPLING
    pipeline = DiffusionPipeline.from_pretrained(out)
    weights = load_file(trained / UNET)
    assert all(torch.equal(value, weights[name]) for name, value in pipeline.unet.state_dict().items())


def test_half_precision(out):
    assert cli.main(["export", str(out), "--half"]) == 0
    weights = load_file(out / UNET)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert DiffusionPipeline.from_pretrained(out, torch_dtype=torch.float16).unet.dtype == torch.float16


@pytest.mark.parametrize("half", [False, True])
def test_a_lora_is_exported_alone(out, capsys, half):
    trained, weights = fetch_trained(store.connect(), "models:/iedit@champion"), {"lora": torch.arange(3.0)}
    save_file(weights, trained / LORA)
    try:
        assert cli.main(["export", str(out), "--lora", *["--half"] * half]) == 0
    finally:
        (trained / LORA).unlink()
    assert capsys.readouterr().out == f'{out}: load_lora_weights("{out}") of a diffusers pipeline of the base adds it\n'
    assert {LORA, "iedit.json"} <= set(names(out)) <= {LORA, "iedit.json", CARD}
    assert load_file(out / LORA)["lora"].dtype == (torch.float16 if half else torch.float32)


def test_without_a_lora_none_is_exported(out, capsys):
    assert cli.main(["export", str(out), "--lora"]) == 2
    assert capsys.readouterr().err == "error: models:/iedit/1: was trained without a LoRA; leave out --lora\n"
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["new", "--model", "3", "--half"], "error: models:/iedit/3: "),
        (["models"], "error: models: exists already; name a new folder"),
        (["new", "--model", "new one"], "error: new one: names no version"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(champion, capsys, words, error):
    assert cli.main(["export", *words]) == 2
    assert capsys.readouterr().err.startswith(error)
    assert not Path("new").exists()


def test_an_exported_model_edits_as_the_registered_one(out, champion, tmp_path):
    assert cli.main(["export", str(out)]) == 0
    for model, output in ((str(out), "one.png"), ("models:/iedit@champion", "two.png")):
        words = ["edit", "photo.png", "a red dog", "--no-mask", "--model", model, "--output", str(tmp_path / output)]
        assert cli.main(words) == 0
    one, two = (Image.open(tmp_path / name) for name in ("one.png", "two.png"))
    assert one.tobytes() == two.tobytes()
