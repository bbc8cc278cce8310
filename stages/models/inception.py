"""The Inception network of FID (Heusel et al. 2017), as pytorch-fid has it (Seitzer 2020), whose FID the paper reports.

Its weights are TensorFlow's of 2015-12-05. The network differs from torchvision's Inception, which was trained anew: averages
leave out the padding, the last block pools by the maximum, and there are 1,008 classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import inception

from stages.core.params import ModelName
from stages.models.loading import frozen, loading

CLASSES = 1008  # ImageNet's 1,000 and eight that nothing was trained on
SIDE = 299  # pixels


@dataclass(frozen=True)
class Inception:
    """The network without its classifier."""

    network: Any  # torchvision's Inception3 with pytorch-fid's blocks

    @torch.no_grad()
    def embed(self, pictures: Tensor) -> Tensor:
        """Return the features of the last pooling (pool3), (n, 2048), of pictures (n, 3, h, w) in [0, 1].

        Pictures are resized to 299 × 299 as pytorch-fid does it, bilinearly and without antialiasing.
        """
        resized = nn.functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False)
        features: Tensor = self.network(2 * resized - 1)
        return features


def load_inception(model: ModelName) -> Inception:
    """Load the network of FID from a ``model.safetensors`` with the names of pytorch-fid's released weights.

    pytorch-fid's own constructor would load a pickled file, so the network is put together here, from its blocks.

    Raises:
        ModelError: the model is missing, incomplete, damaged, or another Inception, such as torchvision's.
    """
    with loading(model, "model.safetensors") as folder:
        weights, network = load_file(folder / "model.safetensors"), _network()
        for name, own in network.state_dict().items():
            if own.ndim and (name not in weights or weights[name].shape != own.shape):  # a training's counters have none
                raise ValueError(f"no {name} of shape {tuple(own.shape)}, as the Inception of FID has")
        network.load_state_dict(weights)
        network.fc = nn.Identity()
        return Inception(frozen(network))


def _network() -> Any:
    """Return the network with its classifier, uninitialised."""
    blocks = [
        *(inception.BasicConv2d, FIDInceptionA, inception.InceptionB, FIDInceptionC, inception.InceptionD, FIDInceptionE_1),
        inception.InceptionAux,
    ]
    network = inception.Inception3(CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c = FIDInceptionE_2(2048)
    return network
