"""LPIPS (Zhang et al. 2018) on SqueezeNet 1.1: how different two pictures look, by learnt weights of deep features."""

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

from stages.core.params import ModelName
from stages.models.loading import frozen, loading

OUTPUTS = (1, 4, 7, 9, 10, 11, 12)  # of torchvision's ``features``: the ends of the seven slices
CHANNELS = (64, 128, 256, 384, 384, 512, 512)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]
EPSILON = 1e-8


class Lpips(nn.Module):
    """SqueezeNet's features with a weight for each channel of each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = squeezenet1_1(weights=None).features
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # outputs are kept, so later layers must not overwrite them
        for number, channels in enumerate(CHANNELS):
            self.register_buffer(f"lin{number}", torch.zeros(1, channels, 1, 1))
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """Return the distance at every position of every layer, seven tensors (n, 1, h, w).

        The features of a position are scaled to unit length over the channels, and their squared differences are weighted.

        Args:
            first: (n, 3, H, W) in [0, 1].
            second: the same shape and range.
        """
        maps = []
        for number, (one, other) in enumerate(zip(self._layers(first), self._layers(second), strict=True)):
            squared = (_unit(one) - _unit(other)).square()
            maps.append((squared * self.get_buffer(f"lin{number}")).sum(dim=1, keepdim=True))
        return maps

    def _layers(self, pictures: Tensor) -> list[Tensor]:
        hidden = (2 * pictures - 1 - self.get_buffer("shift")) / self.get_buffer("scale")
        outputs = []
        for index, layer in enumerate(self.features):
            hidden = layer(hidden)
            if index in OUTPUTS:
                outputs.append(hidden)
        return outputs


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True) + EPSILON).sqrt()


def load_lpips(model: ModelName) -> Lpips:
    """Load an LPIPS from a ``model.safetensors``.

    SqueezeNet's weights have torchvision's names, such as ``features.0.weight``, and those of the channels the names that
    the package lpips gives them, ``lin0.model.1.weight`` to ``lin6.model.1.weight``.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(model, "model.safetensors") as folder:
        found = load_file(folder / "model.safetensors")
        network = Lpips()
        network.load_state_dict({name.removesuffix(".model.1.weight"): weight.float() for name, weight in found.items()})
        return frozen(network)
