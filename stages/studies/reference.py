"""Publish the results of this machine as the committed reference: ``python -m stages.studies.reference``.

Runs write to ``reports/latest``, which git ignores; README quotes ``reports``, which is committed.
"""

import shutil
from pathlib import Path

from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.core.params import Params
from stages.core.paths import REFERENCE, REPORTS
from stages.core.run import run

PUBLISHED = (
    "metrics.json",
    "cases.csv",
    "table.*",
    "pairs.*",
    "claims.md",
    "sheet.png",
    "samples/*",
    "generated/*",
    "tradeoff/*",
    "benchmarks/made/*",
    "tuning.*",
    "ablation.*",
    "benchmark.md",
    "serving.*",
)
"""Patterns of the committed files; the page report.html is too large to commit."""


def publish(results: Path = REPORTS, to: Path = REFERENCE) -> list[Path]:
    """Copy every published file of ``results`` to the same place below ``to``, and return the copies, sorted.

    A study that has not run here keeps its reference.

    Raises:
        InputError: there are no results.
    """
    found = sorted(path for pattern in PUBLISHED for path in results.glob(pattern) if path.is_file())
    if not found:
        raise InputError(f"{results}: nothing to publish; run the stage evaluate")
    copies = [to / path.relative_to(results) for path in found]
    for path, copy in zip(found, copies, strict=True):
        with written_aside(copy) as temporary:
            shutil.copyfile(path, temporary)
    return copies


def reference(_: Params) -> None:
    """Publish the results, and print which files were written."""
    print("\n".join(path.as_posix() for path in publish()))


if __name__ == "__main__":
    run(reference)
