"""SSIM against scikit-image; the perceptual distance against its formula."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from stages.core.errors import InputError
from stages.metrics import similarity
from tests.support.metric_inputs import SIZE, box_mask, narrow_vgg, pictures


def oracle(first, second):
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1, "channel_axis": 0}
    return structural_similarity(first.double().numpy(), second.double().numpy(), full=True, **settings)


@pytest.fixture(scope="module")
def vgg():
    return narrow_vgg()


@pytest.mark.parametrize("size", [11, 32, 47])
def test_ssim_map_is_scikit_images(size):
    first, second = pictures(2, 1, size), pictures(2, 2, size)
    for one, other, result in zip(first, second, similarity.ssim_map(first, second), strict=True):
        _, expected = oracle(one, other)
        np.testing.assert_allclose(result, expected.mean(axis=0), atol=1e-9)


def test_ssim_frame_is_scikit_images_scalar_of_masked_frames():
    first, second, mask = pictures(3, 1), pictures(3, 2), box_mask(3)
    for region in (mask, 1 - mask):
        expected = [100 * oracle(*pair)[0] for pair in zip(first * region, second * region, strict=True)]
        np.testing.assert_allclose(similarity.ssim_frame(first, second, region), expected, atol=1e-7)


def test_ssim_region_is_the_mean_of_scikit_images_map_inside():
    first, second, mask = pictures(3, 1), pictures(3, 2), box_mask(3)
    for region in (mask, 1 - mask):
        maps = [oracle(*pair)[1].mean(axis=0) for pair in zip(first, second, strict=True)]
        expected = [100 * whole[inside].mean() for whole, inside in zip(maps, region[:, 0].bool().numpy(), strict=True)]
        np.testing.assert_allclose(similarity.ssim_region(first, second, region), expected, atol=1e-7)


def test_equal_pictures_score_100_and_no_region_is_undefined():
    picture, nothing = pictures(2), torch.zeros(2, 1, SIZE, SIZE)
    for form in (similarity.ssim_frame, similarity.ssim_region):
        assert form(picture, picture, box_mask(2)).tolist() == pytest.approx([100, 100])
        assert form(picture, picture, nothing).isnan().all()


def test_pictures_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match="at least 11"):
        similarity.ssim_map(torch.zeros(1, 3, 10, 32), torch.zeros(1, 3, 10, 32))


def test_perceptual_distance_matches_the_formula(vgg):
    first, second, region = pictures(1, 1), pictures(1, 2), torch.ones(1, 1, SIZE, SIZE)
    layers = []
    for one, other in zip(vgg(first, similarity.LPIPS_LAYERS), vgg(second, similarity.LPIPS_LAYERS), strict=True):
        difference = one / (one.norm(dim=1, keepdim=True) + 1e-10) - other / (other.norm(dim=1, keepdim=True) + 1e-10)
        layers.append((difference**2).sum(dim=1).mean())
    assert similarity.perceptual_distance(vgg, first, second, region).item() == pytest.approx(
        torch.stack(layers).mean().item(), rel=1e-4
    )


def test_perceptual_outside_ignores_changes_inside_the_mask(vgg):
    source, mask = pictures(2), box_mask(2)
    inside = source * (1 - mask) + pictures(2, 5) * mask
    assert similarity.perceptual_outside(vgg, source, inside, mask).tolist() == [0, 0]
    assert (similarity.perceptual_outside(vgg, source, pictures(2, 5), mask) > 0).all()
    assert similarity.perceptual_outside(vgg, source, inside, torch.ones_like(mask)).isnan().all()
