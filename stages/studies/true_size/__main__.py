"""``python -m stages.studies.true_size [PART …]``: run the paper preset at true size, and write reports/true_size.md.

The models have random weights, so the results are noise; what counts is that every stage runs, how long it takes, and the
memory it needs. Parts that are not named keep their figures. Everything lies below data/true_size (30 GB), which is removed
at the end.
"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from stages.core.errors import InputError
from stages.core.files import write_text
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.paths import TRUE_SIZE, TRUE_SIZE_REPORT
from stages.core.run import run
from stages.studies.true_size.checkpoints import write_checkpoints
from stages.studies.true_size.networks import count_parameters, parameter_lines
from stages.studies.true_size.stages import models_for, renewed, rows_lacking, run_stages, runs_for, stage_lines

HEAD = 2  # lines of a table before its rows


def true_size(parts: list[str], params: Params) -> None:  # noqa: ARG001 - it composes its own
    """Print and write the tables of parameters, of stages and, where there is a GPU, of throughputs; or the rows of some parts.

    Raises:
        InputError: there is no such part, or the report lacks rows to renew, or the other parts of this machine.
    """
    runs = runs_for(parts)
    before = TRUE_SIZE_REPORT.read_text(encoding="utf-8") if parts and TRUE_SIZE_REPORT.is_file() else ""
    if parts and _machine() not in before:
        raise InputError(f"{TRUE_SIZE_REPORT}: lacks the other parts, or was measured on another machine; measure all parts")
    lines = parameter_lines(count_parameters())
    if parts and (lacking := rows_lacking(before, lines[HEAD:], parts)):
        raise InputError(f"{TRUE_SIZE_REPORT}: has no row {lacking[0]!r} to renew; measure all parts")
    print("\n".join(lines), "\n", flush=True)
    shutil.rmtree(TRUE_SIZE, ignore_errors=True)
    # A process of its own: Linux counts what a process holds as the peak memory of the stages that it starts.
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        models = alone.submit(write_checkpoints, TRUE_SIZE / "models", models_for(runs)).result()
    project = TRUE_SIZE / "project"
    stages = stage_lines(run_stages(project, models, os.cpu_count() or 1, parts=parts))
    if parts:
        write_text(TRUE_SIZE_REPORT, renewed(before, [*lines[HEAD:], *stages[HEAD:]]))
    else:
        lines += ["", _machine(), "", *stages, ""]
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
    stage = partial(true_size, sys.argv[1:])
    stage.__name__ = "true_size"  # type: ignore[attr-defined]
    run(stage)
