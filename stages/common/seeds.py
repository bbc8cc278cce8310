"""Random seeds that depend on what is drawn, never on the order in which it is drawn."""

import hashlib


def derive_seed(seed: int, *key: str | int) -> int:
    """Return a seed in [0, 2**63) that belongs to ``key`` alone.

    Two draws with different keys are independent, and a draw is the same whether it is the first of a run, the
    last, or the only one after a resume.

    Args:
        seed: the seed of the whole pipeline.
        key: what the draw is for, for example ``("mutate", "000000012")``.
    """
    text = "\x1f".join([str(seed), *map(str, key)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
