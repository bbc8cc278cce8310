"""Columns of the tables of edits and of pairs, which several stages share."""

EDIT_COLUMNS = ("caption", "edit_prompt", "source_term", "target_term", "relation", "source_diff", "target_diff")
EDITS_TABLE = dict.fromkeys(("key", *EDIT_COLUMNS), "string")
"""The table that mutate writes and retrieve reads: column → type."""

TEXT_COLUMNS = ("caption", "edit_prompt")
"""The texts of an edit that are embedded."""

SCORES = ("query", "image_image", "text_image", "text_source", "directional")
"""Cosines that a pair was chosen by, see :mod:`stages.pairing.neighbours`; a prompt that a reviewer has mended changes none."""

PLACE_COLUMNS = dict.fromkeys(("source_offset", "source_length", "target_offset", "target_length"), "int64")
"""Where the pictures of a pair lie in the tars of their shards, in bytes; the pair is the same wherever they lie."""

PICTURE_COLUMNS = {
    "target_alt_text": "string",
    "source_pixels": "string",  # digest
    "target_pixels": "string",
    "width": "int32",  # of both pictures, pixels
    "height": "int32",
    **PLACE_COLUMNS,
}
"""What the corpus holds of the pictures of a pair, so that they are read without any index."""

PAIR_COLUMNS = {
    "key": "string",
    "target_key": "string",
    "split": "string",  # "training" or "heldout"
    **dict.fromkeys(EDIT_COLUMNS, "string"),
    **dict.fromkeys(SCORES, "float32"),
    **PICTURE_COLUMNS,
}
"""The table that retrieve writes and segment reads: column → type."""
