"""What the machinery costs: ``python -m tests.ops.overhead [--full]``.

The same pipeline, each time from nothing and in a copy of its own: the stages one after another with nothing around
them, then through ``dvc repro``, then through a Prefect worker whose servers are up. What DVC and Prefect add is nearly
the same for much work as for little, so seconds on the small project tell of the embedded default too; ``--full`` runs
that one, three times.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.ops.platform import started
from tests.small_project import ROOT, STAGES, make_project, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ops.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the embedded default instead of the small project")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        projects = [Path(folder) / name / "iedit" for name in ("stages", "dvc", "prefect")]
        for project in projects:
            make_project(project)
            if options.full:
                shutil.copy(ROOT / "params.yaml", project)
        bare, dvc, prefect = projects
        before = time.monotonic()
        for stage in STAGES:
            run(bare, sys.executable, "-m", "stages", stage)
        stages = tell("the stages alone", time.monotonic() - before)
        before = time.monotonic()
        run(dvc, "dvc", "repro")
        repro = tell("dvc repro", time.monotonic() - before, stages, "the stages alone")
        with started(prefect) as platform:
            run_id = platform.order("pipeline/on-demand")
            assert platform.end_of(run_id) == "Completed", platform.log(run_id)
            seconds = platform.ask(f"flow_runs/{run_id}", method="GET")["total_run_time"]
        tell("through Prefect", seconds, repro, "dvc repro")


def tell(what: str, seconds: float, base: float | None = None, name: str = "") -> float:
    """Print a time, and what it is of another."""
    against = "" if base is None else f", {seconds - base:+.1f} s, {seconds / base:.3f} of {name}"
    print(f"{what}: {seconds:.1f} s{against}", flush=True)
    return seconds


if __name__ == "__main__":
    main()
