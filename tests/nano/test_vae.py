"""The autoencoder learns from parts of pictures: each a square of its own picture, from anywhere in it."""

import torch

from nano.vae import crop


def test_crops_are_squares_of_their_own_pictures_from_every_place():
    pictures = torch.arange(300 * 3 * 4 * 5.0).view(300, 3, 4, 5)
    crops = crop(pictures, 3, torch.Generator().manual_seed(0))
    assert crops.shape == (300, 3, 3, 3)
    places = set()
    for picture, part in zip(pictures, crops, strict=True):
        top, left = divmod(int(part[0, 0, 0] - picture[0, 0, 0]), 5)
        assert torch.equal(part, picture[:, top : top + 3, left : left + 3])
        places.add((top, left))
    assert places == {(top, left) for top in range(2) for left in range(3)}
