"""Photographs of scikit-image, edited within masks: what lies outside is the user's own, bit for bit."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_cdt
from skimage.metrics import peak_signal_noise_ratio

from stages.core.errors import InputError
from stages.corpus.images import load
from stages.editing.editor import Editor
from stages.editing.job import EditJob, Result
from stages.editing.pictures import decode_picture, encode_picture, picture_of, write_picture
from stages.editing.request import MaskMode
from tests.support.editing_inputs import DRAFTED, SAMPLING, request
from tests.support.icc import ADOBE_RGB
from tests.support.samples import encoded

SPOT = (500, 300, 620, 380)
PHOTOGRAPHS = {  # name → size: larger and smaller than the file, upright and wide
    "astronaut": (1200, 900),
    "coffee": (1500, 1000),
    "chelsea": (900, 1353),
    "rocket": (640, 427),
    "camera": (3000, 2000),
}


def photograph(name: str) -> Image.Image:
    picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    return picture.resize(PHOTOGRAPHS[name], Image.Resampling.LANCZOS)


def ellipses(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    for box in boxes:
        ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def edited(editor: Editor, image: Image.Image, mask: Image.Image | None, **changes: object) -> Result:
    asked = {"mask_mode": MaskMode.PREDICTED if mask is None else MaskMode.GIVEN, "sampling": SAMPLING} | changes
    asked["request"] = request(image=image, mask=mask, term="dog", **asked.pop("request", {}))
    return editor.edit_many([editor.plan(EditJob(**asked))])[0]


def assert_own_pixels_outside(image: Image.Image, result: Result, marked: np.ndarray) -> None:
    """All of the mask is edited, little around it, and nothing else."""
    changed, own = np.asarray(result.mask), np.asarray(image)
    assert (changed[marked] == 255).all()
    for found in result.images:
        assert (found.mode, found.size) == (image.mode, image.size)
        new = np.asarray(found)
        assert np.array_equal(new[changed == 0], own[changed == 0])
        assert np.abs(new[marked].astype(int) - own[marked]).mean() > 5


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_pixels_outside_a_given_mask_are_the_users_own(editor, name):
    image = photograph(name)
    mask = ellipses(image.size, (200, 150, 320, 230))
    result = edited(editor, image, mask, images=2)
    marked = np.asarray(mask) > 0
    assert_own_pixels_outside(image, result, marked)
    reach = editor.size.cell * (2 * 122) / 32  # a latent cell in the photograph: the crop is twice as wide as the mask
    distance = distance_transform_cdt(~marked, metric="chessboard")
    assert distance[np.asarray(result.mask) > 0].max() <= reach
    far = np.where(np.asarray(result.mask)[..., None] > 0, 0, np.asarray(image))
    kept = np.where(np.asarray(result.mask)[..., None] > 0, 0, np.asarray(result.images[0]))
    with np.errstate(divide="ignore"):
        assert peak_signal_noise_ratio(far, kept) == np.inf


def test_a_small_mask_is_edited_in_a_crop(editor):
    image = photograph("astronaut")
    plan = editor.plan(
        EditJob(
            request=request(image=image, mask=ellipses(image.size, SPOT)), mask_mode=MaskMode.GIVEN, sampling=SAMPLING, images=1
        )
    )
    (region,) = plan.regions
    assert region.seen.size == (32, 32)
    left, top, right, bottom = region.box
    assert (right - left, bottom - top) == pytest.approx((242, 242), abs=2)
    assert left < SPOT[0] < SPOT[2] < right
    assert top < SPOT[1] < SPOT[3] < bottom


def test_several_places_are_edited_each_in_its_own_crop(editor):
    image = photograph("coffee")
    mask = ellipses(image.size, (200, 150, 320, 230), (1400, 900, 1460, 1000))
    result = edited(editor, image, mask)
    assert_own_pixels_outside(image, result, np.asarray(mask) > 0)
    differs = np.abs(np.asarray(result.images[0], int) - np.asarray(image)).max(axis=2)
    assert differs[150:230, 200:320].mean() > 5
    assert differs[900:1000, 1400:1460].mean() > 5


@pytest.mark.parametrize("sampling", [SAMPLING, DRAFTED], ids=["found", "drafted"])
def test_pixels_outside_a_predicted_mask_are_the_users_own(editor, monkeypatch, sampling):
    """The segmenter finds the middle of whatever it is shown; of the whole picture first, then of drafts of the crop."""

    def probabilities(_: object, images: list[Image.Image], prompts: list[str]) -> torch.Tensor:
        width, height = images[0].size
        found = torch.zeros(len(images), 1, height, width)
        found[..., 3 * height // 8 : 5 * height // 8, 3 * width // 8 : 5 * width // 8] = 0.9
        return found

    monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
    image = photograph("astronaut")
    result = edited(editor, image, None, images=2, sampling=sampling)
    marked = np.zeros((900, 1200), bool)
    marked[380:520, 500:700] = True
    assert_own_pixels_outside(image, result, marked)
    assert (np.asarray(result.mask) > 0).mean() < 0.3


def test_a_draft_that_fills_its_crop_has_a_seam(editor, monkeypatch):
    """The term is found in a spot of the picture, and in all of every draft."""

    def probabilities(_: object, images: list[Image.Image], prompts: list[str]) -> torch.Tensor:
        width, height = images[0].size
        found = torch.ones(len(images), 1, height, width)
        if width != height:  # the whole picture, not a crop
            found[:] = 0
            found[..., height // 2 : height // 2 + 4, width // 2 : width // 2 + 4] = 1
        return found

    monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
    image = photograph("astronaut")
    job = EditJob(request=request(image=image, term="dog"), mask_mode=MaskMode.PREDICTED, sampling=DRAFTED)
    plan = editor.plan(job)
    ((left, top, right, bottom),) = [region.box for region in plan.regions]
    mask = np.asarray(editor.edit_many([plan])[0].mask)
    assert mask[(top + bottom) // 2, (left + right) // 2] == 255
    border = [mask[top, left:right], mask[bottom - 1, left:right], mask[top:bottom, left], mask[top:bottom, right - 1]]
    assert max(side.max() for side in border) < 16


def test_transparency_is_kept_outside_the_mask(editor):
    """A disc on nothing; the mask reaches over its border."""
    image = photograph("astronaut")
    image.putalpha(ellipses(image.size, (300, 200, 800, 700)))
    mask = ellipses(image.size, (250, 350, 350, 450))
    result = edited(editor, image, mask)
    new, own, changed = np.asarray(result.images[0]), np.asarray(image), np.asarray(result.mask)
    assert result.images[0].mode == "RGBA"
    assert np.array_equal(new[changed == 0], own[changed == 0])
    assert (new[np.asarray(mask) > 0][:, 3] == 255).all()
    assert decode_picture(encode_picture(result.images[0])).tobytes() == result.images[0].tobytes()


def test_profile_and_orientation_survive(editor):
    """Orientation 6: the file's left side is the top of the picture. In sRGB the edit is that of the picture in sRGB."""
    exif, image, buffer = Image.Exif(), photograph("coffee"), io.BytesIO()
    exif[274] = 6
    data = encoded(image, icc_profile=ADOBE_RGB, exif=exif)
    mask = ellipses((1000, 1500), (200, 150, 320, 230))
    result = edited(editor, picture_of(data, "photo"), mask)
    write_picture(result.images[0], buffer, "png")
    found, changed = Image.open(buffer), np.asarray(result.mask)
    assert (found.size, found.info["icc_profile"]) == ((1000, 1500), ADOBE_RGB)
    own = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(np.asarray(found)[changed == 0], own[changed == 0])
    wanted = edited(editor, load(data, max_pixels=10_000_000), mask).images[0]
    difference = np.abs(np.asarray(load(buffer.getvalue(), max_pixels=10_000_000), int) - np.asarray(wanted))
    assert difference[changed == 255].mean() < 1


def test_more_context_shows_the_model_more(editor):
    image = photograph("astronaut")
    boxes = []
    for context in (0.25, 2.0):
        job = EditJob(
            request=request(image=image, mask=ellipses(image.size, SPOT), context=context),
            mask_mode=MaskMode.GIVEN,
            sampling=SAMPLING,
        )
        ((left, _, right, _),) = [region.box for region in editor.plan(job).regions]
        boxes.append(right - left)
    assert boxes == pytest.approx([182, 605], abs=5)


def test_an_all_black_mask_is_refused(editor):
    image = photograph("rocket")
    with pytest.raises(InputError, match="the mask is black everywhere"):
        edited(editor, image, Image.new("L", image.size))


def test_more_results_than_memory_holds_are_refused(editor, monkeypatch):
    monkeypatch.setattr("stages.editing.planning.MAX_RESULT_PIXELS", 3 * 640 * 427)
    image = photograph("rocket")
    mask = ellipses(image.size, (200, 150, 320, 230))
    message = r"^4 results of 640 × 427 pixels: allowed are 819,840 pixels in all: ask for fewer$"
    with pytest.raises(InputError, match=message):
        edited(editor, image, mask, images=4)
    assert len(edited(editor, image, mask, images=3).images) == 3
