"""``python -m stages.studies.true_size``: run the paper preset's models at true size, and write reports/true_size.md.

The models have random weights, so the results are noise; what counts is that every stage runs, how long it takes, and the
memory it needs. Everything lies below data/true_size (30 GB), which is removed at the end.
"""

import os
import platform
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from multiprocessing import get_context
from pathlib import Path

import torch

from stages.core.files import write_text
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.paths import TRUE_SIZE, TRUE_SIZE_REPORT
from stages.core.run import run
from stages.studies.true_size.checkpoints import write_checkpoints
from stages.studies.true_size.networks import count_parameters, parameter_lines
from stages.studies.true_size.stages import run_stages, stage_lines


def true_size(params: Params) -> None:  # noqa: ARG001 - it composes its own
    """Print and write the tables of parameters, of stages and, where there is a GPU, of throughputs."""
    lines = [*parameter_lines(count_parameters()), ""]
    print("\n".join(lines), flush=True)
    shutil.rmtree(TRUE_SIZE, ignore_errors=True)
    # A process of its own: Linux counts what a process holds as the peak memory of the stages that it starts.
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        models = alone.submit(write_checkpoints, TRUE_SIZE / "models").result()
    project = TRUE_SIZE / "project"
    lines += [_machine(), "", *stage_lines(run_stages(project, models, os.cpu_count() or 1)), ""]
    for line in _throughputs(project):
        print(line, flush=True)
        lines.append(line)
    write_text(TRUE_SIZE_REPORT, "\n".join(lines) + "\n")
    shutil.rmtree(TRUE_SIZE)


def _throughputs(project: Path) -> Iterator[str]:
    if not torch.cuda.is_available():
        yield "Throughputs on a GPU: not measured."
        return
    from stages.studies.true_size.throughput import throughput_lines

    with chdir(project):
        yield from throughput_lines(read_params())


def _machine() -> str:
    """Return a sentence about what the stages run on."""
    cores = f"{os.cpu_count()} cores ({platform.machine()})"
    return f"On {f'{torch.cuda.get_device_name()} and ' if torch.cuda.is_available() else ''}{cores}, sixteen photographs:"


if __name__ == "__main__":
    run(true_size)
