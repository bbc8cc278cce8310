"""A remote of DVC for the schedule alone, which nights can prune: ``IEDIT_REMOTE=FOLDER python -m flows.support.remote``.

The project's default remote is every clone's, so it is not pruned and grows with each night. This one is known to DVC's local
configuration only, which git ignores, so no other clone pushes to it.
"""

import errno
import os
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.core.composition import apply_choices, check_composed
from stages.core.errors import InputError, first_line
from stages.core.params_file import read_params
from stages.tracking.data_retention import in_one_line
from stages.tracking.errors import without_credentials

NAME = "schedule"
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
    is_url = "://" in address
    url = address if is_url else str(Path(address).expanduser().resolve())
    if Path(url).is_relative_to(Path.cwd()):
        raise InputError(f"{shown}: lies in the project's folder; name one outside of it")
    check_composed()  # the choice composes params.yaml anew, which must lose no value
    with Repo() as repo:
        remotes = repo.config["remote"]
        ours = remotes.get(NAME, {})
        if (repo.config["core"].get("remote"), ours.get("url")) != (NAME, url):
            remotes[NAME] = {"url": url}  # in memory, to look there
            with in_one_line(f"{shown}: cannot be used"):
                if not is_url:
                    _make_folder(Path(url))
                place = repo.cloud.get_remote(NAME, "deploy")
                is_empty = not place.fs.exists(place.path) or not place.fs.ls(place.path, detail=False)
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


def _make_folder(folder: Path) -> None:
    """Make a folder unless it is there.

    Raises:
        OSError: it cannot be made, is a file, or cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


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
