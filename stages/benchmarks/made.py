"""A benchmark of the embedded world in PIE-Bench's format, from the combinations of thing and place that no training sees.

Six of PIE-Bench's ten kinds of edit can be said in the world's words: changing, adding and deleting an object, its size (a
change of content), its colour, and the background. It has no poses, materials or styles.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from stages.benchmarks import run_length
from stages.benchmarks.pie_bench import KINDS, MAPPING, PICTURES
from stages.common.seeds import derive_seed
from stages.core.files import written_aside
from stages.core.params import CaseSplit
from stages.corpus.drawing import render
from stages.corpus.held_out import ATTEMPTS, Relation, case_combinations, edited, terms_of
from stages.corpus.scenery import SCENERIES, paint
from stages.corpus.world import Scene, draw_scene_of, with_article

REACH = 1 / 32  # of the side: how far a mask reaches around a thing, as one by hand does
Combination = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class _Edit:
    """An edit of a scene; without a scene there is only the background of the other."""

    source: Scene | None
    target: Scene | None
    source_term: str
    term: str


Draw = Callable[[Scene, tuple[Combination, ...], np.random.Generator], _Edit | None]
"""(scene, combinations, draws) → an edit of it, or None if it has nothing of that kind to change."""


def write_made_benchmark(folder: Path, cases: int, *, size: int, seed: int, split: CaseSplit = "evaluation") -> None:
    """Write a folder in PIE-Bench's format, whole or not at all; the kinds of edit take turns.

    Args:
        folder: where to.
        cases: how many.
        size: pixels a side.
        seed: decides the cases.
        split: of the held-out combinations: those to report on, or those to choose settings on.
    """
    with written_aside(folder) as temporary:
        entries = {}
        for index in range(cases):
            kind = list(DRAWS)[index % len(DRAWS)]
            key = f"{kind}{index:011d}"
            edit, shown = _draw(kind, index, seed, split)
            name = f"{kind}_{KINDS[kind].replace(' ', '_')}/{key}.png"
            picture, mask = _picture_and_mask(kind, edit, shown, size)
            path = temporary / PICTURES / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
            entries[key] = {
                "image_path": name,
                "original_prompt": _prompt(edit.source, shown, edit.source_term),
                "editing_prompt": _prompt(edit.target, shown, edit.term),
                "editing_instruction": _instruction(kind, edit),
                "editing_type_id": kind,
                "blended_word": "",
                "mask": run_length.encode(mask),
            }
        text = json.dumps(entries, ensure_ascii=False)  # in this order, which readers keep
        (temporary / MAPPING).write_text(text + "\n", encoding="utf-8")


def _draw(kind: str, index: int, seed: int, split: CaseSplit) -> tuple[_Edit, Scene]:
    """Return an edit and the scene it was drawn from.

    Raises:
        RuntimeError: the world has too few held-out combinations.
    """
    pool = case_combinations(split)
    for attempt in range(ATTEMPTS):
        key = ("benchmark", split, f"{index}/{attempt}")
        scene = draw_scene_of(pool, derive_seed(seed, *key))
        edit = DRAWS[kind](scene, pool, np.random.default_rng(derive_seed(seed, "edit", *key)))
        if edit is not None:
            return edit, scene
    raise RuntimeError(f"no case {index} ({KINDS[kind]}) in {ATTEMPTS} attempts: the world has too few held-out combinations")


def _change(relation: Relation, scene: Scene, pool: tuple[Combination, ...], rng: np.random.Generator) -> _Edit | None:
    target = edited(scene, relation, pool, rng)
    if target is None:
        return None
    source_term, term = terms_of(relation, scene, target)
    return _Edit(source=scene, target=target, source_term=source_term, term=term)


def _add(scene: Scene, _: tuple[Combination, ...], __: np.random.Generator) -> _Edit:
    return _Edit(source=None, target=scene, source_term="", term=scene.subject)


def _delete(scene: Scene, _: tuple[Combination, ...], __: np.random.Generator) -> _Edit:
    return _Edit(source=scene, target=None, source_term=scene.subject, term="")


def _change_background(scene: Scene, pool: tuple[Combination, ...], rng: np.random.Generator) -> _Edit | None:
    places = [s for n, s in pool if n == scene.noun and s != scene.scenery]
    if not places:
        return None
    target = replace(scene, scenery=str(rng.choice(places)))
    return _Edit(source=scene, target=target, source_term=SCENERIES[scene.scenery][0], term=SCENERIES[target.scenery][0])


DRAWS: dict[str, Draw] = {
    "1": partial(_change, "noun"),
    "2": _add,
    "3": _delete,
    "4": partial(_change, "size"),
    "6": partial(_change, "colour"),
    "8": _change_background,
}
"""editing_type_id → how such an edit is drawn, in the order in which kinds take turns."""


def _picture_and_mask(kind: str, edit: _Edit, shown: Scene, size: int) -> tuple[Image.Image, NDArray[np.bool_]]:
    """Return the source, and where it may change.

    That is around the thing before and after with its shadow, or, for a background, all but the thing.
    """
    pictures = [_render(scene, shown, size) for scene in (edit.source, edit.target)]
    things = [np.asarray(render(scene, size)[1]) > 0 for scene in (edit.source, edit.target) if scene is not None]
    if KINDS[kind] == "change background":
        return pictures[0], ~things[0]
    changes = (np.asarray(pictures[0]) != np.asarray(pictures[1])).any(axis=-1)
    marked = np.logical_or.reduce([changes, *things])
    return pictures[0], ndimage.binary_dilation(marked, iterations=max(1, round(REACH * size)))


def _render(scene: Scene | None, shown: Scene, size: int) -> Image.Image:
    """Return the picture of a scene; for no scene the background of the one that is shown."""
    if scene is None:
        return paint(shown.scenery, size, np.random.default_rng(shown.background_seed))
    return render(scene, size)[0]


def _prompt(scene: Scene | None, shown: Scene, term: str) -> str:
    """Return the caption of a scene with brackets around the term; for no scene the place of the one that is shown."""
    if scene is None:
        return SCENERIES[shown.scenery][0]
    return scene.caption.replace(term, f"[{term}]", 1)


def _instruction(kind: str, edit: _Edit) -> str:
    match KINDS[kind]:
        case "add object":
            return f"add {with_article(edit.term)}"
        case "delete object":
            return f"remove the {edit.source_term}"
        case "change background":
            return f"put it {edit.term}"
        case _:
            return f"change the {edit.source_term} to {with_article(edit.term)}"
