"""``iedit plan``: what a corpus of any size costs, from the rates that `make scale` measured."""

import argparse

from stages.core.errors import InputError
from stages.studies.scale.plan import GPUS, Cluster, plan, table
from stages.studies.scale.rates import embedded_rates, paper_rates, read_figures

MOST = {"images": 1e12, "machines": 1e5, "cores": 1e4, "gpus": 1e3}
LEAST_SHARE = 0.001  # of a GPU for a worker


def run_plan(options: argparse.Namespace) -> None:
    """Print time, machine hours, disk and memory of every stage that grows with the corpus.

    Raises:
        InputError: a number is out of range, or reports/scale.json is missing.
    """
    for name, most in MOST.items():
        value = getattr(options, name)
        if value is not None and not 1 <= value <= most:
            raise InputError(f"--{name} = {value:g}: must be from 1 to {most:g}")
    share = _share(options)
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
        workers_per_gpu=int(1 / share),
    )
    print(table(plan(rates, options.images, cluster)))
    shared = (
        f", each with {cluster.gpus} {cluster.gpu} and {_counted(cluster.model_workers, 'worker')} for models"
        if cluster.gpus
        else ""
    )
    machines = f"{_counted(cluster.machines, 'machine')} of {_counted(cluster.cores, 'core')}"
    print(f"\nPreset {options.preset}, {machines}{shared}.", end=" ")
    print("The dataset's page, training, evaluation and DVC's own work are left out. docs/scale.md has the assumptions.")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number > 1)}"


def _share(options: argparse.Namespace) -> float:
    """Return the share of a GPU for a worker."""
    if options.gpus_per_worker is None:
        return 1.0
    if not GPUS[options.gpu]:
        raise InputError(f"--gpus-per-worker = {options.gpus_per_worker:g}: needs --gpu, which says what they are")
    share: float = options.gpus_per_worker
    if not LEAST_SHARE <= share <= 1:
        raise InputError(f"--gpus-per-worker = {share:g}: must be from {LEAST_SHARE:g} to 1")
    return share


def _gpus(options: argparse.Namespace) -> int:
    """Return the number of GPUs of each machine."""
    if not GPUS[options.gpu]:
        if options.gpus is not None:
            raise InputError(f"--gpus = {options.gpus}: needs --gpu, which says what they are")
        return 0
    return 1 if options.gpus is None else int(options.gpus)
