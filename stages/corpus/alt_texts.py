"""Alt texts of the embedded world, as the web writes them: shop titles, file names, hashtags, half sentences.

Most name the thing, fewer its colour or its place, some name the wrong thing or nothing, and none is a clean caption.
LAION's pictures, from which Stable Diffusion learnt, have texts of these kinds.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from stages.common.seeds import derive_seed
from stages.corpus import world

BRANDS = ("Velora", "Norvik", "Lumio", "Zentra", "Kodera", "Amsel")  # invented


@dataclass(frozen=True, kw_only=True)
class Template:
    """One kind of alt text.

    ``text`` may hold ``{noun}``, ``{subject}`` (the noun with its colour or size), ``{place}``, ``{other}`` and
    ``{another}`` (two nouns that the picture does not show), ``{brand}`` and ``{number}``.
    """

    share: int  # of a hundred texts
    text: str


TEMPLATES = (
    # Stock photographs and shops.
    Template(share=15, text="{subject}, {place}, stock photo {number}"),
    Template(share=5, text="{noun} {place} royalty free image {number}"),
    Template(share=9, text="Buy {subject} online - free shipping | {brand}"),
    Template(share=5, text="{brand} {subject} NEW, {number} in stock, sale"),
    # File names.
    Template(share=5, text="{noun}-{place}-{number}.jpg"),
    Template(share=4, text="{subject} {brand} {number}.png"),
    Template(share=4, text="IMG_{number}.jpg"),
    Template(share=3, text="untitled design ({number})"),
    # Social media.
    Template(share=7, text="my trip! #{place} #{noun} #photooftheday"),
    Template(share=4, text="#{noun} #{brand} #instagood"),
    # Galleries, wallpapers, collections: several things, or the place alone.
    Template(share=4, text="{place} wallpaper 1920x1080 HD"),
    Template(share=4, text="{place} gallery, {number} photos: {noun}, {other}, {another}"),
    Template(share=5, text="{noun}, {other} and {another} clipart, vector illustration"),
    # Half sentences.
    Template(share=4, text="we were so happy to see this {subject} and then"),
    Template(share=4, text="in the {place} when suddenly a {noun}"),
    # Other languages, which name what is shown in English.
    Template(share=4, text="photo d'un {noun}, vacances {place}"),
    Template(share=3, text="{noun} bild {number} kaufen"),
    Template(share=3, text="foto de {noun} en {place} gratis"),
    # The wrong thing.
    Template(share=3, text="{other} {place} photo {number}"),
    Template(share=2, text="Buy {other} online - {brand}"),
    Template(share=3, text="{noun} - Wikipedia"),
)


@cache
def _texts_of_a_hundred() -> tuple[str, ...]:
    """Return each template as often as it stands in a hundred texts."""
    return tuple(template.text for template in TEMPLATES for _ in range(template.share))


def alt_text(noun: str, subject: str, place: str, seed: int) -> str:
    """Return an alt text of a picture.

    Args:
        noun: the thing that the picture shows.
        subject: the noun with its colour or size, if it has one.
        place: the scenery around it.
        seed: decides the text; another seed gives another text of the same picture.
    """
    rng = np.random.default_rng(seed)
    texts = _texts_of_a_hundred()
    absent = [name for name in world.nouns() if name != noun]
    other, another = rng.choice(len(absent), size=2, replace=False)
    return texts[rng.integers(len(texts))].format(
        noun=noun,
        subject=subject,
        place=place,
        other=absent[other],
        another=absent[another],
        brand=BRANDS[rng.integers(len(BRANDS))],
        number=rng.integers(100, 9999),
    )


def alt_text_of(scene: world.Scene, seed: int, key: str) -> str:
    """Return the alt text of ``scene`` under the name ``key``: of a sample in a corpus, or of a case."""
    return alt_text(scene.noun, scene.subject, scene.scenery, derive_seed(seed, "alt text", key))
