"""What a request does before the model sees it: masks are read, narrow pictures refused."""

import numpy as np
import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.editing.request import binary_mask
from tests.support.editing_inputs import half, photo, request


def test_a_black_mask_is_refused():
    with pytest.raises(InputError, match=r"^the mask is black everywhere: it must be white where the picture may change$"):
        request(mask=Image.new("L", (32, 32))).given_mask()


@pytest.mark.parametrize("context", [0.2, 9, float("nan")])
def test_a_context_out_of_range_is_refused(context):
    with pytest.raises(InputError, match=rf"^context = {context:g}: must be at least 0.25 and at most 8$"):
        request(context=context).check_shape()


@pytest.mark.parametrize("size", [(257, 32), (32, 257)])
def test_a_long_and_narrow_picture_is_refused(size):
    request(image=photo(256, 32)).check_shape()
    with pytest.raises(InputError, match=rf"^the image is {size[0]} × {size[1]}: its longer side may be 8 times the shorter"):
        request(image=photo(*size)).check_shape()


RIGHT = np.repeat([[0, 0, 1, 1]], 4, axis=0)  # a mask of the right half


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(RIGHT.astype(np.uint8), "P")
    image.putpalette([level for colour in colours for level in colour])
    return image


TWO_VALUES = {
    "0 and 1": Image.fromarray(RIGHT.astype(np.uint8)),
    "0 and 1 of 16 bits": Image.fromarray(RIGHT.astype(np.uint16)),
    "0 and 1 of 32 bits": Image.fromarray(RIGHT.astype(np.int32)),
    "0 and 1 as floats": Image.fromarray(RIGHT.astype(np.float32)),
    "one bit": Image.fromarray(RIGHT.astype(bool)),
    "0 and 255": Image.fromarray((255 * RIGHT).astype(np.uint8)),
    "10 and 90": Image.fromarray((10 + 80 * RIGHT).astype(np.uint8)),
    "200 and 250": Image.fromarray((200 + 50 * RIGHT).astype(np.uint8)),
    "a palette of black and red": palette((0, 0, 0), (128, 0, 0)),
    "RGB": Image.fromarray((RIGHT[..., None] * [1, 1, 1]).astype(np.uint8)),
    "opaque RGBA": Image.fromarray((255 * RIGHT).astype(np.uint8)).convert("RGBA"),
}


@pytest.mark.parametrize("name", TWO_VALUES)
def test_two_values_are_black_and_white(name):
    found = binary_mask(TWO_VALUES[name])
    assert found.mode == "L"
    np.testing.assert_array_equal(np.asarray(found), 255 * RIGHT)


def test_a_mask_of_one_colour_is_white():
    assert np.asarray(binary_mask(Image.new("RGB", (4, 4), (255, 0, 0)))).min() == 255


@pytest.mark.parametrize("level", [1, 100, 255])
def test_a_mask_of_one_value_is_white_unless_zero(level):
    assert np.asarray(binary_mask(Image.new("L", (4, 4), level))).min() == 255
    assert np.asarray(binary_mask(Image.new("L", (4, 4), 0))).max() == 0


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_more_values_are_divided_at_half_of_the_range(dtype, full):
    ramp = np.linspace(0, full, 100).astype(dtype)[None]
    np.testing.assert_array_equal(np.asarray(binary_mask(Image.fromarray(ramp)))[0] == 255, np.arange(100) >= 50)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (palette((76, 76, 76), (255, 0, 0)), r"^the mask's colours are equally bright, each of level 76: give it in black and"),
        (palette((76, 76, 76), (255, 0, 0)).convert("RGBA"), "equally bright, each of level 76"),
        (palette((0, 0, 0), (0, 0, 1)).convert("RGB"), "equally bright, each of level 0"),
        (Image.new("RGBA", (4, 4), (255, 255, 255, 0)), "transparent parts"),
        (Image.merge("LA", (half(4, 4), half(4, 4))), "transparent parts"),
        (Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)), "many values from 0 to 1"),
        (Image.fromarray(np.arange(16, dtype=np.int32).reshape(4, 4)), "many values from 0 to 15"),
    ],
)
def test_masks_of_unclear_meaning_are_refused(mask, message):
    with pytest.raises(InputError, match=message):
        binary_mask(mask)
