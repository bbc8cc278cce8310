"""One edit of a case with all that a measure may ask for; embeddings are made once, when first needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.benchmarks import run_length
from stages.benchmarks.metrics import cosine, embed_for_clip, embed_for_dino
from stages.core.errors import InputError
from stages.core.params import ModelName, Params
from stages.models.clip import Clip, load_clip
from stages.models.dino import Dino, load_dino
from stages.models.lpips import Lpips, load_lpips
from stages.models.tensors import device, to_tensor


@dataclass(frozen=True, kw_only=True)
class Judges:
    """The models that measure; a measure whose model is None is left out."""

    names: Mapping[str, str]  # "clip", "structure", "dino", "lpips" → the model, for those that are there
    clip: Clip
    structure: Dino | None = None  # PIE-Bench's DINO
    dino: Dino | None = None  # MagicBrush's DINO
    lpips: Lpips | None = None
    texts: dict[str, Tensor] = field(default_factory=dict)  # embeddings made so far

    def embed_text(self, text: str) -> Tensor:
        """Return CLIP's embedding of a text, (d,)."""
        if text not in self.texts:
            self.texts[text] = self.clip.embed_texts([text])[0]
        return self.texts[text]


def load_judges(params: Params) -> Judges:
    """Load the models that ``benchmark`` in params.yaml names; CLIP is the judge of the evaluation, if it names no other.

    Raises:
        ModelError: a model is missing, incomplete or damaged.
    """
    config = params.benchmark
    roles = {
        "clip": config.clip or params.evaluate.judge,
        "structure": config.structure,
        "dino": config.dino,
        "lpips": config.lpips,
    }
    loaders: dict[str, Callable[[ModelName], Any]] = {
        "clip": load_clip,
        "structure": load_dino,
        "dino": load_dino,
        "lpips": load_lpips,
    }
    named = {role: model for role, model in roles.items() if model is not None}
    loaded = {role: loaders[role](model) for role, model in named.items()}
    return Judges(names={role: model.name for role, model in named.items()}, **loaded)


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """An edit of a case, all pictures RGB and of the source's size.

    Raises:
        InputError: sizes differ.
    """

    source_image: Image.Image
    edit_image: Image.Image
    mask: run_length.Mask  # (height, width), True where the picture may change
    prompt: str
    local_prompt: str  # of the changed part; "" if unknown
    prompts: tuple[str, ...]  # of the whole benchmark, for ranks
    target_image: Image.Image | None
    judges: Judges

    def __post_init__(self) -> None:
        size = self.source_image.size
        sizes = {"edit": self.edit_image.size, "mask": self.mask.shape[::-1]}
        wrong = next((f"{name} has {found} pixels" for name, found in sizes.items() if found != size), None)
        if wrong is not None:
            raise InputError(f"{wrong}, its source {size}")

    @cached_property
    def source(self) -> Tensor:
        """The source, (1, 3, H, W) in [0, 1]."""
        return to_tensor([self.source_image])

    @cached_property
    def edit(self) -> Tensor:
        """The edit, (1, 3, H, W) in [0, 1]."""
        return to_tensor([self.edit_image])

    @cached_property
    def background(self) -> Tensor:
        """What PIE-Bench measures as background: outside the mask and not on the outermost pixels, (1, 1, H, W), 0 or 1."""
        outside = ~run_length.with_border(self.mask)
        return torch.from_numpy(outside).float().to(device())[None, None]

    @cached_property
    def edited_region(self) -> Image.Image:
        """The edit with its background black, as PIE-Bench's CLIP similarity of the edited part sees it."""
        inside = run_length.with_border(self.mask)[..., None]
        return Image.fromarray(np.asarray(self.edit_image) * inside)

    @cached_property
    def edit_embedding(self) -> Tensor:
        """CLIP's embedding of the edit, (d,)."""
        return embed_for_clip(self.judges.clip, self.edit_image)

    @cached_property
    def prompt_embedding(self) -> Tensor:
        """CLIP's embedding of the prompt, (d,)."""
        return self.judges.embed_text(self.prompt)

    @property
    def target(self) -> Image.Image:
        """What a person made of the source.

        Raises:
            InputError: there is none.
        """
        if self.target_image is None:
            raise InputError(f"{self.prompt!r}: the case has no target to compare with")
        return self.target_image

    @cached_property
    def compared(self) -> tuple[Tensor, Tensor]:
        """The edit, resized to the target's size by Pillow's default, and the target, (1, 3, H, W) each."""
        return to_tensor([self.edit_image.resize(self.target.size)]), to_tensor([self.target])

    def likeness(self, model: Clip | Dino) -> float:
        """Return the cosine of the embeddings of edit and target by CLIP or DINO, each at its own size."""
        if isinstance(model, Clip):
            return cosine(self.edit_embedding, embed_for_clip(model, self.target))
        return cosine(embed_for_dino(model, self.edit_image), embed_for_dino(model, self.target))
