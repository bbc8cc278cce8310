"""The registered model ``iedit``: one version for each distinct model.

The alias ``champion`` is the version to use, ``challenger`` the newest that is not; ``history`` says how they came about.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import stages
from stages.core.errors import InputError, first_line
from stages.core.files import folder_digest, value_digest, written_aside
from stages.core.params import ModelName, Sampling
from stages.editing.editor import Editor, EditRequest, MaskMode
from stages.editing.inputs import encode_picture, read_sampling
from stages.tracking.store import connect, experiment_id

NAME = "iedit"
CHAMPION, CHALLENGER = "champion", "challenger"
CHAMPION_URI = f"models:/{NAME}@{CHAMPION}"
DIGEST, CASES, METRIC = "iedit.digest", "iedit.cases_digest", "metric."  # version tags
REQUIREMENTS = (
    "accelerate",
    "diffusers",
    "mlflow",
    "numpy",
    "open_clip_torch",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "torch",
    "torchvision",
    "transformers",
)  # fmt: skip - what stages.editing.editor imports, directly or through others


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of the registered model."""

    version: str
    digest: str  # of the model and its segmenter
    is_champion: bool
    metrics: dict[str, float]
    cases: str | None  # a digest of the cases that the metrics are of
    run_id: str | None
    model_id: str  # of the logged model, whose files it has


