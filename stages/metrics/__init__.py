"""How good edits are: the functions that measure, the table of metrics, the scores, and how certain they are."""
