"""The encoded training set against the encoders themselves."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from stages.core.errors import InputError
from stages.corpus.shard import pixel_digest
from stages.training.dataset import TrainingSet
from tests.support import tiny
from tests.support.training import edit_sample, encode, make_method, pair_row, params_for, read, values_of, write_training_set

HALF = {"rtol": 1e-3, "atol": 1e-4}  # what fp16 keeps


def test_rows_are_those_of_the_encoders(tools):
    assert len(tools.data) == 5
    batch = read(tools.data, [4, 0])
    for row, number in enumerate((4, 0)):
        sample = edit_sample(number)
        source, target = (
            torch.from_numpy(np.asarray(each)).permute(2, 0, 1)[None] / 255 for each in (sample.source, sample.target)
        )
        masks = [np.asarray(each) // 255 for each in (sample.source_mask, sample.target_mask)]
        halves = [mask.reshape(16, 2, 16, 2).mean(axis=(1, 3)) >= 0.5 for mask in masks]
        tokens = tools.diffusion.prompts.tokenizer(
            sample.edit_prompt, padding="max_length", max_length=tiny.CONTEXT, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            z1, z2 = (tools.diffusion.vae.encode(2 * each - 1).latent_dist.mean * 0.18215 for each in (source, target))
            text = tools.diffusion.prompts.text_encoder(tokens)[0]
            prompt, diff = (
                tools.clip.model.encode_text(tools.clip.tokenizer([words]), normalize=True)
                for words in (sample.edit_prompt, sample.target_diff)
            )
        for name, wanted in (("z1", z1), ("z2", z2), ("clip_prompt", prompt), ("clip_diff", diff)):
            torch.testing.assert_close(getattr(batch, name)[row], wanted[0], **HALF)
        torch.testing.assert_close(batch.prompt.text[row], text[0], **HALF)
        assert torch.equal(batch.target[row], target[0])
        for name, mask in zip(("source_mask", "target_mask"), masks, strict=True):
            np.testing.assert_array_equal(getattr(batch, name)[row, 0].numpy(), mask)
        for name, mask in zip(("m1", "m2"), halves, strict=True):
            np.testing.assert_array_equal(getattr(batch, name)[row, 0].numpy(), mask)


def test_rows_do_not_depend_on_the_batch(tools):
    together = read(tools.data, [2, 3])
    for row, number in enumerate((2, 3)):
        alone = read(tools.data, [number])
        for name, value in values_of(alone).items():
            assert torch.equal(value[0], values_of(together)[name][row])


@pytest.mark.parametrize("prompts", ["edit", "alt"])
def test_prompts_are_those_of_the_parameter(tools, tmp_path, prompts):
    encode(tools, params_for(tools.folder, prompts=prompts).train, tmp_path)
    batch = read(TrainingSet(tmp_path), [1])
    words = {"edit": "a dog 1", "alt": "IMG 1"}[prompts]
    torch.testing.assert_close(batch.prompt.text, tools.diffusion.embed_prompts([words]).text, **HALF)
    torch.testing.assert_close(batch.clip_prompt, tools.clip.embed_texts([words]), **HALF)
    torch.testing.assert_close(batch.clip_diff, tools.clip.embed_texts(["dog 1"]), **HALF)


def test_target_pictures_are_left_out_where_nothing_needs_them(tools):
    assert read(TrainingSet(tools.folder / "cache"), [0, 1]).target is None


def test_a_rendered_target_is_that_of_the_table(tools, tmp_path):
    picture = Image.fromarray(np.random.default_rng(9).integers(256, size=(32, 32, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    rendered = replace(pair_row(1), target_png=buffer.getvalue(), target_pixels=pixel_digest(picture))
    write_training_set(tmp_path / "training", {"00000": [0, rendered, 2]})
    encode(tools, params_for(tools.folder).train, tmp_path / "cache", tmp_path / "training")
    batch = read(TrainingSet(tmp_path / "cache", tmp_path / "training", pictures=tools.corpus), [0, 1, 2])
    wanted = [edit_sample(0).target, picture, edit_sample(2).target]
    for row, image in enumerate(wanted):
        target = torch.from_numpy(np.asarray(image)).permute(2, 0, 1) / 255
        assert torch.equal(batch.target[row], target)
        torch.testing.assert_close(batch.z2[row], tools.diffusion.encode(target[None])[0], **HALF)


def test_half_precision_changes_no_loss_beyond_rounding(tools):
    """The losses of encoded pairs, and of the same pairs straight from the encoders in fp32."""
    config, numbers = params_for(tools.folder).train, [0, 1, 2, 3, 4]
    method, encoded, edits = make_method(tools, config), read(tools.data, numbers), [edit_sample(number) for number in numbers]
    pictures = {
        name: torch.stack([torch.from_numpy(np.asarray(getattr(edit, name))).permute(2, 0, 1) / 255 for edit in edits])
        for name in ("source", "target")
    }
    exact = replace(
        encoded,
        z1=tools.diffusion.encode(pictures["source"]),
        z2=tools.diffusion.encode(pictures["target"]),
        prompt=tools.diffusion.embed_prompts([edit.edit_prompt for edit in edits]),
        clip_prompt=tools.clip.embed_texts([edit.edit_prompt for edit in edits]),
        clip_diff=tools.clip.embed_texts([edit.target_diff for edit in edits]),
    )
    draws = method.draw(encoded.z1.shape[1:], 0, numbers)
    with torch.no_grad():
        found, wanted = (method.losses(tools.diffusion.unet, batch, draws) for batch in (encoded, exact))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=2e-3, atol=1e-4, msg=name)


def test_a_text_that_the_cache_lacks_is_an_error(tools, tmp_path):
    encode(tools, params_for(tools.folder).train, tmp_path)
    for path in (tmp_path / "texts").glob("*.npy"):
        np.save(path, np.load(path)[:0])
    with pytest.raises(InputError, match=r"\.npy: lacks a text of the training set; remove .*texts"):
        TrainingSet(tmp_path)[[0]]
