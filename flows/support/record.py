"""dvc.lock, the record of the last run: DVC writes it in place, so a kill or a full disk can leave it empty or cut short."""

from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo

from flows.support.upkeep import warn
from stages.core.errors import first_line
from stages.core.paths import LOCK_FILE


def put_aside_damaged_record() -> None:
    """Rename a dvc.lock that DVC cannot read, which would stop every night until somebody removed it, and send an alert.

    Without it every stage runs again, reuses its shards and models, and makes the same bytes.

    Raises:
        LockError: another command of DVC is at work in this folder, and may be writing the file.
    """
    with Repo() as repo:
        if _damage(repo) is None:
            return
        with repo.lock:
            reason = _damage(repo)
            if reason is not None:
                aside = LOCK_FILE.rename(f"{LOCK_FILE}.damaged")
                warn(f"{LOCK_FILE}: damaged, so every stage runs again; it is now {aside}: {reason}")


def _damage(repo: Repo) -> str | None:
    """Return why dvc.lock cannot be read, or None if it can, or does not exist."""
    try:
        Lockfile(repo, str(LOCK_FILE)).load()
    except DvcException as error:
        return first_line(error)
    return None
