"""Scenes of the embedded world as tensors, drawn once and shared by all trainings.

``python -m nano.scenes`` writes build/train.safetensors and build/held_out.safetensors.
"""

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from nano.settings import BUILD, read_settings
from stages.core.files import written_aside
from stages.corpus import world
from stages.corpus.drawing import render
from stages.corpus.scenery import SCENERIES


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Pictures with their annotations; row i of every field belongs to scene i."""

    pictures_u8: Tensor  # (n, 3, size, size), uint8
    masks_u8: Tensor  # (n, size, size), 0 or 1
    captions: list[str]
    subjects: list[str]  # "red car"
    nouns: list[str]
    sceneries: list[str]

    @cached_property
    def labels(self) -> Tensor:
        """Each scene's noun as its index in the world's nouns, (n,)."""
        numbers = {noun: number for number, noun in enumerate(world.nouns())}
        return torch.tensor([numbers[noun] for noun in self.nouns])

    @cached_property
    def places(self) -> Tensor:
        """Each scene's scenery as its index in SCENERIES, (n,)."""
        numbers = {scenery: number for number, scenery in enumerate(SCENERIES)}
        return torch.tensor([numbers[scenery] for scenery in self.sceneries])

    @cached_property
    def by_noun(self) -> list[Tensor]:
        """The rows of each noun, in the order of the world's nouns."""
        return [torch.nonzero(self.labels == number).flatten() for number in range(len(world.nouns()))]

    def pictures(self, rows: Tensor) -> Tensor:
        """Return pictures in [0, 1], (len(rows), 3, size, size)."""
        return self.pictures_u8[rows].float() / 255

    def masks(self, rows: Tensor) -> Tensor:
        """Return masks, 0.0 or 1.0, (len(rows), size, size)."""
        return self.masks_u8[rows].float()


def cut_out(pictures: Tensor, masks: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Put the objects of a share of the pictures on a plain colour; return the pictures, and which were changed, (n,).

    No noun is trained in all places, and a network learns where a noun never occurs before it learns how the noun looks.
    On a plain colour only the object gives the noun away.

    Args:
        pictures: the pictures, (n, 3, size, size) in [0, 1].
        masks: the objects, (n, size, size), 1 on the object.
        share: the expected share of pictures to change.
        generator: the source of randomness.
    """
    chosen = torch.rand(len(pictures), generator=generator) < share
    colours = torch.rand(len(pictures), 3, 1, 1, generator=generator)
    alone = torch.where(masks.unsqueeze(1) > 0, pictures, colours)
    return torch.where(chosen.view(-1, 1, 1, 1), alone, pictures), chosen


def load_scenes(split: str) -> Scenes:
    """Return the scenes of ``split``: "train" or "held_out"."""
    with safe_open(BUILD / f"{split}.safetensors", framework="pt") as file:
        words = json.loads(file.metadata()["words"])
        return Scenes(pictures_u8=file.get_tensor("pictures"), masks_u8=file.get_tensor("masks"), **words)


def main() -> None:
    """Draw and write the scenes of both splits."""
    settings = read_settings()
    for split, count in settings["scenes"].items():
        pictures, masks = [], []
        scenes = [world.draw_scene(settings["seed"] + 1, split, index) for index in range(count)]
        for scene in tqdm(scenes, desc=f"scenes {split}", unit="scene"):
            picture, mask = render(scene, settings["size"])
            pictures.append(np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)))
            masks.append(np.asarray(mask) // 255)
        words = {
            "captions": [scene.caption for scene in scenes],
            "subjects": [scene.subject for scene in scenes],
            "nouns": [scene.noun for scene in scenes],
            "sceneries": [scene.scenery for scene in scenes],
        }
        tensors = {
            "pictures": torch.from_numpy(np.stack(pictures)).contiguous(),
            "masks": torch.from_numpy(np.stack(masks)).contiguous(),
        }
        with written_aside(BUILD / f"{split}.safetensors") as temporary:
            save_file(tensors, temporary, metadata={"words": json.dumps(words)})


if __name__ == "__main__":
    main()
