"""Edits of a picture: sizes, masks and drafts, compared with diffusers' own pipelines."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from stages.common.seeds import derive_seed
from stages.comparison.systems import diffusers_pipeline
from stages.core.errors import InputError
from stages.editing.editor import Editor
from stages.editing.job import Progress
from stages.editing.request import MaskMode, NothingToMaskError
from stages.models.tensors import to_images, to_tensor
from tests.support.editing_inputs import DRAFTED, SAMPLING, find_a_cat_and_drafted_dogs, half, photo, request

PROMPTS = ["a red dog", "a cat on the beach"]
STEPS = 10


def difference(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of two pictures, in levels."""
    return np.abs(np.asarray(first, int) - np.asarray(second, int)).max()


class TestBatches:
    def batch(self, editor, keys, seed=0, masks=None):
        pictures = to_tensor([photo(seed=int(key)) for key in keys])
        prompts = [f"a dog {key}" for key in keys]
        return editor.edit_batch(pictures, prompts, masks=masks, sampling=SAMPLING, seed=seed, keys=keys)

    def test_an_edit_does_not_depend_on_its_place(self, editor):
        together = self.batch(editor, ["1", "2", "3"])
        for place, key in enumerate(["1", "2", "3"]):
            torch.testing.assert_close(self.batch(editor, [key])[0], together[place], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(together[0], together[1], atol=1e-2)

    def test_another_seed_gives_another_edit(self, editor):
        assert not torch.allclose(self.batch(editor, ["1"]), self.batch(editor, ["1"], seed=1), atol=1e-3)

    def test_pictures_are_encoded_and_decoded_like_diffusers(self, editor):
        vae, picture = editor.diffusion.vae, to_tensor([photo()])
        found = self.batch(editor, ["0"], masks=torch.zeros(1, 1, 32, 32))
        with torch.no_grad():
            mode = vae.encode(2 * picture - 1).latent_dist.mode()
            wanted = (vae.decode(mode).sample / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
    @pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
    def test_pixels_of_a_plain_edit_are_those_of_img2img(self, editor, strength, guidance_scale):
        """The pipeline gets the source's latents, because it would sample the posterior of a picture, not take its mode."""
        picture, keys, diffusion = to_tensor([photo(), photo(seed=1)]), ["a", "b"], editor.diffusion
        settings = {"strength": strength, "guidance_scale": guidance_scale}
        wanted = diffusers_pipeline(StableDiffusionImg2ImgPipeline, diffusion)(
            PROMPTS,
            image=diffusion.encode(picture),
            num_inference_steps=STEPS,
            generator=[torch.Generator().manual_seed(derive_seed(7, "noise", key)) for key in keys],
            output_type="np",
            **settings,
        ).images
        sampling = SAMPLING.model_copy(update={"steps": STEPS, **settings})
        found = editor.edit_batch(picture, PROMPTS, masks=None, sampling=sampling, seed=7, keys=keys)
        kept = diffusion.decode(diffusion.encode(picture)).clamp(0, 1)
        assert (found - kept).abs().mean() > 0.01
        np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), wanted, rtol=1e-4, atol=1e-4)


class TestRequests:
    def test_several_edits_differ_whatever_their_number(self, editor):
        three = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING, images=3)
        assert len({edit.tobytes() for edit in three}) == 3
        alone = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING)
        assert difference(alone[0], three[0]) <= 1

    def test_the_same_request_gives_the_same_picture(self, editor):
        first, again = (editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING, seed=5)[0] for _ in range(2))
        assert first.tobytes() == again.tobytes()

    @pytest.mark.parametrize("size", [(50, 33), (20, 90), (200, 40), (7, 9)])
    @pytest.mark.parametrize("mode", list(MaskMode))
    def test_a_picture_keeps_its_size(self, editor, size, mode):
        asked = request(image=photo(*size), mask=half(*size), term="dog")
        found = editor.edit(asked, mask_mode=mode, sampling=SAMPLING.model_copy(update={"steps": 2}), images=2)
        assert [edit.size for edit in found] == [size, size]

    def test_the_shorter_side_is_edited_at_the_models_size(self, editor, monkeypatch):
        seen = []
        real = Editor.edit_batch

        def edit_batch(self, pictures, *others, **named):
            seen.append(pictures)
            return real(self, pictures, *others, **named)

        monkeypatch.setattr(Editor, "edit_batch", edit_batch)
        editor.edit(request(image=photo(200, 100)), mask_mode=MaskMode.NONE, sampling=SAMPLING)
        assert [tuple(each.shape) for each in seen] == [(1, 3, 32, 64)]

    @pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
    def test_pictures_of_any_mode_are_accepted(self, editor, mode):
        found = editor.edit(request(image=photo().convert(mode)), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0]
        assert (found.mode, found.size) == ("RGB", (32, 32))


