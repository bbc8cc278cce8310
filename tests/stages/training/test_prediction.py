"""What the losses read from a prediction: here the noise of the guided base model."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from stages.training.iedit import IEdit
from tests.support.equations import ALPHAS, close, normal, tensor
from tests.support.objective import ALL_ON, Network, draws, measure, method_of


class TestGuided:
    """The base model as its own teacher, where the edit is."""

    def teacher(self, tools, batch) -> tuple[np.ndarray, np.ndarray]:
        """Return what the base predicts of the noised source without and with the prompt."""
        unet, a = tools.diffusion.unet, ALPHAS[[20, 500, 999]].reshape(-1, 1, 1, 1)
        noisy = tensor(a**0.5 * batch.z1.numpy() + (1 - a) ** 0.5 * normal(9, 3, 4, 16, 16))
        times, empty = torch.tensor([20, 500, 999]), tools.diffusion.embed_prompts([""]).text.expand_as(batch.prompt.text)
        with torch.no_grad():
            return tuple(unet(noisy, times, text).sample.double().numpy() for text in (empty, batch.prompt.text))

    def test_guided_base_is_the_target_within_the_mask(self, tools, batch):
        found, _ = measure(tools, batch, noise="guided", guidance_scale=3.0)
        without, with_prompt = self.teacher(tools, batch)
        around = ndimage.binary_dilation(batch.m1.numpy(), structure=np.ones((1, 1, 3, 3)))
        scale = 1 + 2 * np.array([0.021, 0.501, 1.0]).reshape(-1, 1, 1, 1)
        wanted = np.where(around, without + scale * (with_prompt - without), normal(9, 3, 4, 16, 16))
        close(found["raw/noise"], ((wanted - normal(10, 3, 4, 16, 16)) ** 2).mean(axis=(1, 2, 3)), 1e-3)

    def test_the_gradient_is_that_of_a_fixed_target(self, tools, batch):
        off = {"global_clip": False, "local_clip": False, "perceptual": False}
        found, network = measure(tools, batch, noise="guided", guidance_scale=1.0, **off)
        found["total"].sum().backward()
        _, with_prompt = self.teacher(tools, batch)
        around = ndimage.binary_dilation(batch.m1.numpy(), structure=np.ones((1, 1, 3, 3)))
        error = network.prediction.detach().numpy() - np.where(around, with_prompt, normal(9, 3, 4, 16, 16))
        time = np.array([0.021, 0.501, 1.0]).reshape(-1, 1, 1, 1)
        close(network.prediction.grad, time * 2 * error / error[0].size, 1e-3)

    def test_the_teacher_is_the_base_as_it_was(self, tools, batch):
        diffusion = dataclasses.replace(tools.diffusion, unet=copy.deepcopy(tools.diffusion.unet))
        method = IEdit(diffusion, tools.clip, tools.vgg, ALL_ON.model_copy(update={"noise": "guided"}), 0.2)
        network = Network(tensor(normal(10, 3, 4, 16, 16)))
        before = method.losses(network, batch, draws())["raw/noise"]
        with torch.no_grad():
            for weight in nn.ModuleList(method.blocks().values()).parameters():
                weight.add_(1)
        assert torch.equal(method.losses(network, batch, draws())["raw/noise"], before)

    @pytest.mark.parametrize("parameters", ["blocks", "all", "lora"])
    def test_the_teacher_shares_what_no_step_changes(self, tools, parameters):
        diffusion = dataclasses.replace(tools.diffusion, unet=copy.deepcopy(tools.diffusion.unet))
        own = {id(weight) for weight in diffusion.unet.parameters()}
        guided = ALL_ON.model_copy(update={"noise": "guided"})
        method = IEdit(diffusion, tools.clip, tools.vgg, guided, 0.2, parameters, lora_rank=2)
        trained = {id(weight) for weight in nn.ModuleList(method.blocks().values()).parameters()}
        assert own & {id(weight) for weight in method.networks.teacher.parameters()} == own - trained

    def test_no_gradient_reaches_the_teacher(self, tools, batch):
        method = method_of(tools, noise="guided")
        method.losses(Network(tensor(normal(10, 3, 4, 16, 16))), batch, draws())["total"].sum().backward()
        assert all(weight.grad is None for weight in method.networks.teacher.parameters())