def register(
    model: Path,
    segmenter: Path,
    *,
    metrics: Mapping[str, float],
    example: EditRequest,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Registered:
    """Register a trained model with its segmenter, or find the version that has the same files.

    Args:
        model: the folder that the train stage wrote.
        segmenter: the folder of CLIPSeg.
        metrics: become tags of the version; an evaluation of a version that is already there replaces its own.
        example: a request that is kept with the model, and made once to see that it can be served.
        run_id: the training that made the model.
        tags: more tags of the version.
    """
    client = connect()
    parts = {"iedit.model_digest": folder_digest(model), "iedit.segmenter_digest": folder_digest(segmenter)}
    digest = value_digest(parts)
    all_tags = {**(tags or {}), **{f"{METRIC}{name}": repr(float(value)) for name, value in metrics.items()}}
    found = client.search_model_versions(f"name = '{NAME}' and tags.`{DIGEST}` = '{digest}'")
    if found:
        for name, text in all_tags.items():
            client.set_model_version_tag(NAME, found[0].version, name, text)
        return _read(client, client.get_model_version(NAME, found[0].version))
    for left in client.search_logged_models([experiment_id(client)], f"tags.`{DIGEST}` = '{digest}'"):
        client.delete_logged_model(left.model_id)  # a kill came before it was whole or registered
    logged = Model.log(
        artifact_path=None,
        flavor=mlflow.pyfunc,
        name=NAME,
        run_id=run_id,
        tags={DIGEST: digest},
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts={"model": str(model), "segmenter": str(segmenter)},
        code_paths=[str(Path(stages.__file__).parent)],
        signature=_signature(read_sampling(model)),
        input_example=(_example(example), {"num_images": 1, "seed": 0}),
        pip_requirements=[f"{name}=={installed_version(name).partition('+')[0]}" for name in REQUIREMENTS],
    )
    made = mlflow.register_model(logged.model_uri, NAME, tags={DIGEST: digest, **parts, **all_tags})
    return _read(client, made)


def current_champion() -> Registered | None:
    """Return the champion, if there is one.

    Raises:
        InputError: it is a version that was made by other means, of which nothing is known.
    """
    client = connect(create=False)
    version = version_by_alias(client, CHAMPION)
    return None if version is None else _read(client, client.get_model_version(NAME, version))


def latest_version() -> Registered | None:
    """Return the version that was registered last, if there is one."""
    client = connect(create=False)
    made = client.search_model_versions(f"name = '{NAME}'", max_results=1, order_by=["version_number DESC"])
    return _read(client, client.get_model_version(NAME, made[0].version)) if made else None


def find_version(uri: str) -> Registered:
    """Return the version that is meant by ``models:/iedit@ALIAS``, ``models:/iedit/VERSION``, or a number alone.

    Raises:
        InputError: there is no such version.
    """
    client = connect(create=False)
    return _read(client, _find(client, uri if uri.startswith("models:/") else f"models:/{NAME}/{uri}"))


def version_by_alias(client: MlflowClient, alias: str) -> str | None:
    """Return the version that an alias names, if there is one."""
    try:
        return str(client.get_model_version_by_alias(NAME, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model; no such alias
            return None
        raise


def set_alias(client: MlflowClient, alias: str, version: str) -> None:
    """Let an alias name a version, whatever it named before.

    Of two processes that make the same alias at once the store refuses one, which then finds it there.
    """
    try:
        client.set_registered_model_alias(NAME, alias, version)
    except MlflowException:
        if version_by_alias(client, alias) is None:
            raise
        client.set_registered_model_alias(NAME, alias, version)


def load_editor(uri: str = CHAMPION_URI) -> tuple[Editor, Sampling]:
    """Return a registered editor and how its edits are sampled.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        InputError: there is no such version.
    """
    folder = _fetch(connect(create=False), uri)
    artifacts = Model.load(str(folder)).flavors[mlflow.pyfunc.FLAVOR_NAME]["artifacts"]
    model, segmenter = folder / artifacts["model"]["path"], folder / artifacts["segmenter"]["path"]
    return Editor.load(ModelName(name=str(model)), ModelName(name=str(segmenter))), read_sampling(model)


def _find(client: MlflowClient, uri: str) -> ModelVersion:
    name, separator, alias = uri.removeprefix("models:/").partition("@")
    try:
        if separator:
            return client.get_model_version_by_alias(name, alias)
        name, _, number = name.partition("/")
        return client.get_model_version(name, number)
    except MlflowException as error:
        raise InputError(f"{uri}: {first_line(error)}") from error


def _fetch(client: MlflowClient, uri: str) -> Path:
    """Return the folder of a registered model: where it lies, or a copy that is fetched once from a remote store."""
    made = _find(client, uri)
    location = client.get_model_version_download_uri(made.name, made.version)
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        folder = Path(url2pathname(parts.path))
        if not folder.is_dir():
            raise InputError(f"{uri}: {folder}: no such folder; the artifacts of the tracking store were moved or removed")
        return folder
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = caches / "iedit" / _model_id(made)
    if not cache.is_dir():
        with written_aside(cache) as temporary:
            fetched = mlflow.artifacts.download_artifacts(location, dst_path=str(temporary.parent))  # into a folder in there
            Path(fetched).rename(temporary)
    return cache


def _model_id(made: ModelVersion) -> str:
    return str(made.source).rpartition("/")[2]  # the registry leaves out its own field for it


def _read(client: MlflowClient, made: ModelVersion) -> Registered:
    if DIGEST not in made.tags:
        raise InputError(f"models:/{made.name}/{made.version}: is no version that the stage evaluate has registered")
    return Registered(
        version=str(made.version),
        digest=made.tags[DIGEST],
        is_champion=version_by_alias(client, CHAMPION) == str(made.version),
        metrics={name.removeprefix(METRIC): float(text) for name, text in made.tags.items() if name.startswith(METRIC)},
        cases=made.tags.get(CASES),
        run_id=made.run_id or None,
        model_id=_model_id(made),
    )


def _signature(sampling: Sampling) -> ModelSignature:
    text, whole, real = DataType.string, DataType.long, DataType.double
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(text, "image"),  # base64 of a PNG, JPEG or WebP
                ColSpec(text, "prompt"),
                ColSpec(text, "mask", required=False),  # the same, white where the edit may be
                ColSpec(text, "term", required=False),
                ColSpec(text, "source_term", required=False),
            ]
        ),
        outputs=Schema([ColSpec(text, "image"), ColSpec(whole, "row"), ColSpec(whole, "number")]),
        params=ParamSchema(
            [
                ParamSpec("strength", real, sampling.strength),
                ParamSpec("guidance_scale", real, sampling.guidance_scale),
                ParamSpec("num_inference_steps", whole, sampling.steps),
                ParamSpec("num_images", whole, 1),
                ParamSpec("seed", whole, 0),
                ParamSpec("mask_mode", text, MaskMode.PREDICTED.value),
            ]
        ),
    )


def _example(request: EditRequest) -> pd.DataFrame:
    """Return a request as a table of one row, without mask: the mode of the example is the default one."""
    row = {"image": encode_picture(request.image), "prompt": request.prompt}
    words = {"term": request.term, "source_term": request.source_term}
    return pd.DataFrame([row | {name: word for name, word in words.items() if word is not None}])
