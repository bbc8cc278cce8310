"""What is kept with a version so that its making can be told, and done again, from the registry alone.

It is taken at the end of the stage evaluate. By then dvc.lock holds all stages before; DVC writes the entry of a stage
when it ends, so the outs of evaluate are hashed here as DVC will do it. Those of train are hashed too: they are what is
registered, whatever dvc.lock says.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import yaml
from dvc.exceptions import NotDvcRepoError
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError
from mlflow.tracking import MlflowClient

from stages.core.errors import InputError
from stages.core.files import file_digest, read_json, write_json
from stages.core.params import Params
from stages.core.paths import PARAMS_FILE
from stages.core.shards import count_samples, list_shards
from stages.corpus.samples import read_metadata
from stages.tracking.lineage import COMMIT, DVC_FILE, LOCK_FILE, changed_files, git_tags, libraries, outs_of, read_stages

FOLDER = "lineage"  # among the files of a logged model
RECORD = "lineage.json"
FILES = "files"  # in the record: the digests of the files that are kept beside it
CORPUS = Path("data/corpus")
HASHED_HERE = ("train", "evaluate")


def save_record(client: MlflowClient, model_id: str, params: Params, weights: Mapping[str, Mapping[str, str | None]]) -> None:
    """Keep with a logged model how it was made: code, stages, corpus, weights, libraries; params.yaml and dvc.lock as files.

    What was kept before is replaced only if no file differs from the commit now: an evaluation that is repeated amid
    changes does not make a version forget the commit that it can be rebuilt from.

    Args:
        client: of the store.
        model_id: of the logged model.
        params: of the pipeline.
        weights: of every frozen model, by its key in params.yaml: name, revision, identity.
    """
    changed = changed_files()
    if changed != [] and _is_kept(client, model_id):
        return
    record = {
        "commit": git_tags()[COMMIT],
        "changed": changed,
        "stages": _read_stages(),
        "source": params.ingest.source.model_dump(mode="json"),
        "shards": [
            {
                "shard": shard.name,
                "sha256": file_digest(shard),
                "samples": count_samples(shard, ".tar"),
                "first": next((facts["origin"]["name"] for facts in read_metadata(shard)), None),
            }
            for shard in (list_shards(CORPUS, ".tar") if CORPUS.is_dir() else ())
        ],
        "weights": weights,
        "libraries": libraries(),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, RECORD)
        write_json(path, record | {FILES: _digests(Path())})
        for file in (PARAMS_FILE, LOCK_FILE, path):  # the last stands for all
            if file.is_file():
                client.log_model_artifact(model_id, str(file), FOLDER)


def _is_kept(client: MlflowClient, model_id: str) -> bool:
    """Tell whether a record is there, and whole."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetch_record(client, model_id, Path(folder))
        except InputError:
            return False
    return True


def fetch_record(client: MlflowClient, model_id: str, folder: Path) -> Path:
    """Return a folder below ``folder`` with what was kept with a logged model: RECORD, params.yaml, dvc.lock.

    Raises:
        InputError: nothing was kept, or not all of it: a kill came while it was written, or replaced.
    """
    if not any(item.path == f"{FOLDER}/{RECORD}" for item in client.list_logged_model_artifacts(model_id, FOLDER)):
        raise InputError(
            f"logged model {model_id}: nothing was kept of how it was made; evaluate keeps that of the present model"
        )
    place = client.get_logged_model(model_id).artifact_location
    kept = Path(mlflow.artifacts.download_artifacts(f"{place}/{FOLDER}", dst_path=str(folder)))
    try:
        whole = read_json(kept / RECORD)[FILES] == _digests(kept)
    except (ValueError, LookupError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"logged model {model_id}: what was kept of how it was made is not whole; evaluate keeps it again")
    return kept


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that are kept beside a record."""
    files = (folder / name for name in (PARAMS_FILE.name, LOCK_FILE.name))
    return {path.name: file_digest(path) for path in files if path.is_file()}


def hash_out(path: Path) -> dict[str, Any]:
    """Return the MD5 of a file or folder as dvc.lock has it, and of a folder also those of its files."""
    if path.is_file():
        return {"md5": _md5(path)}
    tree = Tree()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        tree.add(file.relative_to(path).parts, Meta(), HashInfo("md5", _md5(file)))
    tree.digest()
    return {"md5": tree.hash_info.value, "files": _files(tree)}


def read_lock(path: Path) -> dict[str, dict[str, str]]:
    """Return stage → out → MD5, as a dvc.lock has them; empty without one."""
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {
        name: {str(out["path"]): str(out["md5"]) for out in entry.get("outs", [])}
        for name, entry in content.get("stages", {}).items()
    }


def _read_stages() -> dict[str, dict[str, Any]]:
    """Return stage → out → MD5 and, of folders whose list DVC's cache has, the MD5 of every file."""
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


def _files(tree: Tree) -> dict[str, str]:
    return {str(entry["relpath"]): str(entry["md5"]) for entry in tree.as_list()}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
