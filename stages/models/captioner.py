"""BLIP (Li et al. 2022), which captions images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipProcessor

from stages.core.params import ModelName
from stages.models.loading import WEIGHTS, check_vocabulary, complete, frozen, loading
from stages.models.processing import process
from stages.models.tensors import device, dtype_of

transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True)
class Captioner:
    """BLIP with its processor."""

    model: BlipForConditionalGeneration
    processor: BlipProcessor

    def caption(self, images: Sequence[Image.Image], max_tokens: int) -> list[str]:
        """Return a caption for each RGB image, decoded greedily, of at most ``max_tokens`` tokens."""
        return self.describe(self.prepare(images), max_tokens)

    def prepare(self, images: Sequence[Image.Image]) -> Tensor:
        """Return n RGB images as BLIP reads them, (n, 3, side, side), on the CPU; it may run beside the model."""
        return process(self.processor.image_processor, images)

    @torch.no_grad()
    def describe(self, pictures: Tensor, max_tokens: int) -> list[str]:
        """Return :meth:`caption` of prepared images."""
        prepared = pictures.to(device(), dtype_of(self.model))
        tokens = self.model.generate(prepared, max_new_tokens=max_tokens, num_beams=1, do_sample=False)
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]


def load_captioner(model: ModelName) -> Captioner:
    """Load a BLIP.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(model, "config.json") as folder:
        network = complete(BlipForConditionalGeneration.from_pretrained(folder, **WEIGHTS))
        processor = BlipProcessor.from_pretrained(folder)
        check_vocabulary(processor.tokenizer, network.config.text_config.vocab_size)
        return Captioner(frozen(network, model.precision), processor)
