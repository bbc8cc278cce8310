"""Train a narrow VGG-16 to name the noun; its features serve the perceptual loss."""

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.vgg import make_layers

from nano.fit import draw_rows, fit, halve
from nano.scenes import load_scenes
from nano.settings import MODELS, read_settings, read_training
from stages.core.files import written_aside
from stages.corpus import world

FOLDER = MODELS / "vgg"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as for the hub's weights
LAYERS: list[str | int] = [16, 16, "M", 32, 32, "M", 48, 48, 48, "M", 64, 64, 64, "M", 96, 96, 96, "M"]


class Classifier(nn.Module):
    """VGG-16's feature stack, narrow, with one linear layer over the averaged last feature map."""

    def __init__(self, classes: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.features = make_layers(LAYERS, batch_norm=batch_norm)
        self.classifier = nn.Linear(96, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (n, classes) of pictures in [0, 1], (n, 3, size, size)."""
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        return self.classifier(self.features((pictures - mean) / std).mean(dim=(2, 3)))


def fold_batch_norms(model: Classifier) -> Classifier:
    """Return the same function without batch norms, each folded into the convolution before it."""
    plain = Classifier(model.classifier.out_features)
    layers = list(model.features)
    folded = [
        fuse_conv_bn_eval(layer, layers[place + 1]) if isinstance(layer, nn.Conv2d) else layer
        for place, layer in enumerate(layers)
        if not isinstance(layer, nn.BatchNorm2d)
    ]
    plain.features = nn.Sequential(*folded)
    plain.classifier = model.classifier
    return plain


def main() -> None:
    """Train with batch norms, which speed up sixteen layers greatly, and write the model without them."""
    settings, training = read_settings(), read_training("vgg")
    scenes = load_scenes("train")
    names = list(world.nouns())
    torch.manual_seed(settings["seed"])
    model = Classifier(len(names), batch_norm=True)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(scenes.labels), training.batch, generator)
        return nn.functional.cross_entropy(model(scenes.pictures(rows)), scenes.labels[rows], label_smoothing=0.05)

    fit("vgg", model, loss_of, training, settings["seed"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    with written_aside(FOLDER / "model.safetensors") as temporary:
        save_file(fold_batch_norms(model).state_dict(), temporary, metadata={"format": "pt"})
    halve(FOLDER / "model.safetensors")


if __name__ == "__main__":
    main()
