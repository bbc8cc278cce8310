"""The tables of edits and of pairs, as far as more than one stage knows them."""

EDIT_COLUMNS = ("caption", "edit_prompt", "source_term", "target_term", "relation", "source_diff", "target_diff")
EDITS_TABLE = dict.fromkeys(("key", *EDIT_COLUMNS), "string")
"""What retrieve reads of the table that mutate writes."""

SCORES = ("query", "image_image", "text_image", "text_source", "directional")
PAIR_COLUMNS = {
    "key": "string",
    "target_key": "string",
    "split": "string",
    **dict.fromkeys(EDIT_COLUMNS, "string"),
    **dict.fromkeys(SCORES, "float32"),
}
"""The table of pairs, as retrieve writes it and segment reads it."""
