"""``iedit plan``: what a corpus of any size costs, from the rates that `make scale` measured."""

import argparse

from stages.core.errors import InputError
from stages.studies.scale.plan import GPUS, Cluster, plan, table
from stages.studies.scale.rates import embedded_rates, paper_rates, read_figures

MOST = {"images": 1e12, "machines": 1e5, "cores": 1e4}
LEAST_SHARE = 0.001  # of a GPU for a worker


def run_plan(options: argparse.Namespace) -> None:
    """Print time, machine hours, disk and memory of every stage that grows with the corpus.

    Raises:
        InputError: a number is out of range, or reports/scale.json is missing.
    """
    for name, most in MOST.items():
        if not 1 <= getattr(options, name) <= most:
            raise InputError(f"--{name} = {getattr(options, name):g}: must be from 1 to {most:g}")
    if not LEAST_SHARE <= options.gpus_per_worker <= 1:
        raise InputError(f"--gpus-per-worker = {options.gpus_per_worker:g}: must be from {LEAST_SHARE:g} to 1")
    gpus = _gpus(options)
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
    shared = f", {cluster.gpus} {cluster.gpu} each and {cluster.workers_per_gpu} workers a GPU" if cluster.gpus else ""
    machines = f"{cluster.machines} machine{'s' * (cluster.machines > 1)} of {cluster.cores} cores"
    print(f"\nPreset {options.preset}, {machines}{shared}.", end=" ")
    print("Training and evaluation do not grow with the corpus. docs/scale.md has the assumptions.")


def _gpus(options: argparse.Namespace) -> int:
    """Return the number of GPUs of each machine."""
    if not GPUS[options.gpu]:
        if options.gpus is not None:
            raise InputError(f"--gpus = {options.gpus}: needs --gpu, which says what they are")
        return 0
    gpus: int = 1 if options.gpus is None else options.gpus
    if gpus < 1:
        raise InputError(f"--gpus = {gpus}: must be at least 1")
    return gpus
