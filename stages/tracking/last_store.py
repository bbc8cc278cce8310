"""The store in which this project registered a version last, noted in its folder.

Pruning keeps the data of the versions that it sees: those of one store, and those whose files lie in the project's folder.
It must not take the data of all others for unneeded only because MLFLOW_TRACKING_URI is not set.
"""

from collections.abc import Collection

from stages.core.errors import InputError
from stages.core.files import read_json, write_json
from stages.core.paths import LAST_STORE
from stages.tracking.errors import without_credentials
from stages.tracking.location import DATABASE, own_uri, project, tracking_uri
from stages.tracking.record import local_folders


def note_store(model_id: str) -> None:
    """Note that the current store has a version of this project.

    Args:
        model_id: the version's logged model.
    """
    write_json(project() / LAST_STORE, {"store": _address(), "model": model_id})


def last_model() -> str | None:
    """Return the logged model of the version that was registered last from this folder, in whichever store."""
    return read_json(project() / LAST_STORE)["model"] if (project() / LAST_STORE).is_file() else None


def check_store_is_last() -> None:
    """Check that the current store is the last one, or that the files of its versions lie in the project's folder.

    Raises:
        InputError: the last one is another, whose versions cannot be seen from here.
    """
    model = last_model()
    if model is None:
        return
    last = read_json(project() / LAST_STORE)["store"]
    if last != _address() and not local_folders([model]):
        raise InputError(
            f"{_address()}: this project registered its last version in {last}, whose versions need data too; set"
            f" MLFLOW_TRACKING_URI to that, or remove {LAST_STORE} if they are given up"
        )


def check_store_has_versions(versions: Collection[object]) -> None:
    """Check that the store still has versions, if one was registered.

    Raises:
        InputError: it has none, and their files do not lie in the project's folder: it may be a new store at the old address.
    """
    model = last_model()
    if model is not None and not versions and not local_folders([model]):
        raise InputError(
            f"{_address()}: has no version, though this project registered one there, so the data that it needs are unknown;"
            f" remove {LAST_STORE} if all versions are given up"
        )


def _address() -> str:
    """Return the store's address without passwords; the project's own is named by its file, because the folder may move."""
    return str(DATABASE) if tracking_uri() == own_uri() else without_credentials(tracking_uri())
