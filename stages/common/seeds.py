"""Random seeds that depend on the purpose of a draw, never on the order of draws."""

import hashlib


def derive_seed(seed: int, *key: str | int) -> int:
    """Return the seed, in [0, 2**63), of the draw that ``key`` names.

    Draws with different keys are independent, and a draw is the same whether it comes first, last, or alone after a
    resume.

    Args:
        seed: the seed of the whole pipeline.
        key: the purpose of the draw, for example ``("mutate", "000000012")``.
    """
    text = "\x1f".join([str(seed), *map(str, key)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
