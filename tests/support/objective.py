"""The losses of iEdit on a given prediction, with every term on."""

import torch
from torch import Tensor, nn

from stages.core.params_training import Losses
from stages.training.iedit import EditDraws, IEdit
from tests.support.equations import normal, tensor

LAYERS = (3, 8, 15)
ALL_ON = Losses(
    noise="mask",
    guidance_scale=3.0,
    global_clip=True,
    local_clip=True,
    perceptual=True,
    perceptual_weight=0.3,
    perceptual_layers=LAYERS,
    picture_share=1.0,
    min_snr=None,
)


def draws(*unconditional: bool, timesteps: tuple[int, ...] = (20, 500, 999)) -> EditDraws:
    return EditDraws(
        timesteps=torch.tensor(timesteps),
        noise=tensor(normal(9, len(timesteps), 4, 16, 16)),
        without_prompt=torch.tensor(unconditional or (False,) * len(timesteps)),
        chance=torch.linspace(0, 0.9, len(timesteps)),
    )


class Network(nn.Module):
    """Stands for a U-Net: a fixed prediction that gradients reach, and a record of its inputs."""

    def __init__(self, prediction: Tensor) -> None:
        super().__init__()
        self.prediction = nn.Parameter(prediction.clone())

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.noisy, self.timesteps, self.text = noisy, timesteps, text
        return (self.prediction,)


def method_of(tools, **changes) -> IEdit:
    return IEdit(tools.diffusion, tools.clip, tools.vgg, ALL_ON.model_copy(update=changes), 0.2)


def measure(tools, batch, asked=None, **changes) -> tuple[dict[str, Tensor], Network]:
    network = Network(tensor(normal(10, 3, 4, 16, 16)))
    return method_of(tools, **changes).losses(network, batch, asked or draws()), network
