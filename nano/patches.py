"""Patch labels for training vision transformers (token labelling, Jiang et al. 2021).

From captions or masks alone a transformer is slow to learn that neighbouring pixels belong together, which is built
into a convolutional network. Predicting the object or place at every patch makes it several times faster. The head that
predicts is dropped after training.
"""

import torch
from torch import Tensor, nn

from nano.scenes import Scenes
from stages.corpus import world
from stages.corpus.scenery import SCENERIES

PATCH = 8  # pixels of a patch's side
NOTHING = -100  # the label that cross entropy ignores
ON_OBJECT, OFF_OBJECT = 0.3, 0.02  # a patch covered by more counts as object, by less as place


def label_patches(scenes: Scenes, rows: Tensor, alone: Tensor) -> Tensor:
    """Return each patch's class: its noun's number, or the number of nouns plus its scenery's, (len(rows), patches).

    Args:
        scenes: all scenes.
        rows: the scenes to label.
        alone: which of these show the object on a plain colour, (len(rows),); their other patches have no label.
    """
    covered = nn.functional.avg_pool2d(scenes.masks(rows).unsqueeze(1), PATCH).flatten(1)
    places = torch.where(alone, NOTHING, len(world.nouns()) + scenes.places[rows]).unsqueeze(1)
    labels = torch.where(covered > ON_OBJECT, scenes.labels[rows].unsqueeze(1), places)
    return torch.where((covered > OFF_OBJECT) & (covered <= ON_OBJECT), NOTHING, labels)


def patch_head(width: int) -> nn.Linear:
    """Return an untrained head from a patch's hidden state to its class."""
    return nn.Linear(width, len(world.nouns()) + len(SCENERIES))


def patch_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of a head's logits (n, patches, classes) over the patches that have a label."""
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=NOTHING)
