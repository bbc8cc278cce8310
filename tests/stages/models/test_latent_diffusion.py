"""The autoencoder works on few pictures at once, whatever the batch, and gives the same."""

import pytest
import torch

from stages.models import latent_diffusion
from stages.models.latent_diffusion import load_diffusion


@pytest.mark.parametrize(("pixels", "sizes"), [(2 * 32 * 32, [2, 2, 1]), (32 * 32 - 1, [1] * 5), (2**20, [5])])
def test_large_batches_are_encoded_and_decoded_in_slices(models, monkeypatch, pixels, sizes):
    diffusion = load_diffusion(models.diffusion)
    pictures = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = diffusion.encode(pictures)
        decoded = diffusion.decode(latents)
        monkeypatch.setattr(latent_diffusion, "PIXELS_AT_ONCE", pixels)
        seen = []
        for part in (diffusion.vae.encoder, diffusion.vae.decoder):
            part.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        torch.testing.assert_close(diffusion.encode(pictures), latents, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(diffusion.decode(latents), decoded, rtol=1e-4, atol=1e-5)
    assert seen == 2 * sizes
