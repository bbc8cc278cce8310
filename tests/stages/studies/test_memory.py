"""The memory of each stage: what each choice saves, what the preset takes, and the figures of docs/memory.md."""

import math
import re
from contextlib import nullcontext
from importlib.util import find_spec

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from stages.core.params import Params
from stages.models.families import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from stages.studies import memory
from stages.studies.memory import PEAKS, fits, peaks
from stages.studies.true_size import networks
from stages.training.instruct_pix2pix import widen
from stages.training.optimizers import make_optimizer
from tests.support import ROOT
from tests.support.composed import composed

DOCUMENT = (ROOT / "docs/memory.md").read_text()
WIDTH = 32
FITTING = ("train", "instruct", "evaluate", "edit")  # with preset=paper, into 16 GB


def paper(*choices: str) -> Params:
    return Params.model_validate(composed("preset=paper", "source=folder", *choices))


def peak(stage: str, params: Params) -> int:
    return PEAKS[stage](params, STABLE_DIFFUSION)


@pytest.fixture
def narrow(monkeypatch) -> int:
    """Few channels in the parts of the diffusion model; returns the weights of the U-Net for two pictures."""

    def unet() -> UNet2DConditionModel:
        return UNet2DConditionModel(
            in_channels=4,
            cross_attention_dim=WIDTH,
            block_out_channels=(32, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )

    def autoencoder() -> AutoencoderKL:
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        return AutoencoderKL(**blocks, block_out_channels=(32,) * 4)

    def text_encoder() -> CLIPTextModel:
        sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
        return CLIPTextModel(CLIPTextConfig(vocab_size=networks.CLIP_TOKENS, **sizes))

    monkeypatch.setattr(networks, "unet", unet)
    monkeypatch.setattr(networks, "vae", autoencoder)
    monkeypatch.setattr(networks, "text_encoder", text_encoder)
    return widen(unet()).num_parameters()


def test_a_gpu_fits_where_a_gigabyte_is_left():
    assert fits(15.0e9) == ["T4", "A10", "V100", "H100"]
    assert fits(15.1e9) == ["A10", "V100", "H100"]
    assert fits(80e9) == []


@pytest.mark.parametrize("stage", ["instruct", pytest.param("edit", marks=pytest.mark.exhaustive)])
def test_tensors_without_numbers_take_what_those_with_numbers_do(narrow, monkeypatch, stage):
    params = paper("precision=fp32", "ingest.size=64")
    monkeypatch.setattr(memory, "EDITED", {STABLE_DIFFUSION: 64})
    computed = peak(stage, params)
    monkeypatch.setattr(memory, "without_numbers", nullcontext)
    assert computed == peak(stage, params)


def test_an_average_on_the_host_saves_4_bytes_a_weight(narrow):
    usual, on_host = (peak("instruct", paper(f"instruct.average_on_host={choice}")) for choice in ("false", "true"))
    assert usual - on_host == 4 * narrow


@pytest.mark.usefixtures("narrow")
def test_moments_of_8_bits_save_6_bytes_but_for_scales():
    usual, rounded = (peak("instruct", paper(f"train.optimizer={name}")) for name in ("adamw", "adamw8bit"))
    large = [count for weight in widen(networks.unet()).parameters() if (count := weight.numel()) >= 4096]
    assert usual - rounded == sum(6 * count - 2 * 4 * math.ceil(count / 256) for count in large)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is an extra")
@pytest.mark.parametrize("numbers", [4095, 4096, 70000])
def test_moments_of_8_bits_take_what_the_library_does(numbers):
    weight = nn.Parameter(torch.ones(numbers))
    optimizer = make_optimizer([weight], paper("train.optimizer=adamw8bit").train, on_gpu=False)
    weight.sum().backward()
    optimizer.step()
    kept = [each for name, each in optimizer.state[weight].items() if isinstance(each, torch.Tensor) and "qmap" not in name]
    assert sum(each.nbytes for each in memory._moments(weight, "adamw8bit")) == sum(each.nbytes for each in kept)


def test_a_second_pass_meets_the_gradient_of_the_first(narrow):
    one, *more = (peak("instruct", paper(f"train.accumulation={passes}", "train.batch=4")) for passes in (1, 2, 8))
    assert more[0] == more[1] >= one + 0.9 * 4 * narrow


@pytest.mark.exhaustive
def test_what_is_trained_decides(narrow):
    few, blocks, whole = (peak("train", paper(f"train.parameters={choice}")) for choice in ("lora", "blocks", "all"))
    assert few < blocks < whole


@pytest.mark.exhaustive
def test_half_precision_and_small_batches_take_less(narrow):
    whole, half, single = (
        peak("evaluate", paper(*choices))
        for choices in (["precision=fp32"], ["precision=fp16"], ["precision=fp16", "evaluate.batch=1"])
    )
    assert single < half < whole


@pytest.mark.exhaustive
def test_the_preset_fits_into_16_gigabytes():
    params = paper()
    assert params.train.batch == 1
    assert [name for name in FITTING if peak(name, params) > 15e9] == []


@pytest.mark.exhaustive
def test_figures_of_the_document_are_computed():
    (shown,) = re.findall(r"```text\n\$ iedit memory\n.*?\n(.*?)```", DOCUMENT, re.DOTALL)
    table = [line.split() for line in shown.splitlines()]
    computed = dict(peaks(paper()))
    stated = {name: float(size) for name, size, *_ in table}
    assert stated == pytest.approx({name: size / 1e9 for name, size in computed.items()}, abs=0.06)
    assert {name: cells.count("fits") for name, _, _, *cells in table} == {n: len(fits(size)) for n, size in computed.items()}
    rows = re.findall(r"^\| `(--xl)? ?(.*)` \| (\w+) \| ([\d.]+) GB \| (.+) \|$", DOCUMENT, re.MULTILINE)
    assert {xl for xl, *_ in rows} == {"", "--xl"}
    for xl, choices, stage, size, gpus in rows:
        found = PEAKS[stage](paper(*choices.split()), STABLE_DIFFUSION_XL if xl else STABLE_DIFFUSION)
        assert (float(size), gpus) == (pytest.approx(found / 1e9, abs=0.06), ", ".join(fits(found)) or "none")
