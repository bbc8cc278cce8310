"""The registered model ``iedit`` and its versions, one for each distinct model.

The alias ``champion`` names the version to use, ``challenger`` the newest one that is not champion.
:mod:`stages.tracking.history` records how each became champion.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from stages.core.errors import InputError, first_line
from stages.core.files import LOCK_FILE, locked, remove, written_aside
from stages.core.params import Sampling
from stages.editing.settings import read_sampling
from stages.tracking.start import PREFIX
from stages.tracking.store import connect

if TYPE_CHECKING:  # slow to import, and only load_editor needs it
    from stages.editing.editor import Editor

NAME = "iedit"
CHAMPION, CHALLENGER = "champion", "challenger"
CHAMPION_URI = f"models:/{NAME}@{CHAMPION}"
ADDRESS = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))")  # the model's name, and an alias or a number
DIGEST, CASES, METRIC = "iedit.digest", "iedit.cases_digest", "metric."  # tags of a version
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes for a version and an alias that do not exist
UNUSED = 24 * 3600  # seconds; a service asks for its default every few seconds, and ends others after minutes


class UnknownVersionError(InputError):
    """The registry has no such version."""


class ForeignVersionError(InputError):
    """A version was registered by other means than this project's, so it has no scores."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of the registered model."""

    version: str
    digest: str  # a digest of the model and its segmenter
    is_champion: bool
    metrics: dict[str, float]
    cases: str | None  # a digest of the cases that the metrics were measured on
    run_id: str | None
    model_id: str  # the id of its logged model, which holds the files
    start: dict[str, str]  # what its training continued from, if that was chosen: see stages.tracking.start


def current_champion() -> Registered | None:
    """Return the champion, if there is one.

    Raises:
        ForeignVersionError: the champion is a version that this project did not register.
    """
    client = connect(create=False)
    version = version_by_alias(client, CHAMPION)
    return None if version is None else read_version(client, client.get_model_version(NAME, version))


def latest_version() -> Registered | None:
    """Return the version that this project registered last, if there is one."""
    client = connect(create=False)
    ours = f"name = '{NAME}' and tags.`{DIGEST}` != ''"
    made = client.search_model_versions(ours, max_results=1, order_by=["version_number DESC"])
    return read_version(client, client.get_model_version(NAME, made[0].version)) if made else None


def find_version(uri: str) -> Registered:
    """Return the version that ``models:/iedit@ALIAS``, ``models:/iedit/VERSION`` or a bare number names.

    Raises:
        UnknownVersionError: there is no such version.
        ForeignVersionError: this project did not register it.
        InputError: the text is none of these, or the registry does not answer.
    """
    client = connect(create=False)
    if uri.isascii() and uri.isdecimal():
        uri = f"models:/{NAME}/{uri}"
    return read_version(client, _find(client, uri))


