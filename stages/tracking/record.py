"""The record of how a version was made, kept with it: enough to explain and to rebuild the version.

It is written at the end of the stage evaluate. By then dvc.lock has the entries of all earlier stages. DVC writes a
stage's entry when the stage has ended, so the outs of evaluate are hashed here, as DVC will hash them. So are the outs
of train, because they are registered even if dvc.lock is out of date.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
from dvc.exceptions import NotDvcRepoError
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from stages.core.errors import InputError, first_line
from stages.core.files import file_digest, read_json, write_json
from stages.core.params import Params
from stages.core.paths import CORPUS, DVC_FILE, LOCK_FILE, METRICS_FILE, PARAMS_FILE
from stages.core.yaml_file import read_yaml
from stages.corpus.corpus import Corpus
from stages.tracking.lineage import COMMIT, changed_files, git_tags, libraries, outs_of, read_stages
from stages.tracking.location import ARTIFACTS, SERVER_ARTIFACTS, project
from stages.tracking.registry import NAME, Registered

FOLDER = "lineage"  # a folder of the logged model
RECORD = "lineage.json"
KEPT_FILES = (PARAMS_FILE, LOCK_FILE, METRICS_FILE)  # kept beside the record, without their folders
FILES = "files"  # in the record: the digests of the files that are kept beside it
HASHED_HERE = ("train", "evaluate")

Record = Mapping[str, Any]  # the content of RECORD


def save_record(
    client: MlflowClient, version: Registered, params: Params, weights: Mapping[str, Mapping[str, str | None]]
) -> None:
    """Keep with a version how it was made: code, stages, corpus, weights, libraries, and KEPT_FILES.

    An earlier record is replaced only if no file differs from the commit now. An evaluation that is repeated with uncommitted
    changes must not cost a version the commit that it can be rebuilt from.

    Args:
        client: a client of the store.
        version: the version.
        params: the pipeline's parameters.
        weights: the name, revision and identity of every frozen model, by its key in params.yaml.
    """
    changed = changed_files()
    if changed != [] and _is_kept(client, version.model_id):
        return
    record = {
        "commit": git_tags()[COMMIT],
        "changed": changed,
        "stages": _read_stages(),
        "source": params.ingest.source.model_dump(mode="json"),
        "shards": _read_shards(),
        "weights": weights,
        "start": version.start,
        "libraries": libraries(),
        FILES: {path.name: file_digest(path) for path in KEPT_FILES if path.is_file()},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, RECORD)
        write_json(path, record)
        for file in (*KEPT_FILES, path):  # the record comes last, so its presence proves that the others are whole
            if file.is_file():
                client.log_model_artifact(version.model_id, str(file), FOLDER)


def fetch_record(client: MlflowClient, version: Registered, folder: Path) -> Path:
    """Download the record of a version, and return the folder that holds RECORD and the KEPT_FILES.

    The logged model is not asked: it disappears with the experiment, while the version and its files stay.

    Args:
        client: a client of the store.
        version: the version.
        folder: where to download to.

    Raises:
        InputError: there is no record, or a kill while it was written left it incomplete.
    """
    return _fetch(client.get_model_version_download_uri(NAME, version.version), version.model_id, folder)


def read_record(client: MlflowClient, made: ModelVersion) -> Record | None:
    """Return the record of a version, also one whose KEPT_FILES a kill left incomplete; None if it has none.

    Args:
        client: a client of the store.
        made: the version.

    Raises:
        InputError: the record is damaged, or there is no file of the version at all: the disk may be away that has its record.
    """
    location = client.get_model_version_download_uri(made.name, made.version)
    found = mlflow.artifacts.list_artifacts(artifact_uri=f"{location}/{FOLDER}")
    if any(Path(item.path).name == RECORD for item in found):
        place = f"{location}/{FOLDER}/{RECORD}"
        return _parse(mlflow.artifacts.load_text(place), place)
    if not mlflow.artifacts.list_artifacts(artifact_uri=location):
        raise InputError(f"version {made.version}: its files are not there, so the data that it needs are unknown")
    return None


def read_local_records() -> dict[str, Record]:
    """Return the records of all logged models whose files lie in the project's folder, by the models' ids.

    They may belong to two stores: the project's own, in which ``make run`` registers, and that of ``make server``.

    Raises:
        InputError: a record is damaged.
    """
    found = {}
    for folder in (ARTIFACTS, SERVER_ARTIFACTS):
        for path in sorted(project().joinpath(folder).glob(f"*/models/*/artifacts/{FOLDER}/{RECORD}")):
            found[path.parents[2].name] = _parse(path.read_text(encoding="utf-8", errors="replace"), str(path))
    return found


def digests_of(record: Record) -> Iterator[str]:
    """Yield the digests of all outs in a record, and of the files in those that are folders."""
    for outs in record["stages"].values():
        for out in outs.values():
            yield out["md5"]
            yield from out.get("files", {}).values()


def local_folders(models: Sequence[str]) -> list[Path]:
    """Return the folders of those logged models whose files lie in the project's folder.

    Args:
        models: their ids.
    """
    places = [project() / folder for folder in (ARTIFACTS, SERVER_ARTIFACTS)]
    return [found for place in places for model in models for found in place.glob(f"*/models/{model}")]


def _parse(text: str, place: str) -> Record:
    try:
        record: Record = json.loads(text)
        list(digests_of(record))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        why = first_line(error)
        raise InputError(f"{place}: damaged, so the data that its version needs are unknown: {why}") from error
    return record


def _fetch(location: str, model_id: str, folder: Path) -> Path:
    """Download the record below ``location``, the files of a logged model; see :func:`fetch_record`."""
    found = mlflow.artifacts.list_artifacts(artifact_uri=f"{location}/{FOLDER}")
    if not any(Path(item.path).name == RECORD for item in found):
        raise InputError(f"logged model {model_id}: has no record; the stage evaluate writes one for the current model")
    kept = Path(mlflow.artifacts.download_artifacts(f"{location}/{FOLDER}", dst_path=str(folder)))
    try:
        wanted = read_json(kept / RECORD)[FILES]
        whole = wanted == {path.name: file_digest(kept / path.name) for path in KEPT_FILES if (kept / path.name).is_file()}
    except (ValueError, LookupError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"logged model {model_id}: its record is incomplete; the stage evaluate writes it again")
    return kept


def _is_kept(client: MlflowClient, model_id: str) -> bool:
    """Return whether a logged model has a whole record."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _fetch(client.get_logged_model(model_id).artifact_location, model_id, Path(folder))
        except InputError:
            return False
    return True


