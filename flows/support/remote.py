"""A remote of DVC for the schedule alone, which nights can prune: ``IEDIT_REMOTE=FOLDER python -m flows.support.remote``.

The project's default remote is every clone's, so it is not pruned and grows with each night. This one is known to DVC's local
configuration only, which git ignores, so no other clone pushes to it.
"""

import os
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.core.composition import apply_choices, check_composed
from stages.core.errors import InputError, first_line
from stages.core.params_file import read_params
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
        InputError: it has data, maybe another's, or lies in the project; or params.yaml is not what conf/ composes to.
        OSError: it cannot be reached.
        DvcException: DVC cannot use it.
    """
    url = address if "://" in address else str(Path(address).expanduser().resolve())
    if Path(url).is_relative_to(Path.cwd()):
        raise InputError(f"IEDIT_REMOTE = {address}: lies in the project's folder; name one outside of it")
    check_composed()  # the choice composes params.yaml anew, which must lose no value
    with Repo() as repo:
        remotes = repo.config["remote"]
        ours = remotes.get(NAME, {})
        if (repo.config["core"].get("remote"), ours.get("url")) != (NAME, url):
            remotes[NAME] = ours | {"url": url}  # in memory, to look there
            if any(True for _ in repo.cloud.get_remote_odb(NAME, "deploy").all()):
                raise InputError(
                    f"IEDIT_REMOTE = {without_credentials(address)}: has data already, which may be another's; name an empty "
                    f"place, or, if it is this schedule's: dvc remote add --local --default {NAME} URL"
                )
            with repo.config.edit("local") as local:
                local["remote"].setdefault(NAME, {})["url"] = url
                local["core"]["remote"] = NAME
    if read_params().upkeep.prune_remote != NAME:
        apply_choices([f"upkeep.prune_remote={NAME}"])


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
