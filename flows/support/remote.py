"""A remote of DVC for the schedule alone, which nights can prune: ``IEDIT_REMOTE=FOLDER python -m flows.support.remote``.

The project's default remote is every clone's, so it is not pruned and grows with each night. This one is known to DVC's local
configuration only, which git ignores, so no other clone pushes to it.
"""

import errno
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.core.composition import apply_choices, check_composed
from stages.core.errors import InputError, first_line
from stages.core.params_file import read_params
from stages.tracking.data_retention import in_one_line
from stages.tracking.errors import without_credentials

NAME = "schedule"
NEW_DISK, PROBE = "lost+found", "iedit-probe"
GROWS = (
    "DVC's remote is not pruned, because other clones may push to it, and grows with every night: "
    "IEDIT_REMOTE=/srv/iedit-dvc make deploy gives the schedule an empty folder, or a URL, of its own, which is"
)


def use_remote(address: str) -> None:
    """Make a place the default remote of this folder, and let ``iedit prune`` and the nights prune it.

    Args:
        address: a folder, or a URL as DVC takes it. Nothing is changed if it is that of the schedule's remote.

    Raises:
        InputError: it is not empty, so it may be another's, lies in the project, or cannot be used; or params.yaml is not
            what conf/ composes to.
    """
    shown = f"IEDIT_REMOTE = {without_credentials(address)}"
    try:
        url, is_url = _place_of(address)
    except ValueError as error:
        raise InputError(f"{shown}: is no URL: {first_line(error)}") from error
    if Path(url).is_relative_to(Path.cwd()):
        raise InputError(f"{shown}: lies in the project's folder; name one outside of it")
    check_composed()  # the choice composes params.yaml anew, which must lose no value
    with Repo() as repo:
        remotes = repo.config["remote"]
        ours = remotes.get(NAME, {})
        if (repo.config["core"].get("remote"), ours.get("url")) != (NAME, url):
            remotes[NAME] = {"url": url}  # in memory, to look there
            with in_one_line(f"{shown}: cannot be used"):
                is_empty = _is_empty_remote(repo) if is_url else _is_empty_folder(Path(url))
            if not is_empty:
                raise InputError(
                    f"{shown}: is not empty, so it may be another's; name an empty place, or, if it is this schedule's: "
                    f"dvc remote add --local --default {NAME} URL"
                )
            with repo.config.edit("local") as local:
                local["remote"][NAME] = {"url": url}  # options of another place may not be allowed here
                local["core"]["remote"] = NAME
    if read_params().upkeep.prune_remote != NAME:
        apply_choices([f"upkeep.prune_remote={NAME}"])


def _place_of(address: str) -> tuple[str, bool]:
    """Return the absolute path of a folder, or a URL as it is, and whether it is a URL.

    Raises:
        ValueError: it is a URL that cannot be read.
    """
    parts = urlsplit(address)
    if "://" in address and parts.scheme != "file":
        return address, True
    path = url2pathname(parts.path) if parts.scheme == "file" else address
    return str(Path(path).expanduser().resolve()), False


def _is_empty_folder(folder: Path) -> bool:
    """Return whether a folder, which is made if it is not there, has nothing but what a new disk has.

    Raises:
        OSError: it cannot be made, is a file, or cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return all(path.name == NEW_DISK for path in folder.iterdir())


def _is_empty_remote(repo: Repo) -> bool:
    """Return whether the schedule's remote, which is no folder, is empty.

    Where it looks empty, an object is written there and removed, because a server that is away looks so too.

    Raises:
        OSError, ImportError, or another error of the library that reaches it: that cannot be done.
    """
    remote = repo.cloud.get_remote(NAME, "deploy")
    if remote.fs.exists(remote.path) and remote.fs.ls(remote.path, detail=False):
        return False
    probe = remote.fs.join(remote.path, PROBE)
    try:
        remote.fs.pipe_file(probe, b"")
        remote.fs.rm_file(probe)
    except NotImplementedError as error:
        raise OSError(f"objects cannot be written and removed by {remote.fs.protocol}") from error
    return True


def is_unpruned() -> bool:
    """Return whether data are pushed to a remote that no night prunes."""
    with Repo() as repo:
        remote = repo.config["core"].get("remote")
    return remote not in (None, read_params().upkeep.prune_remote)


def main() -> None:
    """Use the remote that IEDIT_REMOTE names, or exit with one line; without the variable, name a remote that is not pruned."""
    try:
        if address := os.environ.get("IEDIT_REMOTE"):
            use_remote(address)
        elif is_unpruned():
            print(GROWS)
    except (InputError, DvcException, OSError) as error:
        sys.exit(f"error: {first_line(error)}")


if __name__ == "__main__":
    main()
