"""Small pictures, features and a judge of colours, for tests of metrics."""

import torch
from torch.nn import functional

from stages.metrics.evidence import Cases
from stages.models.clip import Clip
from stages.models.vgg import Vgg

SIZE = 32
NAN = float("nan")
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


def pictures(n: int, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    """n smooth random pictures, (n, 3, size, size) in [0, 1]."""
    noise = torch.rand(n, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(noise, (size, size), mode="bilinear").clamp(0, 1)


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Normal random features, (n, d)."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def unit(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Random features of unit length, (n, d)."""
    return functional.normalize(features(n, d, seed), dim=1)


def box_mask(n: int, size: int = SIZE) -> torch.Tensor:
    """Masks of one box, (n, 1, size, size)."""
    masks = torch.zeros(n, 1, size, size)
    masks[:, :, size // 4 : size // 2, size // 4 : 3 * size // 4] = 1
    return masks


def narrow_vgg() -> Vgg:
    """A random VGG-16 with few channels."""
    torch.manual_seed(0)
    weights, before, index = {}, 3, 0
    for width, layers in ((4, 2), (4, 2), (8, 3), (8, 3), (8, 3)):
        for _ in range(layers):
            weights[f"{index}.weight"] = torch.randn(width, before, 3, 3) / before
            weights[f"{index}.bias"] = torch.zeros(width)
            before, index = width, index + 2
        index += 1
    return Vgg(weights).eval()


class Eye(torch.nn.Module):
    """A judge that sees mean colours, and reads the names of colours."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(1), requires_grad=False)  # say in which precision it works

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.mean(dim=(2, 3)) + 1e-3

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens

    @staticmethod
    def tokenise(texts: list[str]) -> torch.Tensor:
        return torch.tensor([next((c for word, c in COLOURS.items() if word in text), (1, 1, 1)) for text in texts]).float()


JUDGE = Clip(Eye(), Eye.tokenise, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


NONE_FAILED = torch.zeros(6, dtype=torch.bool)
"""Of the edits of ``colour_cases``."""


def colour_cases(n: int = 6) -> Cases:
    """n edits that ask for a colour inside a box."""
    colours = ("red", "green", "blue")
    return Cases(
        sources=0.2 + 0.6 * pictures(n),
        masks=box_mask(n),
        captions=["a thing"] * n,
        prompts=[f"a {colours[i % 3]} thing" for i in range(n)],
        target_terms=[colours[i % 3] for i in range(n)],
        candidates=[("red", "green", "blue", "red")] * n,
    )


def painted(cases: Cases) -> torch.Tensor:
    """The perfect edits of ``colour_cases``: the box in the colour that is asked for, the rest untouched."""
    paint = torch.stack([torch.tensor(COLOURS[term]).float() for term in cases.target_terms])
    return cases.sources * (1 - cases.masks) + paint[:, :, None, None] * cases.masks
