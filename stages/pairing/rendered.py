"""True targets, which only the embedded world has: the source's scene, drawn again with the edit applied."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from stages.corpus import world
from stages.corpus.alt_texts import alt_text_of
from stages.corpus.drawing import render


def render_target(origin: Mapping[str, Any], edit: Mapping[str, Any], seed: int, size: int) -> tuple[Image.Image, str] | None:
    """Return the picture that an edit of a training scene should give, and its alt text.

    Return None if there is no such picture: the caption was wrong about the scene, so the edit is about something else;
    the world cannot draw the edit; or it would show a thing in a place that is held out from all training.

    Args:
        origin: the source's ``origin``, as ingest records it in the corpus.
        edit: its ``key``, ``source_term`` and ``target_term``.
        seed: the pipeline's seed.
        size: the picture's sides in pixels.
    """
    scene = world.draw_scene(seed, "train", int(origin["name"].rpartition("/")[2]))
    before, after = edit["source_term"], edit["target_term"]
    kinds = (world.COLOURS.keys(), {name for name in world.SIZES if name})
    if before == scene.noun and (after, scene.scenery) in world.combinations(held_out=False):
        target = replace(scene, noun=after)
    elif before == scene.adjective and any({before, after} <= kind for kind in kinds):
        target = replace(scene, adjective=after)
    else:
        return None
    return render(target, size)[0], alt_text_of(target, seed, f"target of {edit['key']}")
