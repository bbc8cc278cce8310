"""Edits of a picture: sizes, masks and drafts, against diffusers' own pipelines."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from torch import Tensor

from stages.common.seeds import derive_seed
from stages.comparison.systems import diffusers_pipeline, edited_by
from stages.core.errors import InputError
from stages.core.params import Sampling
from stages.corpus.samples import EditSample
from stages.diffusion.masks import widen_mask
from stages.editing.editor import Editor
from stages.editing.request import EditRequest, MaskMode
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.segmenter import load_segmenter
from stages.models.tensors import to_images, to_tensor
from tests.support import tiny

PROMPTS = ["a red dog", "a cat on the beach"]
STEPS = 10
SAMPLING = Sampling(
    solver="ddim", steps=4, strength=0.8, guidance_scale=3.0, mask_threshold=0.5, mask_margin=0.0, mask_draft=False
)
DRAFTED = SAMPLING.model_copy(update={"mask_draft": True, "mask_margin": 2 / 32})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny.tiny_diffusion(folder / "diffusion")
    return folder


@pytest.fixture(scope="module")
def diffusion(folder) -> Diffusion:
    return load_diffusion(tiny.ModelName(name=str(folder / "diffusion")))


@pytest.fixture(scope="module")
def editor(diffusion, folder) -> Editor:
    return Editor(diffusion, load_segmenter(tiny.tiny_segmenter(folder / "segmenter")))


def photo(width: int = 32, height: int = 32, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8))


def request(**changes) -> EditRequest:
    return EditRequest(**({"image": photo(), "prompt": "a red dog"} | changes))


def case() -> EditSample:
    """The request above as a case to be compared on, with the key of a first result."""
    words = {"source_caption": "a cat", "edit_prompt": "a red dog", "source_diff": "cat", "target_diff": "dog"}
    pictures = {"source": photo(), "target": photo(), "source_mask": half(), "target_mask": half()}
    return EditSample(key="0", **pictures, **words, target_alt_text="a cat", metadata={})


def half(width: int = 32, height: int = 32) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    return mask


class TestEditor:
    def batch(self, editor, keys, seed=0, masks=None):
        pictures = to_tensor([photo(seed=int(key)) for key in keys])
        prompts = [f"a dog {key}" for key in keys]
        return editor.edit_batch(pictures, prompts, masks=masks, sampling=SAMPLING, seed=seed, keys=keys)

    def test_an_edit_does_not_depend_on_its_place_in_the_batch(self, editor):
        together = self.batch(editor, ["1", "2", "3"])
        for place, key in enumerate(["1", "2", "3"]):
            torch.testing.assert_close(self.batch(editor, [key])[0], together[place], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(together[0], together[1], atol=1e-2)

    def test_another_seed_is_another_edit(self, editor):
        assert not torch.allclose(self.batch(editor, ["1"]), self.batch(editor, ["1"], seed=1), atol=1e-3)

    def test_pictures_are_encoded_and_decoded_as_diffusers_does(self, editor, diffusion):
        picture = to_tensor([photo()])
        found = self.batch(editor, ["0"], masks=torch.zeros(1, 1, 32, 32))
        with torch.no_grad():
            mode = diffusion.vae.encode(2 * picture - 1).latent_dist.mode()
            wanted = (diffusion.vae.decode(mode).sample / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
    @pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
    def test_pixels_of_a_plain_edit_are_those_of_the_img2img_pipeline(self, editor, diffusion, strength, guidance_scale):
        # The pipeline is given the source's latents: of a picture it would take a draw from the posterior, not its mode.
        picture, keys = to_tensor([photo(), photo(seed=1)]), ["a", "b"]
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

    def test_several_edits_differ_and_do_not_depend_on_their_number(self, editor):
        three = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING, images=3)
        assert len({edit.tobytes() for edit in three}) == 3
        alone = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING)
        assert np.abs(np.asarray(alone[0], int) - np.asarray(three[0], int)).max() <= 1

    def test_the_same_request_gives_the_same_picture(self, editor):
        first, again = (editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING, seed=5)[0] for _ in range(2))
        assert first.tobytes() == again.tobytes()

    def test_given_mask_is_the_one_that_counts(self, editor):
        plain = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0]
        given = {
            name: editor.edit(request(mask=mask), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)[0]
            for name, mask in {"all": Image.new("L", (32, 32), 255), "none": Image.new("L", (32, 32)), "half": half()}.items()
        }
        untouched = to_images(editor.diffusion.decode(editor.diffusion.encode(to_tensor([photo()]))))[0]
        assert given["all"].tobytes() == plain.tobytes()
        assert np.abs(np.asarray(given["none"], int) - np.asarray(untouched, int)).max() <= 1
        assert given["half"].tobytes() not in {given["all"].tobytes(), given["none"].tobytes()}

    def test_given_mask_is_ignored_in_mode_none(self, editor):
        with_mask = editor.edit(request(mask=half()), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0]
        assert with_mask.tobytes() == editor.edit(request(), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0].tobytes()

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
    def test_predicted_mask_is_that_of_the_term_or_else_of_the_source_term(self, editor, asked, terms, monkeypatch):
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

    def test_predicted_masks_of_a_batch_are_found_row_by_row(self, editor, monkeypatch):
        def probabilities(_, images, prompts):
            found = [{"dog": 0.5, "cat": 0.8}.get(prompt, 0.0) for prompt in prompts]
            return torch.tensor([[[[value, 0.0], [value, 0.0]]] for value in found])

        monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
        terms, source_terms = ["dog", "cow", "cow", "cow"], ["cat", "cat", "cow", None]
        masks = editor.predict_masks([photo()] * 4, terms, source_terms, 0.5)
        left, nothing = [[[1, 0], [1, 0]]], [[[0, 0], [0, 0]]]
        assert masks.tolist() == [left, left, nothing, nothing]

    def room_for_dogs(self, editor, monkeypatch, sampling: Sampling, images: int = 1) -> Tensor:
        """Have the segmenter find a cat in the picture, and dogs in the edits of all of it alone, each at a place of its own.

        Returns:
            Where edits of the cat into a dog belong, (images, 1, 32, 32).
        """
        drafts = editor.edit(request(), mask_mode=MaskMode.NONE, sampling=sampling, images=images)
        assert len({photo().tobytes(), *(draft.tobytes() for draft in drafts)}) == images + 1
        cat, dogs = torch.zeros(1, 32, 32), torch.zeros(images, 1, 32, 32)
        cat[:, 4:12, 4:12] = 1
        where = {(photo().tobytes(), "cat"): cat}
        for row, draft in enumerate(drafts):
            dogs[row, :, 16:28, 8 * row : 8 * row + 12] = 1
            where[draft.tobytes(), "dog"] = dogs[row]

        def probabilities(_, images, prompts):
            pairs = zip(images, prompts, strict=True)
            return torch.stack([where.get((image.tobytes(), prompt), torch.zeros(1, 32, 32)) for image, prompt in pairs])

        monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
        return torch.maximum(widen_mask(cat[None], sampling.mask_margin), dogs)

    def test_a_draft_of_its_own_gives_each_edit_the_room_that_it_needs(self, editor, monkeypatch):
        room = self.room_for_dogs(editor, monkeypatch, DRAFTED, images=2)
        asked = request(term="dog", source_term="cat")
        found = editor.edit(asked, mask_mode=MaskMode.PREDICTED, sampling=DRAFTED, images=2)
        for row, mask in enumerate(to_images(room.expand(-1, 3, -1, -1))):
            given = replace(asked, mask=mask.convert("L"))
            wanted = editor.edit(given, mask_mode=MaskMode.GIVEN, sampling=DRAFTED, images=2)
            assert found[row].tobytes() == wanted[row].tobytes()
            assert found[1 - row].tobytes() != wanted[1 - row].tobytes()

    def test_a_draft_does_not_tell_what_was_meant(self, editor, monkeypatch):
        self.room_for_dogs(editor, monkeypatch, DRAFTED)
        with pytest.raises(InputError, match="nothing in the picture looks like 'dog' nor 'cow'"):
            editor.edit(request(term="dog", source_term="cow"), mask_mode=MaskMode.PREDICTED, sampling=DRAFTED)
        untouched = to_images(editor.diffusion.decode(editor.diffusion.encode(to_tensor([photo()]))))[0]
        (found,) = to_images(edited_by(editor, "", DRAFTED, masks="predicted").edit([case()], torch.zeros(1, 1, 32, 32), 0))
        assert np.abs(np.asarray(found, int) - np.asarray(untouched, int)).max() <= 1

    def test_a_system_with_predicted_masks_makes_the_edits_that_users_get(self, editor, monkeypatch):
        self.room_for_dogs(editor, monkeypatch, DRAFTED)
        asked = request(term="dog", source_term="cat")
        wanted = editor.edit(asked, mask_mode=MaskMode.PREDICTED, sampling=DRAFTED)[0]
        masks = editor.predict_masks([photo()], ["dog"], ["cat"], DRAFTED.mask_threshold)
        (found,) = to_images(edited_by(editor, "", DRAFTED, masks="predicted").edit([case()], masks, 0))
        assert found.tobytes() == wanted.tobytes()

    def test_without_a_draft_what_appears_counts_for_nothing(self, editor, monkeypatch):
        sampling = DRAFTED.model_copy(update={"mask_draft": False})
        self.room_for_dogs(editor, monkeypatch, sampling)
        mask = Image.new("L", (32, 32))
        mask.paste(255, (2, 2, 14, 14))
        asked = request(term="dog", source_term="cat", mask=mask)
        found, wanted = (
            editor.edit(asked, mask_mode=mode, sampling=sampling)[0] for mode in (MaskMode.PREDICTED, MaskMode.GIVEN)
        )
        assert found.tobytes() == wanted.tobytes()

    @pytest.mark.parametrize(
        ("masks", "matter"),
        [(None, set()), ("true", {"mask_margin"}), ("predicted", {"mask_margin", "mask_draft", "mask_threshold"})],
    )
    def test_the_settings_of_a_system_are_what_decides_its_edits(self, editor, masks, matter):
        changes = {"mask_margin": 0.2, "mask_draft": False, "mask_threshold": 0.7}
        settings = edited_by(editor, "", DRAFTED, masks=masks).settings
        changed = {
            name: edited_by(editor, "", DRAFTED.model_copy(update={name: value}), masks=masks).settings
            for name, value in changes.items()
        }
        assert {name for name in changes if changed[name] != settings} == matter

    def test_mode_given_needs_a_mask(self, editor):
        with pytest.raises(InputError, match="needs a mask"):
            editor.edit(request(), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)

    def test_mask_of_another_size_is_refused(self, editor):
        with pytest.raises(InputError, match=r"the mask is \(16, 32\), the image \(32, 32\)"):
            editor.edit(request(mask=half(16, 32)), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)

    @pytest.mark.parametrize("size", [(50, 33), (20, 90), (200, 40), (7, 9)])
    @pytest.mark.parametrize("mode", list(MaskMode))
    def test_a_picture_keeps_its_size(self, editor, size, mode):
        asked = request(image=photo(*size), mask=half(*size), term="dog")
        found = editor.edit(asked, mask_mode=mode, sampling=SAMPLING.model_copy(update={"steps": 2}), images=2)
        assert [edit.size for edit in found] == [size, size]

    def test_a_picture_is_worked_on_at_the_models_size_and_its_own_shape(self, editor, monkeypatch):
        seen = []
        real = Editor.edit_batch

        def edit_batch(self, pictures, *others, **named):
            seen.append(pictures)
            return real(self, pictures, *others, **named)

        monkeypatch.setattr(Editor, "edit_batch", edit_batch)
        editor.edit(request(image=photo(200, 100)), mask_mode=MaskMode.NONE, sampling=SAMPLING)
        assert [tuple(each.shape) for each in seen] == [(1, 3, 32, 64)]

    @pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
    def test_pictures_of_any_mode_are_taken(self, editor, mode):
        found = editor.edit(request(image=photo().convert(mode)), mask_mode=MaskMode.NONE, sampling=SAMPLING)[0]
        assert (found.mode, found.size) == ("RGB", (32, 32))

    def test_a_system_edits_around_what_its_mask_marks(self, editor):
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., 12:20, 12:20] = 1
        wider = torch.zeros_like(mask)
        wider[..., 8:24, 8:24] = 1
        tight, wide = (
            edited_by(editor, "", SAMPLING.model_copy(update={"mask_margin": margin}), masks="true").edit
            for margin in (0.0, 4 / 32)
        )
        assert torch.equal(wide([case()], mask, 0), tight([case()], wider, 0))
        assert not torch.equal(wide([case()], mask, 0), tight([case()], mask, 0))
