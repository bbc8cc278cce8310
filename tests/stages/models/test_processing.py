"""Batches of pictures go through an image processor as single pictures do: the oracle is the processor itself."""

import pytest
import torch
from transformers import BlipImageProcessor, CLIPImageProcessor, ViTImageProcessor

from stages.models.processing import process
from tests.support.samples import noise

SIDE = 24


def processors() -> dict:
    size = {"height": SIDE, "width": SIDE}
    return {
        "BLIP": BlipImageProcessor(size=size),
        "CLIPSeg": ViTImageProcessor(size=size),
        "cropped": CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size),
        "not scaled": ViTImageProcessor(size=size, do_rescale=False),
        "not normalised": ViTImageProcessor(size=size, do_normalize=False),
        "not resized": ViTImageProcessor(do_resize=False),
    }


@pytest.mark.parametrize("side", [SIDE, 32, 17])
@pytest.mark.parametrize("name", processors())
def test_batch_is_processed_bit_for_bit_as_by_the_library(name, side):
    processor, pictures = processors()[name], [noise(seed, side) for seed in range(3)]
    assert torch.equal(process(processor, pictures), processor(pictures, return_tensors="pt")["pixel_values"])


def test_pictures_of_different_sizes_are_processed_too():
    processor, pictures = processors()["BLIP"], [noise(1, 20), noise(2, 30)]
    wanted = [processor(picture, return_tensors="pt")["pixel_values"][0] for picture in pictures]
    assert torch.equal(process(processor, pictures), torch.stack(wanted))
