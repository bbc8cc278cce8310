"""The paper preset's frozen networks at their true sizes, with random weights: operations of a forward pass, and CPU time."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from stages.studies.true_size import networks

PICTURE = 384  # pixels a side, as in the paper
CAPTION_TOKENS = 12  # of a typical caption
ROUNDS = 3

Forward = Callable[[], object]


def count_operations() -> dict[str, int]:
    """Return the floating-point operations of each network for one image, text or pair; a multiply-add counts as two.

    No weight is made: the networks live on torch's meta device.
    """
    with torch.device("meta"):
        return {name: _operations(make()) for name, make in NETWORKS.items()}


def measure_seconds() -> dict[str, float]:
    """Return the median CPU seconds of each network for one item, on this machine, with random weights."""
    seconds = {}
    with torch.inference_mode():
        for name, make in NETWORKS.items():
            forward = make()
            forward()
            seconds[name] = statistics.median(_seconds(forward) for _ in range(ROUNDS))
    return seconds


def measure_true_size(folder: Path) -> dict[str, Any]:  # noqa: ARG001 - it needs none
    """Return operations and CPU seconds of each network, and the operations a second that follow."""
    operations, seconds = count_operations(), measure_seconds()
    return {
        name: {
            "operations": operations[name],
            "cpu_seconds": round(seconds[name], 3),
            "operations_per_cpu_second": round(operations[name] / seconds[name]),
        }
        for name in NETWORKS
    }


def _operations(forward: Forward) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        forward()
    return int(counter.get_total_flops())


def _seconds(forward: Forward) -> float:
    started = time.process_time()
    forward()
    return time.process_time() - started


def _blip() -> Forward:
    """BLIP's large captioner: the image once, and every token of a caption once, as with cached keys and values."""
    model: Any = networks.blip()
    picture, tokens = torch.zeros(1, 3, 384, 384), torch.ones(1, CAPTION_TOKENS, dtype=torch.long)
    return lambda: model.text_decoder(input_ids=tokens, encoder_hidden_states=model.vision_model(picture).last_hidden_state)


def _clip_image() -> Forward:
    model: Any = networks.clip("ViT-B-32-quickgelu")
    picture = torch.zeros(1, 3, 224, 224)
    return lambda: model.encode_image(picture)


def _clip_text() -> Forward:
    model: Any = networks.clip("ViT-B-32-quickgelu")
    tokens = torch.zeros(1, 77, dtype=torch.long)
    return lambda: model.encode_text(tokens)


def _clipseg() -> Forward:
    model, picture, tokens = networks.clipseg(), torch.zeros(1, 3, 352, 352), torch.ones(1, 77, dtype=torch.long)
    return lambda: model(pixel_values=picture, input_ids=tokens)


def _vae() -> Forward:
    model: Any = networks.vae()
    picture = torch.zeros(1, 3, PICTURE, PICTURE)
    return lambda: model.encode(picture)


NETWORKS: dict[str, Callable[[], Forward]] = {
    "caption": _blip,
    "image embedding": _clip_image,
    "text embedding": _clip_text,
    "mask": _clipseg,
    "latent": _vae,
}
"""What each frozen network makes → a function that builds it and returns its forward pass."""
