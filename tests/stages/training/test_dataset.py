"""The encoded training set against the encoders themselves, and the order of its rows."""

import numpy as np
import pytest
import torch

from stages.training.dataset import TrainingSet, order
from tests.support import tiny
from tests.support.training import edit_sample, encode, params_for, write_training_set


def test_rows_are_those_of_the_encoders(tools):
    assert len(tools.data) == 5
    batch = tools.data.read([4, 0])
    for row, number in enumerate((4, 0)):
        sample = edit_sample(number)
        source, target = (
            torch.from_numpy(np.asarray(each)).permute(2, 0, 1)[None] / 255 for each in (sample.source, sample.target)
        )
        masks = [np.asarray(each) // 255 for each in (sample.source_mask, sample.target_mask)]
        halves = [mask.reshape(16, 2, 16, 2).mean(axis=(1, 3)) >= 0.5 for mask in masks]
        tokens = tools.diffusion.tokenizer(
            sample.edit_prompt, padding="max_length", max_length=tiny.CONTEXT, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            z1, z2 = (tools.diffusion.vae.encode(2 * each - 1).latent_dist.mean * 0.18215 for each in (source, target))
            text = tools.diffusion.text_encoder(tokens)[0]
            prompt, diff = (
                tools.clip.model.encode_text(tools.clip.tokenizer([words]), normalize=True)
                for words in (sample.edit_prompt, sample.target_diff)
            )
        for name, wanted in (("z1", z1), ("z2", z2), ("target", target), ("text", text)):
            torch.testing.assert_close(getattr(batch, name)[row], wanted[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.clip_prompt[row], prompt[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.clip_diff[row], diff[0], rtol=1e-4, atol=1e-5)
        for name, mask in zip(("source_mask", "target_mask"), masks, strict=True):
            np.testing.assert_array_equal(getattr(batch, name)[row, 0].numpy(), mask)
        for name, mask in zip(("m1", "m2"), halves, strict=True):
            np.testing.assert_array_equal(getattr(batch, name)[row, 0].numpy(), mask)


def test_rows_do_not_depend_on_the_batch(tools):
    together = tools.data.read([2, 3])
    for row, number in enumerate((2, 3)):
        alone = tools.data.read([number])
        for name, value in vars(alone).items():
            assert torch.equal(value[0], getattr(together, name)[row])


def test_shards_that_were_encoded_are_kept(tools, tmp_path):
    folder, cache = tmp_path / "training", tmp_path / "cache"
    write_training_set(folder, {"00000": [0, 1], "00001": [2]})
    config = params_for(tools.folder).train
    first = encode(tools, config, cache, folder)
    assert (first.done, first.shards_done, first.shards_reused) == (3, 2, 0)
    bytes_of = {path.name: path.read_bytes() for path in cache.iterdir()}
    again = encode(tools, config, cache, folder)
    assert (again.done, again.reused, again.shards_done, again.shards_reused) == (0, 3, 0, 2)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == bytes_of
    write_training_set(folder, {"00000": [0, 1], "00001": [2, 3], "00002": [4]})
    more = encode(tools, config, cache, folder)
    assert (more.done, more.reused, more.shards_done, more.shards_reused) == (3, 2, 2, 1)
    assert len(TrainingSet(cache)) == 5


def test_corpus_captions_are_other_prompts(tools, tmp_path):
    encode(tools, params_for(tools.folder).train, tmp_path)
    other = encode(tools, params_for(tools.folder, prompts="alt").train, tmp_path)
    assert other.done == 5
    batch = TrainingSet(tmp_path).read([1])
    torch.testing.assert_close(batch.text, tools.diffusion.embed_prompts(["IMG 1"]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(batch.clip_prompt, tools.clip.embed_texts(["IMG 1"]), rtol=1e-4, atol=1e-5)


def test_every_pass_has_every_row_once_in_its_own_order():
    rows = order(13, 0, 0)
    passes = [[next(rows) for _ in range(13)] for _ in range(4)]
    assert all(sorted(each) == list(range(13)) for each in passes)
    assert len({tuple(each) for each in passes}) == 4


@pytest.mark.parametrize("first", [1, 12, 13, 14, 40])
def test_order_can_start_anywhere(first):
    rows, late = order(13, 0, 0), order(13, 0, first)
    for _ in range(first):
        next(rows)
    assert [next(late) for _ in range(30)] == [next(rows) for _ in range(30)]


def test_order_depends_on_the_seed():
    assert [next(order(1000, seed, 0)) for seed in range(3)] != [next(order(1000, 0, 0))] * 3
