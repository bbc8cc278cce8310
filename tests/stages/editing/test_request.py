"""What a request does before the model sees it: masks are resized, narrow pictures refused."""

import pytest

from stages.core.errors import InputError
from tests.support.editing_inputs import half, photo, request


def test_a_given_mask_is_resized_and_binary():
    mask = request(image=photo(64, 48), mask=half(64, 48)).given_mask((32, 24))
    assert mask.shape == (1, 1, 24, 32)
    assert mask[..., :15].max() == 0
    assert mask[..., 17:].min() == 1


@pytest.mark.parametrize("size", [(257, 32), (32, 257)])
def test_a_long_and_narrow_picture_is_refused(size):
    request(image=photo(256, 32)).check_aspect()
    with pytest.raises(InputError, match=rf"^the image is {size[0]} × {size[1]}: its longer side may be 8 times the shorter"):
        request(image=photo(*size)).check_aspect()