class TestGivenMasks:
    def test_a_given_mask_decides_where_the_edit_is(self, editor):
        plain = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0]
        given = {
            name: editor.edit(request(mask=mask), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)[0]
            for name, mask in {"all": Image.new("L", (32, 32), 255), "half": half()}.items()
        }
        assert given["all"].tobytes() == plain.tobytes()
        seam = 16 - editor.size.cell
        assert difference(given["half"].crop((0, 0, seam, 32)), photo().crop((0, 0, seam, 32))) == 0
        assert difference(given["half"].crop((16, 0, 32, 32)), photo().crop((16, 0, 32, 32))) > 10

    @pytest.mark.parametrize("white", [np.uint8, np.uint16, bool])
    def test_zeros_and_ones_are_a_mask_like_any_other(self, editor, white):
        ones = Image.fromarray((np.asarray(half()) > 0).astype(white))
        found, wanted = (
            editor.edit(request(mask=mask), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)[0] for mask in (ones, half())
        )
        assert found.tobytes() == wanted.tobytes()

    def test_a_mask_that_marks_nothing_is_refused(self, editor):
        """Pixels of each corner are white, so that the whole picture is edited at once, and none fills a latent cell."""
        mask = Image.new("L", (320, 320))
        for corner in ((0, 0), (319, 0), (0, 319), (319, 319), (160, 160)):
            mask.putpixel(corner, 255)
        with pytest.raises(InputError, match=r"^the mask marks nothing at the model's own size, 32 × 32: it must be white"):
            editor.edit(request(image=photo(320, 320), mask=mask), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)

    def test_a_given_mask_is_ignored_in_mode_none(self, editor):
        with_mask = editor.edit(request(mask=half()), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0]
        assert with_mask.tobytes() == editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0].tobytes()

    def test_mode_given_needs_a_mask(self, editor):
        with pytest.raises(InputError, match="needs a mask"):
            editor.edit(request(), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)

    def test_a_mask_of_another_size_is_refused(self, editor):
        with pytest.raises(InputError, match=r"the mask is \(16, 32\), the image \(32, 32\)"):
            editor.edit(request(mask=half(16, 32)), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)


