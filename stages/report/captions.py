"""How systems are named, and the definitions in the caption of every table."""

NAMES = {
    "sdedit": "SDEdit",
    "inpainting": "Inpainting (true masks)",
    "instruct_pix2pix": "InstructPix2Pix",
    "iedit": "iEdit",
    "iedit_m": "iEdit-M",
}
"""System → its name in tables, in the order of their rows."""
JUDGE = "The judge is a CLIP that scores the edits and that no system was trained against."
EDIT_SUCCESS = (
    "Edit success is the share of edits whose edited region the judge names by the target term, chosen among all terms that"
    " could stand there."
)
DRAFT = (
    "A draft is a first edit of the whole picture; where it shows the target term is added to a predicted mask"
    " (`sampling.mask_draft`)."
)
DEFINITIONS = f"{JUDGE} {EDIT_SUCCESS} {DRAFT}"
