"""What each patch of a picture shows, to teach vision transformers (token labelling, Jiang et al. 2021).

A transformer takes long to learn from captions or masks alone that neighbouring pixels belong together, which a
convolutional network knows by its shape. Asked for the thing or the place at every patch, it learns it several times
faster. The head that answers is left behind.
"""

import torch
from torch import Tensor, nn

from nano.scenes import Scenes
from stages.corpus import world
from stages.corpus.scenery import SCENERIES

PATCH = 8  # pixels of a patch's side
NOTHING = -100  # the label that cross entropy passes over
ON_OBJECT, OFF_OBJECT = 0.3, 0.02  # shares of a patch that the object covers, beyond which it counts as either


def label_patches(scenes: Scenes, rows: Tensor, alone: Tensor) -> Tensor:
    """Return the number of the noun, or after all nouns of the scenery, at each patch: (len(rows), patches).

    Args:
        scenes: all scenes.
        rows: which of them.
        alone: which of these show the object on a plain colour, (len(rows),): their other patches show no place.
    """
    covered = nn.functional.avg_pool2d(scenes.masks(rows).unsqueeze(1), PATCH).flatten(1)
    places = torch.where(alone, NOTHING, len(world.nouns()) + scenes.places[rows]).unsqueeze(1)
    labels = torch.where(covered > ON_OBJECT, scenes.labels[rows].unsqueeze(1), places)
    return torch.where((covered > OFF_OBJECT) & (covered <= ON_OBJECT), NOTHING, labels)


def patch_head(width: int) -> nn.Linear:
    """Return an untrained head that names what is at a patch from its hidden state."""
    return nn.Linear(width, len(world.nouns()) + len(SCENERIES))


def patch_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of a head's logits (n, patches, classes) over the patches that have a label."""
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=NOTHING)
