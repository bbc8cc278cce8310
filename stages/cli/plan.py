"""``iedit plan``: what a corpus of any size costs, from the rates that `make scale` measured."""

import argparse
import math

from stages.core.errors import InputError
from stages.studies.scale.plan import GPUS, Cluster, plan, table
from stages.studies.scale.rates import embedded_rates, paper_rates, read_figures


def run_plan(options: argparse.Namespace) -> None:
    """Print time, machine hours, disk and memory of every stage that grows with the corpus.

    Raises:
        InputError: a number is not positive, or reports/scale.json is missing.
    """
    for name in ("images", "machines", "cores", "gpus"):
        if not 0 < getattr(options, name) < math.inf:
            raise InputError(f"--{name} = {getattr(options, name):g}: must be above 0 and finite")
    if not 0 < options.gpus_per_worker <= 1:
        raise InputError(f"--gpus-per-worker = {options.gpus_per_worker:g}: must be above 0, to 1")
    gpus = options.gpus if GPUS[options.gpu] else 0
    if options.preset == "embedded" and gpus:
        raise InputError(f"--gpu = {options.gpu}: the embedded preset was measured without one; allowed is none")
    figures = read_figures()
    rates = paper_rates(figures) if options.preset == "paper" else embedded_rates(figures)
    cluster = Cluster(
        machines=options.machines,
        cores=options.cores,
        gpus=gpus,
        gpu=options.gpu,
        workers_per_gpu=int(1 / options.gpus_per_worker),
    )
    print(table(plan(rates, options.images, cluster)))
    print(f"\nPreset {options.preset}. Training and evaluation do not grow with the corpus. docs/scale.md has the assumptions.")