class TestPredictedMasks:
    @pytest.mark.parametrize(
        ("asked", "terms"),
        [
            ({"term": "red dog", "source_term": "cat"}, [["red dog"]]),
            ({"term": "red cow", "source_term": "cat"}, [["red cow"], ["cat"]]),
            ({"term": "red cow", "source_term": "cow"}, [["red cow"], ["cow"]]),
            ({"term": "red cow"}, [["red cow"]]),
            ({}, [["a red dog"]]),
        ],
    )
    def test_the_source_term_is_sought_after_the_term(self, editor, asked, terms, monkeypatch):
        calls = []

        def probabilities(_, images, prompts):
            """A segmenter that finds the left half for a dog, the right half for a cat, and nothing else."""
            calls.append(list(prompts))
            found = torch.zeros(len(images), 1, 32, 32)
            for row, prompt in enumerate(prompts):
                found[row, 0, :, :16] = 0.9 if "dog" in prompt else 0.1
                found[row, 0, :, 16:] = 0.9 if "cat" in prompt else 0.1
            return found

        monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
        if "cow" in terms[-1][0]:
            with pytest.raises(InputError, match="nothing in the picture looks like 'red cow'"):
                editor.edit(request(**asked), mask_mode=MaskMode.PREDICTED, sampling=SAMPLING)
            assert calls == terms
            return
        found = editor.edit(request(**asked), mask_mode=MaskMode.PREDICTED, sampling=SAMPLING)[0]
        assert calls == terms
        side = 0 if "dog" in terms[-1][0] else 255
        mask = Image.new("L", (32, 32), 255)
        mask.paste(side, (16, 0, 32, 32))
        mask.paste(255 - side, (0, 0, 16, 32))
        given = editor.edit(request(mask=mask), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)[0]
        assert found.tobytes() == given.tobytes()

    def test_masks_of_a_batch_are_found_row_by_row(self, editor, monkeypatch):
        def probabilities(_, images, prompts):
            found = [{"dog": 0.5, "cat": 0.8}.get(prompt, 0.0) for prompt in prompts]
            return torch.tensor([[[[value, 0.0], [value, 0.0]]] for value in found])

        monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
        terms, source_terms = ["dog", "cow", "cow", "cow"], ["cat", "cat", "cow", None]
        masks = editor.predict_masks([photo()] * 4, terms, source_terms, 0.5)
        left, nothing = [[[1, 0], [1, 0]]], [[[0, 0], [0, 0]]]
        assert masks.tolist() == [left, left, nothing, nothing]

    def test_a_stray_pixel_counts_as_nothing(self, editor, monkeypatch):
        """A pixel is found for a dog, and a quarter of the picture for a cat."""

        def probabilities(_, images, prompts):
            found = torch.zeros(len(images), 1, 32, 32)
            for row, prompt in enumerate(prompts):
                found[row, 0, 5, 5] = 0.9 if prompt == "dog" else 0.1
                found[row, 0, 8:24, 8:24] = 0.9 if prompt == "cat" else 0.1
            return found

        monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
        masks = editor.predict_masks([photo()] * 3, ["dog"] * 3, ["cat", "dog", None], 0.5)
        assert masks.sum(dim=(1, 2, 3)).tolist() == [256, 0, 0]
        with pytest.raises(NothingToMaskError, match="nothing in the picture looks like 'dog'"):
            editor.edit(request(term="dog"), mask_mode=MaskMode.PREDICTED, sampling=SAMPLING)

    def test_an_editor_without_segmenter_predicts_no_masks(self, editor):
        with pytest.raises(InputError, match="no segmenter to predict masks with"):
            Editor(editor.diffusion).edit(request(), mask_mode=MaskMode.PREDICTED, sampling=SAMPLING)

    def test_each_edit_gets_the_mask_of_its_own_draft(self, editor, monkeypatch):
        masks = find_a_cat_and_drafted_dogs(editor, monkeypatch, DRAFTED, images=2)
        asked = request(term="dog", source_term="cat")
        found = editor.edit(asked, mask_mode=MaskMode.PREDICTED, sampling=DRAFTED, images=2)
        for row, mask in enumerate(to_images(masks.expand(-1, 3, -1, -1))):
            given = replace(asked, mask=mask.convert("L"))
            wanted = editor.edit(given, mask_mode=MaskMode.GIVEN, sampling=DRAFTED, images=2)
            assert found[row].tobytes() == wanted[row].tobytes()
            assert found[1 - row].tobytes() != wanted[1 - row].tobytes()

    def test_a_draft_does_not_replace_a_missing_thing(self, editor, monkeypatch):
        find_a_cat_and_drafted_dogs(editor, monkeypatch, DRAFTED)
        with pytest.raises(NothingToMaskError, match=r"^nothing in the picture looks like 'dog' nor 'cow'$"):
            editor.edit(request(term="dog", source_term="cow"), mask_mode=MaskMode.PREDICTED, sampling=DRAFTED)

    def test_without_drafts_only_the_source_decides(self, editor, monkeypatch):
        sampling = DRAFTED.model_copy(update={"mask_draft": False})
        find_a_cat_and_drafted_dogs(editor, monkeypatch, sampling)
        mask = Image.new("L", (32, 32))
        mask.paste(255, (2, 2, 14, 14))
        asked = request(term="dog", source_term="cat", mask=mask)
        found, wanted = (
            editor.edit(asked, mask_mode=mode, sampling=sampling)[0] for mode in (MaskMode.PREDICTED, MaskMode.GIVEN)
        )
        assert found.tobytes() == wanted.tobytes()


