"""What DVC and Prefect add to the stages' own time: ``python -m tests.ops.overhead [--full]``.

Runs the same pipeline twice, each time from nothing and in its own copy of the project: by ``dvc repro``, where a wrapper
of Python clocks every stage so that both times are of one run, and by a Prefect worker whose servers are up. Both add about
the same to a long run as to a short one, so the small project is enough; ``--full`` runs the embedded default.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from stages.__main__ import STAGES
from tests.ops.platform import started
from tests.support.small_project import ROOT, make_project, run

# Comes before the real Python in PATH; its third argument is the stage.
CLOCK = """#!/bin/sh
before=$(date +%s.%N)
{python} "$@"
code=$?
echo "$3 $before $(date +%s.%N)" >> {times}
exit $code
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ops.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the embedded default instead of the small project")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dvc, prefect = (copy_of_project(Path(folder) / name / "iedit", full=options.full) for name in ("dvc", "prefect"))
        clock, times = dvc.parent / "clock", dvc.parent / "times"
        clock.mkdir()
        (clock / "python").write_text(CLOCK.format(python=sys.executable, times=times))
        (clock / "python").chmod(0o755)
        before = time.monotonic()
        run(dvc, "env", f"PATH={clock}:{os.environ['PATH']}", sys.executable, "-m", "dvc", "repro")
        repro = time.monotonic() - before
        stages = own_work(times)
        print(f"dvc repro: {repro:.1f} s; its stages alone: {stages:.1f} s; ratio {repro / stages:.3f}", flush=True)
        with started(prefect) as platform:
            run_id = platform.order("pipeline/on-demand")
            assert platform.end_of(run_id) == "Completed", platform.log(run_id)
            flow = platform.ask(f"flow_runs/{run_id}", method="GET")["total_run_time"]
        print(f"through Prefect: {flow:.1f} s; ratio to dvc repro {flow / repro:.3f}")


def copy_of_project(project: Path, *, full: bool) -> Path:
    """Make a copy of the project, small or with its own parameters, and return its folder."""
    make_project(project)
    if full:
        for name in ("params.yaml", "conf/config.yaml"):
            shutil.copy(ROOT / name, project / name)
    return project


def own_work(times: Path) -> float:
    """Return the seconds that the processes of the stages took, summed; those of `code` and `wordnet` are no stage's."""
    clocked = [words for words in map(str.split, times.read_text().splitlines()) if words[0] in STAGES]
    seconds = {name: float(end) - float(start) for name, start, end in clocked}
    assert set(seconds) == set(STAGES), seconds
    return sum(seconds.values())


if __name__ == "__main__":
    main()
