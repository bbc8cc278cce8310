"""How reports speak: the names of systems and masks, and the definitions in the caption of every table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stages.core.paths import INSTRUCT_PIX2PIX
from stages.metrics.intervals import MIN_CASES

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
    "Edit success is the share of edits whose edited region the judge names by the target term, chosen among all terms that"
    " could stand there."
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
GIVEN_NAMES = NAMES | {"inpainting": "Inpainting (given masks)"}
SEGMENTED_MASKS = Wording(
    names=GIVEN_NAMES,
    mask="given mask",
    note="The cases are pairs of the corpus that were put aside; their masks come from `segment.model`, and inpainting is given"
    " these masks.",
)


def wording_of(metrics: Mapping[str, Any]) -> Wording:
    """Return how to speak of the stage evaluate's results, given the content of metrics.json."""
    wording = SEGMENTED_MASKS if metrics.get("masks") == "segmented" else TRUE_MASKS
    instructed = metrics.get("models", {}).get("instruct_pix2pix", {}).get("name", str(INSTRUCT_PIX2PIX))
    if instructed == str(INSTRUCT_PIX2PIX):
        return wording
    note = f"InstructPix2Pix is {instructed}, which was trained on other data and gets instructions instead of descriptions."
    return replace(wording, note=f"{wording.note} {note}".strip())


def too_few(cases: int) -> str:
    """Return a sentence about results that are no evidence, because they are of fewer cases than MIN_CASES; else ""."""
    if cases >= MIN_CASES:
        return ""
    return (
        f"n = {cases}, fewer than {MIN_CASES} cases: no interval is shown, nothing is marked as best, no claim is judged. "
        "For more cases raise retrieve.held_out, or add images."
    )