def version_by_alias(client: MlflowClient, alias: str) -> str | None:
    """Return the version that an alias names, if there is one."""
    try:
        return str(client.get_model_version_by_alias(NAME, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model; no such alias
            return None
        raise


def set_alias(client: MlflowClient, alias: str, version: str) -> None:
    """Point an alias at a version, whatever it named before.

    When two processes create the same alias at once, the store rejects one of them; that one finds the alias and moves it.
    """
    try:
        client.set_registered_model_alias(NAME, alias, version)
    except MlflowException:
        if version_by_alias(client, alias) is None:
            raise
        client.set_registered_model_alias(NAME, alias, version)


def read_version(client: MlflowClient, made: ModelVersion) -> Registered:
    """Return a version of MLflow as one of this project.

    Raises:
        ForeignVersionError: the version was not registered by this project.
    """
    if DIGEST not in made.tags:
        raise ForeignVersionError(f"models:/{made.name}/{made.version}: was not registered by the stage evaluate")
    return Registered(
        version=str(made.version),
        digest=made.tags[DIGEST],
        is_champion=version_by_alias(client, CHAMPION) == str(made.version),
        metrics={name.removeprefix(METRIC): float(text) for name, text in made.tags.items() if name.startswith(METRIC)},
        cases=made.tags.get(CASES),
        run_id=made.run_id or None,
        model_id=model_id_of(made),
        start={name.removeprefix(PREFIX): text for name, text in made.tags.items() if name.startswith(PREFIX)},
    )


def exact_uri(uri: str) -> str:
    """Return the URI with the number of the version that a URI names, perhaps by an alias, which may move.

    Raises:
        InputError: there is no such version.
    """
    made = _find(connect(create=False), uri)
    return f"models:/{made.name}/{made.version}"


def load_editor(uri: str = CHAMPION_URI) -> "tuple[Editor, Sampling]":
    """Return a registered editor and its sampling settings.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        InputError: there is no such version.
    """
    from stages.editing.editor import Editor

    folder = fetch_model(connect(create=False), uri)
    model, segmenter = (_artifact(folder, name) for name in ("model", "segmenter"))
    return Editor.load_trained(model, segmenter), read_sampling(model)


def fetch_trained(client: MlflowClient, uri: str) -> Path:
    """Return the folder that the stage train wrote, of a registered version.

    Raises:
        InputError: there is no such version, or its files are gone.
    """
    return _artifact(fetch_model(client, uri), "model")


def _artifact(folder: Path, name: str) -> Path:
    """Return the folder of a part of a registered model, "model" or "segmenter"."""
    return folder / str(Model.load(str(folder)).flavors[mlflow.pyfunc.FLAVOR_NAME]["artifacts"][name]["path"])


def resolve(client: MlflowClient, uri: str) -> tuple[str, str]:
    """Return the name and the number of the version that ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` names now.

    Raises:
        UnknownVersionError: there is no such version.
        InputError: the registry does not answer.
    """
    made = _find(client, uri)
    return str(made.name), str(made.version)


def fetch_model(client: MlflowClient, uri: str) -> Path:
    """Return the folder of a registered model: the original of a local store, a cached copy of a remote one.

    Raises:
        InputError: there is no such version, or its files are gone.
    """
    made = _find(client, uri)
    location = client.get_model_version_download_uri(made.name, made.version)
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        folder = Path(url2pathname(parts.path))
        if not folder.is_dir():
            raise InputError(f"{uri}: {folder}: no such folder; the artifacts of the tracking store were moved or removed")
        return folder
    cache = cached_copy(model_id_of(made))
    with locked(cache.parent):  # a server and a night may both fetch a new champion
        if not cache.is_dir():
            _fetch(location, cache)
        os.utime(cache)  # somebody asks for it
    return cache


def _fetch(location: str, cache: Path) -> None:
    """Fetch the files of a logged model, and remove copies that nobody has asked for in a day, as of former champions."""
    for copy in cache.parent.iterdir():
        if copy.name != LOCK_FILE and time.time() - copy.stat().st_mtime > UNUSED:
            remove(copy)
    with written_aside(cache) as temporary:
        fetched = mlflow.artifacts.download_artifacts(location, dst_path=str(temporary.parent))  # a folder inside it
        Path(fetched).rename(temporary)


def delete_model(client: MlflowClient, model: LoggedModel) -> None:
    """Delete a logged model that is no version, with its files, of which MLflow's own deletion leaves all."""
    get_artifact_repository(model.artifact_location).delete_artifacts()
    client.delete_logged_model(model.model_id)
    remove(cached_copy(model.model_id))


def cached_copy(model_id: str) -> Path:
    """Return where the files of a logged model of a remote store are kept on this machine, if they have been fetched."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "iedit" / model_id


def _find(client: MlflowClient, uri: str) -> ModelVersion:
    parts = ADDRESS.fullmatch(uri)
    if parts is None:
        raise InputError(f"{uri}: names no version, as a number, models:/{NAME}/NUMBER or {CHAMPION_URI} do")
    name, alias, number = parts.groups()
    try:
        if alias is not None:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in UNKNOWN:
            raise InputError(f"{uri}: {first_line(error)}") from error
        hint = "`dvc repro` trains and registers a model, `iedit history` lists all champions"
        raise UnknownVersionError(f"{uri}: {first_line(error)}; {hint}") from error


def model_id_of(made: ModelVersion) -> str:
    """Return the id of the logged model that holds a version's files."""
    return str(made.source).rpartition("/")[2]  # the registry does not fill its own field for it
