"""Models of the hub: what they weigh and under which licence they stand, and their download, checked and pinned to a commit."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError

from stages.core.errors import first_line
from stages.core.files import NoRoomError, remove, writing
from stages.core.params import ModelName
from stages.models.families import CONFIGURATIONS, family_of, pictures_of
from stages.models.hub import ModelError, is_local, locate
from stages.models.layout import INDEX, LayoutError, needed_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

README = "README.md"  # a model card, whose head states the licence
UNSTATED = "not stated"
HUB_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # the form of its identifiers
MOST_SEARCHED = 20  # revisions of a repository, and repositories of the same name


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What `iedit models` shows of a model."""

    files: tuple[str, ...]  # that the loaders read
    bytes: int  # of these files
    licence: str
    commit: str | None  # of a model of the hub
    is_here: bool  # whether it lies on this machine, whole


def facts_of(model: ModelName) -> Facts:
    """Return the facts of a model: from its folder if it lies on this machine, else from the hub.

    Raises:
        ModelError: it is neither here nor can the hub be asked, or it cannot be loaded.
    """
    commit = None if is_local(model) else model.revision
    try:
        folder = locate(model)
    except ModelError:
        if is_local(model):
            raise
        return _ask(model)
    files = _present(folder)
    size = sum((folder / name).stat().st_size for name in files)
    return Facts(files=tuple(files), bytes=size, licence=licence_of(folder), commit=commit, is_here=True)


def licence_of(folder: Path) -> str:
    """Return the licence that the model card in a folder states."""
    return _licence(_card_data(folder))


def licence_keys_of(folder: Path) -> dict[str, str]:
    """Return how the head of a model card states the licence of the model in a folder.

    It is ``license``, an identifier of the hub or "other", and with "other" the name that the model's own card states, if any.
    """
    data = _card_data(folder) or {}
    identifier, stated = data.get("license"), _licence(data)
    if not data.get("license_name") and isinstance(identifier, str) and HUB_LICENCE.fullmatch(identifier):
        return {"license": identifier}
    return {"license": "other"} | ({} if stated == UNSTATED else {"license_name": stated})


def _card_data(folder: Path) -> Any:
    """Return the head of the model card in a folder; None if there is none, or a damaged one."""
    if not (folder / README).is_file():
        return None
    from huggingface_hub import ModelCard

    with suppress(ValueError, YAMLError):
        text = (folder / README).read_text(encoding="utf-8", errors="replace")
        return ModelCard(text, ignore_metadata_errors=True).data
    return None


def fetch(model: ModelName) -> ModelName:
    """Download the files of a model that the loaders read, check them against the hub's digests, and return it pinned.

    What lies on this machine already is checked too, and not downloaded again.

    Raises:
        ModelError: the hub does not deliver it, it is a diffusion model of no supported family, it has no safetensors, it asks
            for code to be run, or a file differs from what the hub says of it; that file is removed.
        NoRoomError: the disk or a quota is full.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    _check_family(model)
    asked = _ask(model)
    with _hub_errors(model), writing(Path(HF_HUB_CACHE)):
        patterns = [*asked.files, README]
        folder = Path(snapshot_download(model.name, revision=asked.commit, allow_patterns=patterns))
        found = HfApi().verify_repo_checksums(model.name, revision=asked.commit)
    for wrong in found.mismatches:
        path = folder / wrong["path"]
        remove(path.resolve())  # the snapshot holds links
        remove(path)
        says = f"{wrong['algorithm']} is {wrong['actual']}, the hub says {wrong['expected']}"
        raise ModelError(model, f"{wrong['path']} is damaged ({says}) and was removed; fetch it again")
    pinned = model.model_copy(update={"revision": asked.commit})
    locate(pinned)
    return pinned


def _check_family(model: ModelName) -> None:
    """Refuse a diffusion model of no supported family by its configurations, before gigabytes of weights are downloaded."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    with _hub_errors(model), writing(Path(HF_HUB_CACHE)):
        if HfApi().file_exists(model.name, INDEX, revision=model.revision):
            folder = snapshot_download(model.name, revision=model.revision, allow_patterns=CONFIGURATIONS)
            family_of(model, Path(folder), pictures=pictures_of(model))


def _ask(model: ModelName) -> Facts:
    """Return what the hub says of a model at its revision."""
    from huggingface_hub import HfApi

    with _hub_errors(model):
        info = HfApi().model_info(model.name, revision=model.revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        try:
            files = needed_files(sizes)
        except LayoutError as error:
            raise ModelError(model, first_line(f"{error}{_elsewhere(model, HfApi())}")) from error
    size, licence = sum(sizes[name] for name in files), _licence(info.card_data)
    return Facts(files=tuple(files), bytes=size, licence=licence, commit=info.sha, is_here=False)


def _elsewhere(model: ModelName, api: "HfApi") -> str:
    """Return in words which revision or repository has the safetensors that a model lacks; empty if the hub lists none.

    Revisions of its own come first; proposals (pull requests) and repositories of others are not its owner's.
    """
    refs = api.list_repo_refs(model.name, include_pull_requests=True)
    own = [ref.name for ref in (*refs.branches, *refs.tags) if ref.name != model.revision]
    proposed = [ref.ref for ref in reversed(refs.pull_requests or [])]
    for revision in (own + proposed)[:MOST_SEARCHED]:
        if _is_loadable(api, model.name, revision):
            warning = ", a proposal that its owner has not accepted" if revision in proposed else ""
            return f"; revision {revision!r} has them{warning}: iedit configure {model.key}.revision={revision}"
    name = model.name.partition("/")[2]
    for other in api.list_models(search=name, filter="safetensors", sort="downloads", limit=MOST_SEARCHED):
        if other.id != model.name and other.id.partition("/")[2] == name and _is_loadable(api, other.id, None):
            return f"; {other.id}, a repository of another owner, has them: iedit configure {model.key}.name={other.id}"
    return ""


def _is_loadable(api: "HfApi", name: str, revision: str | None) -> bool:
    try:
        needed_files(api.list_repo_files(name, revision=revision))
    except LayoutError:
        return False
    return True


def _present(folder: Path) -> list[str]:
    """Return the files of a folder that the loaders read; all of them where it has no layout that is known."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        return needed_files(names)
    except LayoutError:
        return names


def _licence(card: Any) -> str:
    """Return the licence that the data of a model card state, in one line."""
    stated = card is not None and (card.get("license_name") or card.get("license"))
    return first_line(stated) if stated else UNSTATED


@contextmanager
def _hub_errors(model: ModelName) -> Iterator[None]:
    """Turn the errors of a request to the hub into one line that names the model."""
    from httpx2 import HTTPError

    try:
        yield
    except (ModelError, NoRoomError):
        raise
    except (HTTPError, OSError, ValueError) as error:
        raise ModelError(model, f"the hub did not deliver it: {type(error).__name__}: {first_line(error)}") from error
