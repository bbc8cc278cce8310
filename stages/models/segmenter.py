"""CLIPSeg (Lüddecke and Ecker 2022), which finds in a picture what words name."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from stages.core.params import ModelName
from stages.models.loading import WEIGHTS, check_vocabulary, complete, frozen, loading
from stages.models.prompts import unread
from stages.models.tensors import device

transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True)
class Segmenter:
    """CLIPSeg with its processor."""

    model: CLIPSegForImageSegmentation
    processor: CLIPSegProcessor

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Return (n, 1, height, width) in [0, 1]: the probability that a pixel shows what the image's prompt names.

        Args:
            images: n, RGB, of one size; CLIPSeg's map is resized to it (bilinear, antialiased).
            prompts: n; tokens beyond the model's context are cut off.
        """
        context = self.model.config.text_config.max_position_embeddings
        text = self.processor.tokenizer(list(prompts), padding=True, truncation=True, max_length=context, return_tensors="pt")
        pixels = self.processor.image_processor(list(images), return_tensors="pt")
        logits = self.model(**{name: value.to(device()) for name, value in {**text, **pixels}.items()}).logits
        logits = logits.view(len(images), 1, *logits.shape[-2:])
        size = [images[0].height, images[0].width]
        return transforms.resize(logits.sigmoid(), size, antialias=True)

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the model's context; empty if all of it is read."""
        return unread(self.processor.tokenizer, prompt, self.model.config.text_config.max_position_embeddings)


def load_segmenter(model: ModelName) -> Segmenter:
    """Load a CLIPSeg.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(model, "config.json") as folder:
        network = complete(CLIPSegForImageSegmentation.from_pretrained(folder, **WEIGHTS))
        processor = CLIPSegProcessor.from_pretrained(folder)
        check_vocabulary(processor.tokenizer, network.config.text_config.vocab_size)
        return Segmenter(frozen(network), processor)
