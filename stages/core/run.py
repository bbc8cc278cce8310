"""How every stage starts and ends: alone in its folder, with checked parameters, and with errors in one line."""

import fcntl
import multiprocessing.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import InputError
from stages.core.files import lack_of_room, remove
from stages.core.interrupt import EXIT_CODE, MESSAGE, exit_at_once, on_interrupt, raise_once
from stages.core.params import Params
from stages.core.params_file import ParameterError, read_params
from stages.core.paths import LOCK, TEMPORARY

VARIABLE = "TMPDIR"  # names the folder for temporary files to child processes


def run(stage: Callable[[Params], None]) -> None:
    """Run a stage on params.yaml and exit.

    Exit codes: 0 done; 2 invalid parameters or input; 3 the disk or a quota is full; 130 interrupted. All but the first
    print one line. Any other error is a defect and shows its traceback.
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
        return _complain(f"{error}; finished work is kept, make room and run again", 3)
    return 0


def is_first_process() -> bool:
    """Return whether this is the first, or only, process of a stage; the first holds the lock for all of them."""
    return _rank() == "0"


def _rank() -> str:
    return os.environ.get("RANK", "0")  # set by torch's launcher


@contextmanager
def alone(name: str, *, wait: bool = True) -> Iterator[None]:
    """Wait until no other stage works in this folder; the system holds the lock and frees it when the process ends.

    Args:
        name: the stage, shown to whoever has to wait.
        wait: whether to wait for the other stage.

    Raises:
        InputError: another stage is at work, and ``wait`` is false.
    """
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
            other = file.read() or "a stage"
            if not wait:
                raise InputError(f"{name}: {other} is at work in this folder; try again when it has ended") from None
            print(f"waiting for {other} to end: one at a time in a folder", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{name} (process {os.getpid()})")
        file.flush()
        with _temporary_files_in(TEMPORARY):
            yield


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Send temporary files of libraries and child processes to ``folder``, emptied before (after a kill) and after.

    Only multiprocessing keeps its sockets in the system's folder: a socket's address may have 108 bytes at most.
    """
    multiprocessing.util.get_temp_dir()
    remove(folder)
    folder.mkdir(parents=True)
    default, inherited = tempfile.tempdir, os.environ.get(VARIABLE)
    os.environ[VARIABLE] = tempfile.tempdir = str(folder.absolute())
    try:
        yield
    finally:
        tempfile.tempdir = default
        if inherited is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = inherited
        remove(folder)


def set_threads(threads: int | None) -> None:
    """Limit torch to so many processor threads, to deterministic algorithms, and fp32 to all its digits.

    Args:
        threads: of this process; None: one a core, divided among the processes that ``accelerate launch`` starts on a machine.
    """
    import torch

    from stages.core.executors.machine import cores

    count = threads or max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(count)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.allow_tf32 = False  # by default convolutions use it, though products of matrices do not


def _complain(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
