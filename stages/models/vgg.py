"""VGG-16 (Simonyan and Zisserman 2015), whose features measure how alike two pictures look."""

from collections.abc import Sequence

from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.vgg import make_layers
from torchvision.transforms.v2 import functional as transforms

from stages.core.params import ModelName
from stages.models.loading import frozen, loading
from stages.models.tensors import dtype_of

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Vgg(nn.Module):
    """The convolutional part of VGG-16, of any width.

    Raises:
        ValueError: the weights are not those of 13 convolutions.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        widths = [weights[key].shape[0] for key in sorted(weights, key=_layer_number) if key.endswith(".weight")]
        if len(widths) != 13:
            raise ValueError(f"{len(widths)} convolutions; VGG-16 has 13")
        blocks = [widths[0:2], widths[2:4], widths[4:7], widths[7:10], widths[10:13]]
        self.features = make_layers([layer for block in blocks for layer in [*block, "M"]], batch_norm=False)
        self.features.load_state_dict(weights)
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # outputs are kept, so later layers must not overwrite them

    def forward(self, pictures: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Return the outputs of ``layers`` (indices into torchvision's ``features``) for pictures (n, 3, h, w) in [0, 1]."""
        hidden = transforms.normalize(pictures, list(IMAGENET_MEAN), list(IMAGENET_STD)).to(dtype_of(self))
        outputs = []
        for index, layer in enumerate(self.features[: max(layers) + 1]):
            hidden = layer(hidden)
            if index in layers:
                outputs.append(hidden)
        return outputs


def _layer_number(key: str) -> int:
    return int(key.split(".")[0])


def load_vgg(model: ModelName) -> Vgg:
    """Load a VGG-16 from a ``model.safetensors`` with torchvision's names.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    prefix = "features."
    with loading(model, "model.safetensors") as folder:
        weights = load_file(folder / "model.safetensors")
        features = {key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)}
        return frozen(Vgg(features), model.precision)
