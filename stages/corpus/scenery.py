"""Procedurally drawn scenery: ten kinds of background, each with structure that an edit should leave alone.

Every painter takes a canvas and a random generator and fills the whole canvas. Sizes are fractions of the canvas's
side, so a scene looks the same at any resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Generator = np.random.Generator

SUPERSAMPLING = 2  # scenery is drawn this much larger, then reduced, which smooths its edges


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A square drawing surface addressed in fractions of its side, (0, 0) at the top left."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    side: int

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.draw.rectangle([left * self.side, top * self.side, right * self.side, bottom * self.side], fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        r = radius * self.side
        self.draw.ellipse([x * self.side - r, y * self.side - r, x * self.side + r, y * self.side + r], fill=colour)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon."""
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=colour)

    def line(self, points: list[tuple[float, float]], width: float, colour: Colour) -> None:
        """Draw a polyline; ``width`` too is a fraction of the side."""
        self.draw.line([(x * self.side, y * self.side) for x, y in points], fill=colour, width=max(1, round(width * self.side)))


def _shade(rng: Generator, colour: Colour, spread: int = 14) -> Colour:
    """Return ``colour`` slightly lighter or darker: one random offset for all channels."""
    offset = int(rng.integers(-spread, spread + 1))
    red, green, blue = (min(255, max(0, channel + offset)) for channel in colour)
    return red, green, blue


def _ridge(rng: Generator, base: float, height: float, points: int) -> list[tuple[float, float]]:
    """Return a random ridge line from the left to the right edge, closed along the bottom."""
    xs = np.linspace(0, 1, points)
    ys = base - height * rng.random(points)
    return [(0.0, 1.0), *((float(x), float(y)) for x, y in zip(xs, ys, strict=True)), (1.0, 1.0)]


def _wave(rng: Generator, base: float, height: float, cycles: float) -> list[tuple[float, float]]:
    """Return a sine wave from the left to the right edge, closed along the bottom."""
    xs = np.linspace(0, 1, 33)
    ys = base + height * np.sin(2 * np.pi * (cycles * xs + rng.random()))
    return [(0.0, 1.0), *((float(x), float(y)) for x, y in zip(xs, ys, strict=True)), (1.0, 1.0)]


def _beach(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (150, 205, 240)))
    canvas.disc(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2), 0.08, (255, 236, 130))
    canvas.box(0, rng.uniform(0.32, 0.4), 1, 1, _shade(rng, (60, 140, 200)))
    canvas.polygon(_wave(rng, rng.uniform(0.52, 0.6), 0.025, 2), (235, 245, 250))
    canvas.polygon(_wave(rng, rng.uniform(0.58, 0.66), 0.025, 2), _shade(rng, (236, 212, 150)))


def _forest(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (168, 205, 190)))
    canvas.box(0, 0.66, 1, 1, _shade(rng, (86, 110, 52)))
    for x in np.linspace(0.02, 0.98, 7):
        left, top = float(x) + rng.uniform(-0.05, 0.05), rng.uniform(0.0, 0.2)
        canvas.box(left - 0.015, 0.5, left + 0.015, 0.74, (92, 64, 40))
        leaf = _shade(rng, (34, 92, 48), 20)
        canvas.polygon([(left, top), (left - 0.12, 0.62), (left + 0.12, 0.62)], leaf)


def _desert(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (250, 208, 150)))
    canvas.disc(rng.uniform(0.15, 0.85), 0.16, 0.09, (250, 240, 200))
    canvas.polygon(_wave(rng, 0.48, 0.07, 0.8), _shade(rng, (226, 160, 88)))
    canvas.polygon(_wave(rng, 0.62, 0.06, 1.0), _shade(rng, (208, 136, 66)))
    canvas.polygon(_wave(rng, 0.8, 0.05, 1.2), _shade(rng, (190, 116, 54)))


def _city(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (196, 204, 216)))
    x = 0.0
    while x < 1:
        width, top = rng.uniform(0.12, 0.2), rng.uniform(0.05, 0.4)
        canvas.box(x, top, x + width, 0.78, _shade(rng, (112, 112, 132), 26))
        for column in np.arange(x + 0.03, x + width - 0.03, 0.05):
            for row in np.arange(top + 0.04, 0.72, 0.08):
                if rng.random() < 0.6:
                    canvas.box(float(column), float(row), float(column) + 0.02, float(row) + 0.035, (248, 232, 150))
        x += width
    canvas.box(0, 0.78, 1, 1, _shade(rng, (92, 92, 98)))


def _mountains(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (182, 212, 238)))
    for x in (rng.uniform(0.05, 0.3), rng.uniform(0.4, 0.6), rng.uniform(0.7, 0.95)):
        peak, half = rng.uniform(0.08, 0.28), rng.uniform(0.28, 0.38)
        canvas.polygon([(x, peak), (x - half, 0.76), (x + half, 0.76)], _shade(rng, (118, 112, 128), 18))
        cap = 0.24
        canvas.polygon(
            [(x, peak), (x - half * cap, peak + (0.76 - peak) * cap), (x + half * cap, peak + (0.76 - peak) * cap)],
            (246, 248, 252),
        )
    canvas.polygon(_ridge(rng, 0.78, 0.05, 5), _shade(rng, (96, 130, 84)))


