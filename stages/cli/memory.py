"""``iedit memory``: the GPU memory that each stage takes with the networks of preset=paper."""

import argparse
import os

from stages.core.composition import compose_params
from stages.core.executors.machine import VISIBLE


def memory(options: argparse.Namespace) -> None:
    """Print the peak of every stage that uses a GPU, and of an edit, and which GPUs have room for it.

    Raises:
        InputError: a choice is refused.
    """
    params = compose_params("preset=paper", *options.choices)
    os.environ[VISIBLE] = ""  # the stages' own code would move to a GPU what has no numbers

    from stages.models.families import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
    from stages.studies.memory import GPUS, RESERVE, fits, peaks

    family = STABLE_DIFFUSION_XL if options.xl else STABLE_DIFFUSION
    print(f"{'':10}{'peak':>8} " + "".join(f"{f'{name} {size / 1e9:.0f} GB':>12}" for name, size in GPUS.items()))
    for stage, peak in peaks(params, family):
        room = fits(peak)
        cells = "".join(f"{'fits' if name in room else '-':>12}" for name in GPUS)
        print(f"{stage:10}{peak / 1e9:5.1f} GB {cells}", flush=True)
    print(f"\nComputed, not measured. A GPU fits where {RESERVE / 1e9:.0f} GB more is left. docs/memory.md says what counts.")
