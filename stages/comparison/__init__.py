"""The systems of Table 1, the cases, and every system's edits and scores of them."""