def _field(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (164, 216, 246)))
    cloud = rng.uniform(0.15, 0.85)
    for offset in (-0.08, 0.0, 0.08):
        canvas.disc(cloud + offset, 0.14, 0.06, (250, 250, 252))
    canvas.polygon(_wave(rng, 0.46, 0.04, 0.7), _shade(rng, (120, 188, 84)))
    for _ in range(22):
        canvas.disc(
            rng.random(), rng.uniform(0.56, 0.98), 0.014, [(244, 220, 70), (240, 240, 240), (226, 90, 110)][rng.integers(3)]
        )


def _snow(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (176, 192, 214)))
    canvas.polygon(_wave(rng, 0.52, 0.06, 0.7), _shade(rng, (222, 230, 242), 8))
    canvas.polygon(_wave(rng, 0.7, 0.04, 1.0), _shade(rng, (244, 247, 252), 6))
    for _ in range(26):
        canvas.disc(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.008, 0.016), (255, 255, 255))


def _night(canvas: Canvas, rng: Generator) -> None:
    sky = _shade(rng, (24, 26, 68), 8)
    canvas.box(0, 0, 1, 1, sky)
    for _ in range(24):
        canvas.disc(rng.random(), rng.uniform(0, 0.66), 0.008, (250, 246, 214))
    moon, height = rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.2)
    canvas.disc(moon, height, 0.085, (248, 240, 190))
    canvas.disc(moon + 0.04, height - 0.02, 0.075, sky)
    canvas.polygon(_ridge(rng, 0.76, 0.06, 6), _shade(rng, (12, 40, 44), 6))


def _road(canvas: Canvas, rng: Generator) -> None:
    canvas.box(0, 0, 1, 1, _shade(rng, (190, 222, 236)))
    horizon = rng.uniform(0.36, 0.44)
    canvas.box(0, horizon, 1, 1, _shade(rng, (132, 160, 92)))
    centre = rng.uniform(0.42, 0.58)
    canvas.polygon([(centre - 0.03, horizon), (centre + 0.03, horizon), (1.0, 1.0), (0.0, 1.0)], _shade(rng, (98, 98, 102)))
    for start in np.linspace(0, 0.8, 5):
        top, bottom = (horizon + (1 - horizon) * s**1.6 for s in (float(start), float(start) + 0.1))
        width = 0.004 + 0.03 * float(start)
        middle = centre + (0.5 - centre) * float(start)
        canvas.polygon(
            [(middle - width, bottom), (middle - width, top), (middle + width, top), (middle + width, bottom)], (246, 240, 210)
        )


def _room(canvas: Canvas, rng: Generator) -> None:
    walls: list[Colour] = [(216, 190, 170), (196, 206, 190), (226, 208, 160), (190, 186, 214)]
    canvas.box(0, 0, 1, 1, _shade(rng, walls[rng.integers(len(walls))]))
    canvas.box(0, 0.7, 1, 1, _shade(rng, (146, 98, 60)))
    for y in (0.78, 0.88):
        canvas.line([(0, y), (1, y)], 0.008, (116, 76, 46))
    canvas.box(0, 0.68, 1, 0.71, (240, 236, 228))
    left, top = rng.uniform(0.05, 0.65), rng.uniform(0.06, 0.12)
    canvas.box(left, top, left + 0.3, top + 0.3, (246, 244, 238))
    canvas.box(left + 0.02, top + 0.02, left + 0.28, top + 0.28, _shade(rng, (150, 204, 240)))
    canvas.line([(left + 0.15, top), (left + 0.15, top + 0.3)], 0.016, (246, 244, 238))
    canvas.line([(left, top + 0.15), (left + 0.3, top + 0.15)], 0.016, (246, 244, 238))


SCENERIES: dict[str, tuple[str, Callable[[Canvas, Generator], None]]] = {
    "beach": ("on the beach", _beach),
    "forest": ("in the forest", _forest),
    "desert": ("in the desert", _desert),
    "city": ("in the city", _city),
    "mountains": ("in the mountains", _mountains),
    "field": ("in a field", _field),
    "snow": ("in the snow", _snow),
    "night": ("at night", _night),
    "road": ("on the road", _road),
    "room": ("in a room", _room),
}
"""Scenery name → (phrase that places a subject there, painter)."""


def paint(scenery: str, size: int, rng: Generator) -> Image.Image:
    """Return a (size, size) RGB picture of ``scenery``, a key of :data:`SCENERIES`."""
    side = size * SUPERSAMPLING
    image = Image.new("RGB", (side, side))
    _, painter = SCENERIES[scenery]
    painter(Canvas(image=image, draw=ImageDraw.Draw(image), side=side), rng)
    return image.resize((size, size), Image.Resampling.BOX)
