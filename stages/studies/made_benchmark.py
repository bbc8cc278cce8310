"""All systems on the made benchmark, in PIE-Bench's format: ``python -m stages.studies.made_benchmark``.

It resumes after an interruption.
"""

from stages.benchmarks.run import SHOWN, run_benchmark
from stages.core.params import Params
from stages.core.paths import REPORTS
from stages.core.run import run, set_threads

MADE = REPORTS / "benchmarks" / "made"


def made_benchmark(params: Params) -> None:
    """Write the tables and the first pictures to ``reports/latest/benchmarks/made``, and print the tables."""
    set_threads(params.threads)
    print(run_benchmark("made", None, params, systems=tuple(SHOWN), limit=None, out=MADE))


if __name__ == "__main__":
    run(made_benchmark)
