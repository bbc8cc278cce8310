"""CLIPSeg (Lüddecke and Ecker 2022), which finds in a picture what words name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import transformers
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from stages.core.params import ModelName
from stages.models.loading import WEIGHTS, check_vocabulary, complete, frozen, loading
from stages.models.processing import process
from stages.models.prompts import unread
from stages.models.tensors import device, dtype_of

transformers.utils.logging.disable_progress_bar()

Inputs = Mapping[str, Tensor]
"""What the network reads: tokens and their mask, (n, context), and pixels, (n, 3, side, side)."""


@dataclass(frozen=True)
class Segmenter:
    """CLIPSeg with its processor."""

    model: CLIPSegForImageSegmentation
    processor: CLIPSegProcessor

    def prepare(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Inputs:
        """Return the network's inputs, on the CPU: it may run in a thread while the network is busy.

        Prompts are padded to the model's context, so that no prompt's result depends on the length of another.

        Args:
            images: n, RGB; each is squashed or stretched to the model's square.
            prompts: n; tokens beyond the model's context are cut off.
        """
        context = self.model.config.text_config.max_position_embeddings
        options = {"padding": "max_length", "truncation": True, "max_length": context, "return_tensors": "pt"}
        text = self.processor.tokenizer(list(prompts), **options)
        return {**text, "pixel_values": process(self.processor.image_processor, images)}

    @torch.no_grad()
    def predict(self, inputs: Inputs, size: tuple[int, int]) -> Tensor:
        """Return (n, 1, height, width) in [0, 1]: the probability that a pixel shows what the image's prompt names.

        Args:
            inputs: from :meth:`prepare`.
            size: height and width, to which CLIPSeg's map is resized (bilinear, antialiased).
        """
        given = {name: value.to(device()) for name, value in inputs.items()}
        given["pixel_values"] = given["pixel_values"].to(dtype_of(self.model))
        logits = self.model(**given).logits.float()
        maps = logits.view(-1, 1, *logits.shape[-2:]).sigmoid()
        return transforms.resize(maps, list(size), antialias=True)

    def probabilities(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Return (n, 1, height, width) in [0, 1]: the probability that a pixel shows what the image's prompt names.

        CLIPSeg sees squares. A picture that is not square is shown to it squashed, and again in overlapping square windows,
        which keep its proportions but may cut a large thing. In the windows the largest value counts, and the result is the
        mean of both.

        Args:
            images: n, RGB, of one size.
            prompts: n; tokens beyond the model's context are cut off.
        """
        width, height = images[0].size
        whole = self.predict(self.prepare(images, prompts), (height, width))
        if width == height:
            return whole
        parts = torch.zeros_like(whole)
        for left, top, right, bottom in square_windows(width, height):
            crops = [image.crop((left, top, right, bottom)) for image in images]
            found = self.predict(self.prepare(crops, prompts), (bottom - top, right - left))
            place = parts[..., top:bottom, left:right]
            place.copy_(torch.maximum(place, found))
        return (whole + parts) / 2

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the model's context; empty if all of it is read."""
        return unread(self.processor.tokenizer, prompt, self.model.config.text_config.max_position_embeddings)


def square_windows(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return the fewest squares (left, top, right, bottom) that cover a picture at steps of a quarter of their side or less.

    So a thing of three quarters of the shorter side is whole in one of them.
    """
    side, longer = min(width, height), max(width, height)
    steps = math.ceil(4 * (longer - side) / side)
    starts = sorted({round(step * (longer - side) / max(steps, 1)) for step in range(steps + 1)})
    boxes = [(start, 0, start + side, side) for start in starts]
    return boxes if width > height else [(top, left, bottom, right) for left, top, right, bottom in boxes]


def load_segmenter(model: ModelName) -> Segmenter:
    """Load a CLIPSeg.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(model, "config.json") as folder:
        network = complete(CLIPSegForImageSegmentation.from_pretrained(folder, **WEIGHTS))
        processor = CLIPSegProcessor.from_pretrained(folder)
        check_vocabulary(processor.tokenizer, network.config.text_config.vocab_size)
        return Segmenter(frozen(network, model.precision), processor)
