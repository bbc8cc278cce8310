"""How every stage starts and ends: threads set, parameters checked, errors in one line."""

import os
import sys
from collections.abc import Callable

from stages.params import ParameterError, Params, read_params


class InputError(ValueError):
    """The input is not as it must be; the message is one line that names the thing, its value and what is allowed."""


def run(stage: Callable[[Params], None]) -> None:
    """Run a stage on params.yaml and exit.

    Exit codes: 0 done; 2 bad parameters or input, told in one line; 130 interrupted. Any other error is a defect and
    shows its traceback.
    """
    try:
        params = read_params()
        _set_threads(params.threads)
        stage(params)
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted; what is whole is kept, the next run goes on from there", 130))
    except (ParameterError, InputError) as error:
        sys.exit(_complain(str(error), 2))


def _set_threads(threads: int) -> None:
    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


def _complain(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
