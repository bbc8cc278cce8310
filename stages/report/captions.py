"""How reports speak: the names of systems and masks, and the definitions in the caption of every table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stages.core.paths import INSTRUCT_PIX2PIX
from stages.metrics.intervals import MIN_CASES

if TYPE_CHECKING:
    from stages.comparison.cases import Masks

NAMES = {
    "sdedit": "SDEdit",
    "inpainting": "Inpainting (true masks)",
    "instruct_pix2pix": "InstructPix2Pix",
    "iedit": "iEdit",
    "iedit_m": "iEdit-M",
}
"""System → its name in tables, in the order of their rows."""
TRAINING_FREE = {"diffedit": "DiffEdit", "prompt_to_prompt": "Prompt-to-Prompt"}
"""A system that only benchmarks have → its name."""
HOLDS = {True: "yes", False: "no", None: "not judged"}
"""Whether a claim holds → the word; None: too few cases to say."""
JUDGE = "The judge is a CLIP that scores the edits and that no system was trained against."
EDIT_SUCCESS = (
    "Edit success is the share of edits whose edited region the judge names by the target term, chosen among all that could"
    " stand there: every noun of the embedded world, or the noun in every colour or size; for cases of one's own, the terms of"
    " all cases with the same relation."
)
FAILED = (
    "A failed edit has an empty mask, so that its source comes out. It is no success, and its likeness to the source is left"
    " out; every other score, of an edit or of the whole set, counts the copy."
)
DRAFT = (
    "A draft is a first edit of the whole picture; where it shows the target term is added to a predicted mask"
    " (`sampling.mask_draft`)."
)
CREDITS = "Artwork of the embedded world: OpenMoji (openmoji.org), CC BY-SA 4.0."
DEFINITIONS = f"{JUDGE} {EDIT_SUCCESS} {DRAFT}"


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What a comparison calls its systems and the masks of its cases."""

    names: Mapping[str, str]  # system → its name
    mask: str  # heading of a column of masks
    note: str = ""  # one more sentence for the captions


TRUE_MASKS = Wording(names=NAMES, mask="true mask")
PUT_ASIDE = "The cases are pairs of the corpus that were put aside."
GIVEN_NAMES = NAMES | {"inpainting": "Inpainting (given masks)"}
REFEREED_NAMES = NAMES | {"inpainting": "Inpainting (referee's masks)"}


def names_for(masks: "Masks") -> Mapping[str, str]:
    """Return the names of the systems, given whose masks the cases have."""
    return REFEREED_NAMES if masks == "referee" else NAMES


def refereed(metrics: Mapping[str, Any], origin: str) -> Wording:
    """Return how to speak of results on cases with the referee's masks.

    Args:
        metrics: the content of metrics.json.
        origin: a sentence about the cases.
    """
    note = (
        f"{origin} Their masks are not true ones but the referee's (`evaluate.referee`), a segmenter that predicts masks for no"
        " system; inpainting is given these masks."
    )
    if left_out := metrics["left_out"]:
        total = left_out + metrics["cases"]
        note += f" Left out: {left_out:,} of {total:,}, in which the referee finds nothing, or the whole picture."
    return Wording(names=REFEREED_NAMES, mask="referee's mask", note=note)


def wording_of(metrics: Mapping[str, Any]) -> Wording:
    """Return how to speak of the stage evaluate's results, given the content of metrics.json."""
    wording = refereed(metrics, PUT_ASIDE) if metrics.get("masks") == "referee" else TRUE_MASKS
    instructed = metrics.get("models", {}).get("instruct_pix2pix", {}).get("name", str(INSTRUCT_PIX2PIX))
    if instructed == str(INSTRUCT_PIX2PIX):
        return wording
    note = f"InstructPix2Pix is {instructed}, which was trained on other data and gets instructions instead of descriptions."
    return replace(wording, note=f"{wording.note} {note}".strip())


def failed_edits(metrics: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return a sentence about how many edits of each system failed, and what that means; "" if none did.

    Args:
        metrics: the content of metrics.json, or its ``failed`` (system → edits that failed) and ``cases`` (their number).
            Results of versions that did not count failures have no such key.
        names: system → its name; others are left out.
    """
    failed = metrics.get("failed", {})
    shown = ", ".join(f"{name} {failed[system]}" for system, name in names.items() if failed.get(system))
    return f"Failed edits, of {metrics['cases']}: {shown}. {FAILED}" if shown else ""


def too_few(cases: int) -> str:
    """Return a sentence about results that are no evidence, because they are of fewer cases than MIN_CASES; else ""."""
    if cases >= MIN_CASES:
        return ""
    return (
        f"n = {cases}, fewer than {MIN_CASES} cases: no interval is shown, nothing is marked as best, no claim is judged. "
        "For more cases raise retrieve.held_out, or add images."
    )
