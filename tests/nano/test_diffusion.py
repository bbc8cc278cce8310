"""The base's second aim changes no prediction, and its errors are weighted as errors of the picture, capped."""

import torch
from diffusers.training_utils import compute_snr

from nano.diffusion import SNR_CAP, Aligned, build, stable_diffusion_scheduler, weigh


def test_aligned_network_predicts_what_its_unet_predicts():
    torch.manual_seed(0)
    model = Aligned(build(12, 16), features=24).eval()
    noisy, times, embeddings = torch.randn(2, 12, 16, 16), torch.tensor([10, 900]), torch.randn(2, 5, 128)
    with torch.no_grad():
        predicted, features = model(noisy, times, embeddings)
        alone = model.unet(noisy, times, embeddings).sample
    assert torch.equal(predicted, alone)
    assert features.shape == (2, 64, 24)
    assert not model.unet.up_blocks[1].attentions[0]._forward_hooks


def test_second_aim_has_gradients_in_every_block_before_it():
    torch.manual_seed(0)
    model = Aligned(build(12, 16), features=24)
    model(torch.randn(2, 12, 16, 16), torch.tensor([10, 900]), torch.randn(2, 5, 128))[1].square().mean().backward()
    for block in (model.unet.conv_in, *model.unet.down_blocks, model.unet.mid_block, model.unet.up_blocks[0]):
        assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in block.parameters())
    assert all(weight.grad is None for weight in model.unet.conv_out.parameters())


def test_weighted_error_of_the_velocity_is_the_capped_error_of_the_picture():
    scheduler = stable_diffusion_scheduler()
    times = torch.arange(1000)
    clean, noise, predicted = torch.randn(3, 1000, 8, generator=torch.Generator().manual_seed(0)).double()
    alphas = scheduler.alphas_cumprod.double().unsqueeze(1)
    velocity = scheduler.get_velocity(clean, noise, times)
    pictures = [
        alphas.sqrt() * (alphas.sqrt() * clean + (1 - alphas).sqrt() * noise) - (1 - alphas).sqrt() * v
        for v in (velocity, predicted)
    ]
    torch.testing.assert_close(pictures[0], clean, rtol=1e-5, atol=1e-5)
    of_velocity = weigh(alphas.squeeze()) * (predicted - velocity).square().sum(dim=1)
    of_picture = (compute_snr(scheduler, times) + 1).clamp(max=SNR_CAP) * (pictures[1] - pictures[0]).square().sum(dim=1)
    torch.testing.assert_close(of_velocity, of_picture, rtol=1e-4, atol=0)
