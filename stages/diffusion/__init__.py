"""The mathematics of the paper: noise (Eq 2, 3, 7), losses (Eq 4-12) and masked sampling (Eq 13)."""
