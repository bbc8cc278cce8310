"""``iedit benchmark``: the systems on a benchmark of the field, or on one's own cases."""

import argparse

from stages.core.errors import InputError
from stages.core.params_file import read_params
from stages.core.paths import REPORTS
from stages.core.run import alone, set_threads


def benchmark(options: argparse.Namespace) -> None:
    """Run the benchmark that the options name, and print its table.

    Raises:
        InputError: the folder or an option does not fit, a model is missing, or a picture cannot be read.
    """
    if options.cases is not None and options.cases < 1:
        raise InputError(f"--cases = {options.cases}: must be above 0")
    if options.data is None and options.name != "made":
        raise InputError(f"--data: name the folder that holds the data of {options.name}")
    if options.data is not None and not options.data.is_dir():
        raise InputError(f"--data {options.data}: no such folder")
    params = read_params()

    from stages.benchmarks.run import run_benchmark

    set_threads(params.threads)
    out = options.out or REPORTS / "benchmarks" / options.name
    with alone("benchmark"):
        print(
            run_benchmark(
                options.name,
                options.data,
                params,
                systems=list(dict.fromkeys(options.system)),
                limit=options.cases,
                out=out,
            )
        )
    print(f"table    {out / 'table.md'} and others beside it\npictures {out / 'sheet.png'}")
