"""VGG teaches the vision transformers of the family what is where (feature distillation, Romero et al. 2015).

A transformer takes long to learn from captions or masks alone that neighbouring pixels belong together, which a
convolutional network knows by its shape. So during a training each patch is also asked what VGG sees there; at the end
the answering head is left behind.
"""

import torch
from torch import Tensor, nn

from nano.settings import MODELS
from stages.models import load_vgg
from stages.params import ModelName

LAYERS = (22, 29)  # relu4_3 at an eighth of the picture's side, one vector a patch, and relu5_3 at half of that


class Teacher:
    """VGG's features of a picture, at the grid of its 8 x 8 patches, every channel with unit deviation."""

    def __init__(self, examples: Tensor) -> None:
        """Measure the channels on ``examples``, pictures (n, 3, size, size) in [0, 1]."""
        self.vgg = load_vgg(ModelName(name=str(MODELS / "vgg")))
        features = self._features(examples)
        self.mean, self.std = features.mean(dim=(0, 1)), features.std(dim=(0, 1)).clamp(min=1e-3)

    @torch.no_grad()
    def _features(self, pictures: Tensor) -> Tensor:
        fine, coarse = self.vgg(pictures, LAYERS)
        grid = torch.cat([fine, nn.functional.interpolate(coarse, size=fine.shape[-2:])], dim=1)
        return grid.flatten(2).transpose(1, 2)

    def head(self, width: int) -> nn.Linear:
        """Return an untrained head that answers for hidden states of ``width``."""
        return nn.Linear(width, len(self.mean))

    def loss(self, answers: Tensor, pictures: Tensor) -> Tensor:
        """Return the mean absolute error of a head's answers (n, patches, channels) for pictures in [0, 1]."""
        wanted = (self._features(pictures) - self.mean) / self.std
        return (answers.float() - wanted.float()).abs().mean()
