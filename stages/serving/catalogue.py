"""The models that a service may be asked for, and where each is: versions of the registry, a folder, the base model.

A request names a model by a short reference, never by a path or a URI.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stages.core.errors import InputError, shorten
from stages.core.params_file import read_params
from stages.models.hub import locate
from stages.serving.calls import DEFAULT, UnknownModelError
from stages.serving.process import MODULE, OWN_CODE
from stages.tracking.location import check_store

BASE = "base"
REGISTRY = "models:/"
MOST_DIGITS = 9  # of a version's number; the registry's databases hold no larger ones


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model, and the code that it runs on."""

    reference: str
    name: str
    version: str | None
    folder: Path
    code: Path


class Catalogue(Protocol):
    """What may be asked for; its methods may take seconds."""

    def references(self) -> list[str]:
        """Return what a request may name a model by, the default first."""

    def find(self, reference: str) -> Source:
        """Return the model that a reference names now.

        Raises:
            UnknownModelError: there is none, or the service can never run it.
            InputError: its files are missing, or the registry does not answer.
        """


class FolderCatalogue:
    """A model in a folder, on the present code, and the base model."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"model {folder}: neither a folder nor models:/NAME@ALIAS nor models:/NAME/VERSION")
        self._folder = folder.absolute()

    def references(self) -> list[str]:
        """Return the folder's name, and "base"."""
        return [self._folder.name, BASE]

    def find(self, reference: str) -> Source:
        """Return the model in the folder, or the base model."""
        if reference == BASE:
            return find_base()
        if reference not in (DEFAULT, self._folder.name):
            raise _unknown(reference)
        name = self._folder.name
        return Source(reference=name, name=name, version=None, folder=self._folder, code=OWN_CODE)


class RegistryCatalogue:
    """The versions of a registered model, each on its own code, and the base model on the present code."""

    def __init__(self, uri: str) -> None:
        from stages.tracking.registry import ADDRESS, CHALLENGER, CHAMPION

        check_store()
        parts = ADDRESS.fullmatch(uri)
        if parts is None:
            raise InputError(f"{uri}: names no version, as models:/NAME@ALIAS and models:/NAME/VERSION do")
        self._name, alias, version = parts.groups()
        self._default = alias or version
        self._aliases = dict.fromkeys([*([alias] if alias else []), CHAMPION, CHALLENGER])

    def references(self) -> list[str]:
        """Return the default, the aliases and the numbers of all versions, newest first, and "base"."""
        from stages.tracking.errors import store_errors_in_one_line
        from stages.tracking.store import connect

        with store_errors_in_one_line():
            client = connect(create=False)
            model = client.get_registered_model(self._name)
            numbers = client.search_model_versions(f"name = '{self._name}'", order_by=["version_number DESC"])
        aliases = [alias for alias in self._aliases if alias in model.aliases]
        return list(dict.fromkeys([self._default, *aliases, *(str(made.version) for made in numbers), BASE]))

    def find(self, reference: str) -> Source:
        """Return a version, or the base model."""
        if reference == BASE:
            return find_base()
        if reference == DEFAULT:
            reference = self._default
        is_number = reference.isascii() and reference.isdecimal() and len(reference) <= MOST_DIGITS
        if not (is_number or reference in self._aliases):
            raise _unknown(reference)
        uri = f"{REGISTRY}{self._name}/{reference}" if is_number else f"{REGISTRY}{self._name}@{reference}"
        return self._fetch(reference, uri)

    def _fetch(self, reference: str, uri: str) -> Source:
        from stages.tracking.errors import store_errors_in_one_line
        from stages.tracking.registry import UnknownVersionError, fetch_model, resolve
        from stages.tracking.store import connect

        with store_errors_in_one_line():
            client = connect(create=False)
            try:
                name, version = resolve(client, uri)
            except UnknownVersionError as error:
                raise _unknown(reference) from error
            folder = fetch_model(client, f"{REGISTRY}{name}/{version}")
        code = folder / "code"
        if not code.joinpath(*MODULE.split(".")).with_suffix(".py").is_file():
            raise UnknownModelError(
                f"model = {reference}: its code is older than the service: name a newer version, or use `mlflow models serve`"
            )
        return Source(reference=reference, name=name, version=version, folder=folder, code=code)


def find_base() -> Source:
    """Return the model that training started from, as params.yaml names it.

    Raises:
        InputError: params.yaml is missing or invalid, or the model is not there.
    """
    folder = locate(read_params().train.base).absolute()
    return Source(reference=BASE, name=BASE, version=None, folder=folder, code=OWN_CODE)


def open_catalogue(model: str) -> Catalogue:
    """Return the catalogue that ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a folder stands for.

    Raises:
        InputError: there is no such folder or store.
    """
    return RegistryCatalogue(model) if model.startswith(REGISTRY) else FolderCatalogue(Path(model))


def _unknown(reference: str) -> UnknownModelError:
    return UnknownModelError(f"model = {shorten(reference)}: no such model")
