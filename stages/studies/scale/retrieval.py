"""How retrieval grows on synthetic embeddings, and what its index gives up for its speed."""

from pathlib import Path
from typing import Any

from stages.core.composition import compose_params
from stages.studies.scale.figures import exponent
from stages.studies.scale.synthetic import measure_pools, measure_synthetic

SIZES = (10_000, 30_000, 100_000, 300_000)
MILLION = 1_000_000
POOLED, POOLS = 100_000, (1, 3, 10, 30, 100)  # images, and sizes of pools in shards of a thousand; the last one has all


def measure_retrieval(folder: Path) -> dict[str, Any]:  # noqa: ARG001 - every size has a folder of its own
    """Return the figures at each size, the exponents of CPU time and memory, and recall and speed at a million."""
    config = compose_params("preset=embedded", "source=openmoji").retrieve
    runs = [measure_synthetic(size, config) for size in SIZES]
    return {
        "images": list(SIZES),
        "runs": runs,
        "exponent": exponent(SIZES, [run["cpu_seconds"]["all"] for run in runs]),
        "memory_exponent": exponent(SIZES, [run["memory"] for run in runs]),
        "million": measure_synthetic(MILLION, config, speed=True),
        "pools": measure_pools(POOLED, config, POOLS),
    }
