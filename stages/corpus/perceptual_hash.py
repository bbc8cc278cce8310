"""The perceptual hash of a picture: 64 bits that hardly change when it is compressed again, resized or retouched.

pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010): the signs of the lowest
frequencies of the discrete cosine transform, relative to their median.
"""

import numpy as np
from PIL import Image

SIDE = 32  # pixels of the picture that is transformed
FREQUENCIES = 8  # per direction
HALF = FREQUENCIES**2 // 2

_PLACES = np.arange(SIDE)
_COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(FREQUENCIES), _PLACES + 0.5))  # (frequency, place), DCT-II


def perceptual_hash(image: Image.Image) -> int:
    """Return the hash of an RGB picture, in [0, 2**64); pictures that look alike differ in few bits."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.frombuffer(small.tobytes(), np.uint8).reshape(SIDE, SIDE).astype(np.float64)
    spectrum = (_COSINES @ grey @ _COSINES.T).ravel()
    middle = np.sort(spectrum)[HALF - 1 : HALF + 1]
    bits = spectrum > middle.sum() / 2  # the median, for which NumPy's own function takes longer than all of the above
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
