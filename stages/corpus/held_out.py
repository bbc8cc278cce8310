"""Held-out edits of the embedded world, with true targets and true masks.

Each held-out (noun, scenery) combination belongs to one of two splits: validation, to choose settings on, and evaluation,
whose results are reported.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from stages.common.seeds import derive_seed
from stages.core.params import CaseSplit
from stages.corpus.alt_texts import alt_text_of
from stages.corpus.drawing import render
from stages.corpus.samples import EditSample
from stages.corpus.world import COLOURS, SIZES, Scene, combinations, draw_scene_of, nouns

VALIDATION_COMBINATIONS_SHARE = 0.35  # share of the held-out combinations
ATTEMPTS = 1000  # scenes drawn per case until one can be edited in the wanted way

Relation = Literal["noun", "colour", "size"]


@dataclass(frozen=True, kw_only=True)
class EditCase:
    """A held-out edit: change ``source`` into ``target``. No training sees the noun of either in that scenery."""

    relation: Relation  # what changes
    source: Scene
    target: Scene
    source_term: str
    edit_term: str


def case_combinations(split: CaseSplit) -> tuple[tuple[str, str], ...]:
    """Return the held-out (noun, scenery) combinations of ``split``; the two splits do not overlap."""
    limit = int(VALIDATION_COMBINATIONS_SHARE * 2**63)
    return tuple(
        combination
        for combination in combinations(held_out=True)
        if (derive_seed(0, "validation", *combination) < limit) == (split == "validation")
    )


def draw_case(seed: int, index: int, split: CaseSplit = "evaluation") -> EditCase:
    """Return edit case ``index`` of ``split``. Of ten cases, six change the noun, three the colour, one the size.

    Raises:
        RuntimeError: the world has too few held-out combinations.
    """
    pool = case_combinations(split)
    relation: Relation = "noun" if index % 10 < 6 else "colour" if index % 10 < 9 else "size"
    for attempt in range(ATTEMPTS if pool else 0):
        key = (split, f"{index}/{attempt}")
        rng = np.random.default_rng(derive_seed(seed, "case", *key))
        source = draw_scene_of(pool, derive_seed(seed, "case scene", *key))
        target = edited(source, relation, pool, rng)
        if target is not None:
            source_term, edit_term = terms_of(relation, source, target)
            return EditCase(relation=relation, source=source, target=target, source_term=source_term, edit_term=edit_term)
    raise RuntimeError(f"no held-out edit case {index} in {ATTEMPTS} attempts: the world has too few held-out combinations")


def edited(source: Scene, relation: Relation, pool: tuple[tuple[str, str], ...], rng: np.random.Generator) -> Scene | None:
    """Return ``source`` with one thing changed, or None if it has nothing of that kind to change.

    Args:
        source: what is edited.
        relation: what changes.
        pool: the (noun, scenery) combinations that it may become.
        rng: chooses among the changes.
    """
    if relation == "noun":
        group = nouns()[source.noun].group
        names = [n for n, s in pool if s == source.scenery and n != source.noun and nouns()[n].group == group]
        return replace(source, noun=str(rng.choice(names))) if names else None
    if relation == "colour":
        if source.adjective not in COLOURS:
            return None
        return replace(source, adjective=str(rng.choice([c for c in COLOURS if c != source.adjective])))
    other = {"small": "large", "large": "small"}.get(source.adjective)
    return None if other is None else replace(source, adjective=other)


def terms_of(relation: Relation, source: Scene, target: Scene) -> tuple[str, str]:
    """Return the words for the object before and after: its noun, with its adjective unless the noun is what changes."""
    return (source.noun, target.noun) if relation == "noun" else (source.subject, target.subject)


def candidates_of(relation: Relation, target: Scene) -> list[str]:
    """Return all terms of the world that could stand for the object after a change, that of the target among them.

    A change of size counts the noun alone, which names the middle size here and nothing else: an edit that stops half-way is
    then no success. A change of colour does not, because an object's natural colours are none of COLOURS.
    """
    if relation == "noun":
        return list(nouns())
    return [replace(target, adjective=adjective).subject for adjective in (COLOURS if relation == "colour" else SIZES)]


def render_case(seed: int, index: int, split: CaseSplit, size: int) -> EditSample:
    """Return edit case ``index`` of ``split`` as a sample with (size, size) pictures and true masks.

    The source mask is the object to change; for a change of size, the area that it covers at either size.
    """
    case = draw_case(seed, index, split)
    source, source_mask = render(case.source, size)
    target, target_mask = render(case.target, size)
    if case.relation == "size":
        source_mask = Image.fromarray(np.maximum(np.asarray(source_mask), np.asarray(target_mask)))
    return EditSample(
        key=f"{index:09d}",
        source=source,
        target=target,
        source_mask=source_mask,
        target_mask=target_mask,
        source_caption=case.source.caption,
        edit_prompt=case.target.caption,
        source_diff=case.source_term,
        target_diff=case.edit_term,
        target_alt_text=alt_text_of(case.target, seed, f"{split} case {index}"),
        metadata={"relation": case.relation, "candidates": candidates_of(case.relation, case.target)},
    )
