"""DINO's keys and embeddings, recomputed from its weights."""

import json

import pytest
import torch
from torch.nn import functional

from stages.models.dino import load_dino
from stages.models.hub import ModelError, locate
from tests.support.judges import tiny_dino
from tests.support.metric_inputs import pictures


@pytest.fixture(autouse=True)
def empty_cache():
    locate.cache_clear()


def by_hand(network, batch):
    """The keys of the last block, and the class token after it, from the weights and a loop over blocks and heads."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    weights = dict(network.named_parameters())
    hidden = functional.conv2d((batch - mean) / std, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], 8)
    hidden = torch.cat([weights["cls_token"].expand(len(batch), -1, -1), hidden.flatten(2).transpose(1, 2)], 1)
    hidden = hidden + weights["pos_embed"]

    def normed(values, name):
        return functional.layer_norm(values, values.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def linear(values, name):
        return functional.linear(values, weights[f"{name}.weight"], weights[f"{name}.bias"])

    for number in range(2):
        block = f"blocks.{number}"
        query, keys, value = linear(normed(hidden, f"{block}.norm1"), f"{block}.attn.qkv").split(12, dim=-1)
        heads = [
            torch.softmax(q @ k.transpose(1, 2) / 2, -1) @ v  # the root of 4 channels a head
            for q, k, v in zip(query.split(4, -1), keys.split(4, -1), value.split(4, -1), strict=True)
        ]
        hidden = hidden + linear(torch.cat(heads, -1), f"{block}.attn.proj")
        inner = functional.gelu(linear(normed(hidden, f"{block}.norm2"), f"{block}.mlp.fc1"))
        hidden = hidden + linear(inner, f"{block}.mlp.fc2")
    return keys, normed(hidden, "norm")[:, 0]


def test_keys_and_embeddings_follow_from_the_weights(tmp_path):
    dino = load_dino(tiny_dino(tmp_path))
    batch = pictures(2, size=224)
    keys, tokens = by_hand(dino.network, batch)
    assert keys.shape == (2, 1 + 28 * 28, 12)
    torch.testing.assert_close(dino.keys(batch), keys, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dino.embed(batch), tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "resnet50"}, "architecture 'resnet50': must be a vision transformer"),
        ({"architecture": "vit_tiny_patch16_224"}, "RuntimeError"),  # of another size than the weights
        ({}, "architecture"),
        (
            {"architecture": "vit_tiny_patch16_224", "model_args": {"checkpoint_path": "evil.bin"}},
            "model_args: 'checkpoint_path': allowed are img_size, patch_size",
        ),
    ],
)
def test_another_network_is_refused(tmp_path, config, message):
    model = tiny_dino(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        load_dino(model)
