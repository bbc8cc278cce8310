"""The U-Net as the paper's equations know it: ε_θ, also where it was trained to predict the velocity."""

from torch import Tensor, nn

from stages.diffusion.noise import alpha_at, noise_of_velocity, velocity
from stages.models.conditioning import Conditioning
from stages.models.latent_diffusion import Diffusion
from stages.models.tensors import dtype_of


def predict(diffusion: Diffusion, network: nn.Module, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
    """Return what the U-Net itself predicts, (n, c, h, w), in fp32: the noise or the velocity.

    Args:
        diffusion: the model that the U-Net belongs to.
        network: the U-Net, which may be a copy or wrapped for training.
        latents: what it sees, (n, c or more, h, w).
        timesteps: one for all, (), or one per sample, (n,).
        conditioning: the embeddings of the prompts.
    """
    dtype = dtype_of(network)
    added = conditioning.added(*diffusion.size_of(latents))
    predicted: Tensor = network(latents.to(dtype), timesteps, conditioning.text.to(dtype), **added, return_dict=False)[0]
    return predicted.float()


def predict_noise(
    diffusion: Diffusion, network: nn.Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
) -> Tensor:
    """Return ε_θ(z_t, t, y), (n, c, h, w), of latents z_t; the arguments are those of :func:`predict`."""
    predicted = predict(diffusion, network, noisy, timesteps, conditioning)
    if not diffusion.predicts_velocity:
        return predicted
    return noise_of_velocity(predicted, noisy, alpha_at(diffusion.scheduler.alphas_cumprod, timesteps))


def target_of(diffusion: Diffusion, latents: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """Return what the U-Net itself learns to predict of latents with noise, (n, c, h, w): the noise or the velocity."""
    return velocity(latents, noise, alpha) if diffusion.predicts_velocity else noise
