"""How every stage starts and ends: alone in its folder, parameters checked, errors in one line."""

import fcntl
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import InputError
from stages.core.files import lack_of_room, remove
from stages.core.interrupt import EXIT_CODE, MESSAGE, exit_at_once, on_interrupt, raise_once
from stages.core.params import ParameterError, Params, read_params

LOCK = Path("logs/lock")  # no out of DVC, and ignored by git; it says who holds it
TEMPORARY = Path("logs/tmp")  # where libraries put their temporary files, so that those of a killed stage can be found
VARIABLE = "TMPDIR"  # that tells the processes that a stage starts


def run(stage: Callable[[Params], None]) -> None:
    """Run a stage on params.yaml and exit.

    Exit codes: 0 done; 2 bad parameters or input; 3 the disk or a quota is full; 130 interrupted. All but the first are
    told in one line. Any other error is a defect and shows its traceback.
    """
    try:
        on_interrupt(raise_once)
        code = _run(stage)
        on_interrupt(exit_at_once)  # while the interpreter shuts down
    except KeyboardInterrupt:
        print(MESSAGE, file=sys.stderr)
        code = EXIT_CODE
    sys.exit(code)


def _run(stage: Callable[[Params], None]) -> int:
    try:
        params = read_params()
        with alone(stage.__name__):
            stage(params)
    except (ParameterError, InputError) as error:
        return _complain(str(error), 2)
    except OSError as error:
        if not lack_of_room(error):
            raise
        return _complain(f"{error}; what is whole is kept, make room and run again", 3)
    return 0


def is_first_process() -> bool:
    """Tell whether this is the first of the processes of a stage, or its only one; the first has the lock for all."""
    return _rank() == "0"


def _rank() -> str:
    return os.environ.get("RANK", "0")  # as torch's launcher names it


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Wait until no other stage is at work in this folder; the lock is the system's, so it goes with its process."""
    if not is_first_process():
        with _temporary_files_in(TEMPORARY.with_name(f"{TEMPORARY.name}-{_rank()}")):
            yield
        return
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"waiting for {file.read() or 'another stage'} to end: one at a time in a folder", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{name} (process {os.getpid()})")
        file.flush()
        with _temporary_files_in(TEMPORARY):
            yield


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Keep what libraries, and the processes that they start, write for a moment in a folder of this process.

    None of it is left, nor what a kill left.
    """
    remove(folder)
    folder.mkdir(parents=True)
    before, told = tempfile.tempdir, os.environ.get(VARIABLE)
    os.environ[VARIABLE] = tempfile.tempdir = str(folder.absolute())
    try:
        yield
    finally:
        tempfile.tempdir = before
        if told is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = told
        remove(folder)


def set_threads(threads: int) -> None:
    """Let torch use so many threads of the processor, and only algorithms that give the same again."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


def _complain(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