class TestPrompts:
    LONG = "a red dog on the beach " * 30

    def test_a_prompt_beyond_the_context_is_refused_with_its_end(self, editor):
        rest = editor.diffusion.unread(self.LONG)
        assert self.LONG.endswith(rest)
        assert rest
        with pytest.raises(InputError, match=r"^prompt: longer than the model reads; it would not see the end, '.*…$"):
            editor.edit(request(prompt=self.LONG), mask_mode=MaskMode.NONE, sampling=SAMPLING)

    def test_what_is_called_unread_changes_nothing(self, editor):
        rest = editor.diffusion.unread(self.LONG)
        kept = self.LONG.removesuffix(rest)
        changed = kept + rest.partition(" ")[0] + " grey cats"  # the limit may lie within a word
        shorter = kept.rpartition(" ")[0].rpartition(" ")[0]
        embedded = editor.diffusion.embed_prompts([self.LONG, changed, shorter]).text
        assert torch.equal(embedded[0], embedded[1])
        assert not torch.equal(embedded[0], embedded[2])
        assert editor.diffusion.unread(shorter) == ""

    @pytest.mark.parametrize("name", ["term", "source_term"])
    def test_long_terms_are_refused_where_they_are_sought(self, editor, name):
        asked = request(**({"term": "dog"} | {name: self.LONG}))
        with pytest.raises(InputError, match=rf"^{name.replace('_', ' ')}: longer than the model reads"):
            editor.edit(asked, mask_mode=MaskMode.PREDICTED, sampling=SAMPLING)
        assert editor.edit(asked, mask_mode=MaskMode.NONE, sampling=SAMPLING)

    def test_a_negative_prompt_is_that_of_diffusers(self, editor):
        picture, diffusion = to_tensor([photo()]), editor.diffusion
        wanted = diffusers_pipeline(StableDiffusionImg2ImgPipeline, diffusion)(
            "a red dog",
            negative_prompt="a cat",
            image=diffusion.encode(picture),
            num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(derive_seed(7, "noise", "0")),
            output_type="np",
            strength=0.8,
            guidance_scale=3.0,
        ).images
        sampling = SAMPLING.model_copy(update={"steps": STEPS, "strength": 0.8, "guidance_scale": 3.0})
        asked = {"mask_mode": MaskMode.NONE, "sampling": sampling, "seed": 7}
        found = editor.edit(request(negative_prompt="a cat"), **asked)[0]
        np.testing.assert_allclose(np.asarray(found) / 255, wanted[0], atol=1 / 255)
        assert found.tobytes() != editor.edit(request(), **asked)[0].tobytes()

    def test_a_negative_prompt_without_guidance_is_refused(self, editor):
        sampling = SAMPLING.model_copy(update={"guidance_scale": 1.0})
        with pytest.raises(InputError, match=r"^a negative prompt needs guidance: guidance_scale = 1 must be above 1$"):
            editor.edit(request(negative_prompt="a cat"), mask_mode=MaskMode.NONE, sampling=sampling)


def test_an_error_after_a_step_ends_the_edit(editor):
    steps = []

    def stop_at_the_third(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 3:
            raise InputError("late")

    with pytest.raises(InputError, match="late"):
        editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING, on_progress=stop_at_the_third)
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("size", [(64, 36), (36, 64), (160, 20), (90, 61)])
def test_the_segmenter_sees_the_picture_in_its_shape(editor, monkeypatch, size):
    """Sides are whole units of the U-Net, so that the shape differs by half a unit at most."""
    seen = []

    def probabilities(_, images, prompts):
        seen.extend(image.size for image in images)
        return torch.ones(len(images), 1, images[0].height, images[0].width)

    monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
    editor.edit(request(image=photo(*size), term="dog"), mask_mode=MaskMode.PREDICTED, sampling=SAMPLING)
    scale = 32 / min(size)
    assert seen
    assert all(abs(side - scale * own) <= 8 for found in seen for side, own in zip(found, size, strict=True))
