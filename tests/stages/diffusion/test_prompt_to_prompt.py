"""Prompt-to-Prompt: the alignment of tokens, the replaced maps, and edits at both ends of its settings."""

from functools import partial

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor

from stages.diffusion.guidance import guide
from stages.diffusion.inversion import invert_latents
from stages.diffusion.prompt_to_prompt import Alignment, ReplacedAttention, align, attention_by, prompt_to_prompt_latents
from stages.diffusion.sampling import make_scheduler
from stages.diffusion.unet import predict_noise
from stages.models.latent_diffusion import load_diffusion
from tests.support import tiny

STEPS = 6


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    return load_diffusion(tiny.tiny_diffusion(tmp_path_factory.mktemp("models")))


def latents(seed: int, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_common_and_swapped_tokens_are_aligned_and_new_ones_not():
    swapped = align([[1, 10, 2, 9, 9, 9]], [[1, 20, 2, 9, 9, 9]])
    assert swapped.is_aligned.all()
    assert swapped.tokens.tolist() == [[0, 1, 2, 3, 4, 5]]
    added = align([[1, 10, 2, 9, 9, 9]], [[1, 30, 31, 10, 2, 9]])
    assert added.is_aligned.tolist() == [[True, False, False, True, True, True]]
    assert added.tokens[0, [0, 3, 4, 5]].tolist() == [0, 1, 2, 3]
    removed = align([[1, 30, 10, 2, 9, 9]], [[1, 10, 2, 9, 9, 9]])
    assert removed.tokens[0, :5].tolist() == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("is_cross", [True, False])
def test_the_edit_gets_the_sources_maps_for_its_own_values(is_cross):
    torch.manual_seed(0)
    heads, places, tokens, n = 2, 9, 5, 2
    attention = Attention(8, cross_attention_dim=6 if is_cross else None, heads=heads, dim_head=4).eval()
    hidden = torch.randn(3 * n, places, 8)
    context = torch.randn(3 * n, tokens, 6) if is_cross else None
    alignment = Alignment(
        tokens=torch.tensor([[0, 2, 1, 0, 4], [4, 3, 2, 1, 0]]),
        is_aligned=torch.tensor([[True, True, True, False, True], [True] * 5]),
    )
    with torch.no_grad():
        found = ReplacedAttention(alignment)(attention, hidden, context)
        plain = AttnProcessor()(attention, hidden, context)
        torch.testing.assert_close(found[: 2 * n], plain[: 2 * n])
        seen = hidden if context is None else context
        for row in range(n):
            source, edit = row, 2 * n + row
            outputs = []
            for head in range(heads):
                part = slice(4 * head, 4 * head + 4)
                maps = {}
                for name, index in (("source", source), ("edit", edit)):
                    query, key = attention.to_q(hidden[index])[:, part], attention.to_k(seen[index])[:, part]
                    maps[name] = torch.softmax(query @ key.T / 2, -1)
                if is_cross:
                    columns = [
                        maps["source"][:, token] if is_aligned else maps["edit"][:, place]
                        for place, (token, is_aligned) in enumerate(
                            zip(alignment.tokens[row].tolist(), alignment.is_aligned[row].tolist(), strict=True)
                        )
                    ]
                    chosen = torch.stack(columns, dim=1)
                else:
                    chosen = maps["source"]
                outputs.append(chosen @ attention.to_v(seen[edit])[:, part])
            expected = attention.to_out[0](torch.cat(outputs, dim=1))
            torch.testing.assert_close(found[edit], expected, atol=1e-5, rtol=1e-5)


def test_a_processor_that_replaces_nothing_is_the_plain_one(diffusion):
    replaced = ReplacedAttention(align([[1]] * 2, [[1]] * 2))
    replaced.cross = replaced.self_ = False
    text, batch = diffusion.embed_prompts(["a", "b", "c", "d", "e", "f"]), latents(1, 6)
    with torch.no_grad():
        before = predict_noise(diffusion, diffusion.unet, batch, torch.tensor(500), text)
        with attention_by(diffusion.unet, replaced):
            inside = predict_noise(diffusion, diffusion.unet, batch, torch.tensor(500), text)
        after = predict_noise(diffusion, diffusion.unet, batch, torch.tensor(500), text)
    torch.testing.assert_close(inside, before, atol=1e-5, rtol=1e-5)
    assert torch.equal(after, before)


@torch.no_grad()
def edited(diffusion, prompts, *, cross_share: float, self_share: float, guidance_scale: float = 3.0):
    sources = ["a cat", "a dog"]
    context = range(tiny.CONTEXT)
    return prompt_to_prompt_latents(
        partial(predict_noise, diffusion, diffusion.unet),
        diffusion.unet,
        make_scheduler("ddim", diffusion.scheduler),
        latents(1),
        align([list(context)] * 2, [list(context)] * 2),
        diffusion.embed_prompts(sources),
        diffusion.embed_prompts(prompts),
        diffusion.embed_prompts([""]),
        steps=STEPS,
        guidance_scale=guidance_scale,
        cross_share=cross_share,
        self_share=self_share,
    )


def test_without_replaced_maps_it_is_decoding_of_the_inverted_source(diffusion):
    prompts = ["a red dog", "a blue cat"]
    predict, scheduler = partial(predict_noise, diffusion, diffusion.unet), make_scheduler("ddim", diffusion.scheduler)
    embed = diffusion.embed_prompts
    with torch.no_grad():
        timesteps, inverted = invert_latents(
            lambda z, t: predict(z, t, embed(["a cat", "a dog"])), scheduler, latents(1), steps=STEPS, strength=1.0
        )
        expected = inverted[0]
        for timestep in timesteps:
            noise = guide(predict(expected, timestep, embed(["", ""])), predict(expected, timestep, embed(prompts)), 3.0)
            expected = scheduler.step(noise, timestep, expected).prev_sample
    found = edited(diffusion, prompts, cross_share=0, self_share=0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_more_replaced_maps_stay_closer_to_the_source(diffusion):
    prompts = ["a red dog", "a blue cat"]
    results = [edited(diffusion, prompts, cross_share=share, self_share=share) for share in (0.0, 0.5, 1.0)]
    assert all((one - other).abs().max() > 1e-4 for one, other in ((results[0], results[1]), (results[1], results[2])))
    own = edited(diffusion, ["a cat", "a dog"], cross_share=1, self_share=1, guidance_scale=1.0)
    assert (own - latents(1)).abs().mean() < (results[0] - latents(1)).abs().mean()
