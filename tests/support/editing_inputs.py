"""Pictures, requests and a segmenter with known answers, for tests of the editor and of the systems."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.core.params import Sampling
from stages.corpus.samples import EditSample
from stages.diffusion.masks import widen_mask
from stages.editing.editor import Editor
from stages.editing.request import EditRequest, MaskMode

SAMPLING = Sampling(
    solver="ddim", steps=4, strength=0.8, guidance_scale=3.0, mask_threshold=0.5, mask_margin=0.0, mask_draft=False
)
DRAFTED = SAMPLING.model_copy(update={"mask_draft": True, "mask_margin": 2 / 32})


def photo(width: int = 32, height: int = 32, seed: int = 0) -> Image.Image:
    """Noise as an RGB picture."""
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8))


def half(width: int = 32, height: int = 32) -> Image.Image:
    """A mask of the right half."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    return mask


def request(**changes: object) -> EditRequest:
    """A request to edit ``photo()``."""
    return EditRequest(**({"image": photo(), "prompt": "a red dog"} | changes))


def case() -> EditSample:
    """The request above as a case; its key is that of a request's first result, so that both get the same noise."""
    words = {"source_caption": "a cat", "edit_prompt": "a red dog", "source_diff": "cat", "target_diff": "dog"}
    pictures = {"source": photo(), "target": photo(), "source_mask": half(), "target_mask": half()}
    return EditSample(key="0", **pictures, **words, target_alt_text="a cat", metadata={})


def find_a_cat_and_drafted_dogs(editor: Editor, monkeypatch, sampling: Sampling, images: int = 1) -> Tensor:
    """Make the segmenter find a cat in ``photo()``, and a dog in each unmasked edit of it, each in another place.

    Returns:
        Where edits of the cat into a dog belong, (images, 1, 32, 32).
    """
    drafts = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=sampling, images=images)
    assert len({photo().tobytes(), *(draft.tobytes() for draft in drafts)}) == images + 1
    cat, dogs = torch.zeros(1, 32, 32), torch.zeros(images, 1, 32, 32)
    cat[:, 4:12, 4:12] = 1
    where = {(photo().tobytes(), "cat"): cat}
    for row, draft in enumerate(drafts):
        dogs[row, :, 16:28, 8 * row : 8 * row + 12] = 1
        where[draft.tobytes(), "dog"] = dogs[row]

    def probabilities(_: object, images: list[Image.Image], prompts: list[str]) -> Tensor:
        pairs = zip(images, prompts, strict=True)
        return torch.stack([where.get((image.tobytes(), prompt), torch.zeros(1, 32, 32)) for image, prompt in pairs])

    monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
    return torch.maximum(widen_mask(cat[None], sampling.mask_margin), dogs)
