"""A clean clone of the project's repository, and DVC at work in it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import InputError, first_line


@contextmanager
def clean_clone(commit: str, into: Path | None) -> Iterator[Path]:
    """Clone the repository that this process is in, check out a commit, and yield the clone's folder.

    Args:
        commit: the commit to check out.
        into: the folder of the clone, which stays; None is a temporary folder.

    Raises:
        InputError: the folder is not empty, or the repository does not have the commit.
    """
    if into is not None and into.exists() and any(into.iterdir()):
        raise InputError(f"--into {into}: is not empty")
    repository = _call(["git", "rev-parse", "--show-toplevel"], Path.cwd()).strip()
    with tempfile.TemporaryDirectory(prefix="iedit-") as temporary:
        clone = Path(into or Path(temporary) / "clone").absolute()
        _call(["git", "clone", "--quiet", "--no-checkout", repository, str(clone)], Path.cwd())
        _call(["git", "checkout", "--quiet", "--detach", commit], clone)
        yield clone


def run_dvc(clone: Path, *arguments: str) -> None:
    """Run a command of DVC in a clone, on the clone's code and with its own tracking store.

    Raises:
        InputError: the command failed.
    """
    _call([sys.executable, "-m", "dvc", *arguments], clone)


def _call(command: list[str], folder: Path) -> str:
    """Run a command in a folder and return its output.

    Raises:
        InputError: the command failed.
    """
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # dvc.yaml says "python"
        "PYTHONPATH": str(folder),  # the code of the clone
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "DVC_NO_ANALYTICS": "1",
    }
    environment.pop("DVC_ROOT", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if line.lower().startswith(("error", "fatal"))] or lines
        name = " ".join(command[:2] if command[0] == "git" else command[2:])
        raise InputError(f"{name}: {first_line(' '.join(errors[:2]))}")
    return done.stdout