def _read_shards() -> list[dict[str, Any]]:
    """Return name, digest, number of samples without duplicates, and first sample of every shard of the corpus."""
    corpus, shards = Corpus(), []
    for shard in corpus.shards() if CORPUS.is_dir() else ():
        rows, tar = corpus.rows(shard), corpus.inputs(shard)[0]
        first = rows[0].origin["name"] if rows else None
        shards.append({"shard": tar.name, "sha256": file_digest(tar), "samples": len(rows), "first": first})
    return shards


def hash_out(path: Path) -> dict[str, Any]:
    """Return the MD5 of a file or folder as in dvc.lock and, for a folder, the MD5 of each file in it."""
    if path.is_file():
        return {"md5": _md5(path)}
    tree = Tree()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        tree.add(file.relative_to(path).parts, Meta(), HashInfo("md5", _md5(file)))
    tree.digest()
    return {"md5": tree.hash_info.value, "files": _files(tree)}


def read_lock(path: Path) -> dict[str, dict[str, str]]:
    """Return stage → out → MD5 from a dvc.lock; empty if there is no such file."""
    if not path.is_file():
        return {}
    content = read_yaml(path) or {}
    return {
        name: {str(out["path"]): str(out["md5"]) for out in entry.get("outs", [])}
        for name, entry in content.get("stages", {}).items()
    }


def _read_stages() -> dict[str, dict[str, Any]]:
    """Return stage → out → MD5 and, for folders that DVC's cache has a list of, the MD5 of each file."""
    if not DVC_FILE.is_file():
        return {}
    stages: dict[str, dict[str, Any]] = {
        name: {path: {"md5": md5} for path, md5 in outs.items()} for name, outs in read_lock(LOCK_FILE).items()
    }
    with suppress(NotDvcRepoError), Repo() as repo:
        for out in [out for outs in stages.values() for out in outs.values() if out["md5"].endswith(".dir")]:
            with suppress(FileNotFoundError, ObjectFormatError):
                out["files"] = _files(Tree.load(repo.cache.local, HashInfo("md5", out["md5"])))
    written = read_stages()
    for name in HASHED_HERE:
        stages[name] = {path: hash_out(Path(path)) for path in sorted(outs_of(written[name])) if Path(path).exists()}
    return stages


def cached_files(record: Mapping[str, Any], out: Path) -> dict[str, Path] | None:
    """Return the files of a folder in DVC's cache, by their names; None if a record names none, or the cache lacks one."""
    outs: Mapping[str, Any] = next((outs for outs in record["stages"].values() if str(out) in outs), {})
    with suppress(NotDvcRepoError), Repo() as repo:
        found = {name: Path(repo.cache.local.oid_to_path(md5)) for name, md5 in outs.get(str(out), {}).get("files", {}).items()}
        return found if found and all(path.is_file() for path in found.values()) else None
    return None


def _files(tree: Tree) -> dict[str, str]:
    return {str(entry["relpath"]): str(entry["md5"]) for entry in tree.as_list()}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
