"""Registering a trained model with its segmenter as a version of the registered model ``iedit``.

The model is logged as code and safetensors, never as a pickle.
"""

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import stages
from stages.core.files import folder_digest, value_digest
from stages.core.params import Sampling
from stages.editing.pictures import encode_picture
from stages.editing.request import EditRequest, MaskMode
from stages.editing.settings import read_sampling
from stages.tracking.registry import DIGEST, METRIC, NAME, Registered, delete_model, read_version
from stages.tracking.store import connect, experiment_id

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
    "scipy",
    "torch",
    "torchvision",
    "transformers",
)  # fmt: skip - everything that stages.editing.editor imports, directly or indirectly


def register(
    model: Path,
    segmenter: Path,
    *,
    metrics: Mapping[str, float],
    example: EditRequest,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Registered:
    """Register a trained model with its segmenter, or return the version that has the same files.

    Args:
        model: the folder that the stage train wrote.
        segmenter: the folder of CLIPSeg.
        metrics: written as tags of the version; those of a version that exists already are replaced.
        example: a request that is kept with the model, and run once to check that the model can be served.
        run_id: the run that trained the model.
        tags: further tags of the version.
    """
    client = connect()
    parts = {"iedit.model_digest": folder_digest(model), "iedit.segmenter_digest": folder_digest(segmenter)}
    digest = value_digest(parts)
    all_tags = {**(tags or {}), **{f"{METRIC}{name}": repr(float(value)) for name, value in metrics.items()}}
    found = client.search_model_versions(f"name = '{NAME}' and tags.`{DIGEST}` = '{digest}'")
    if found:
        for name, text in all_tags.items():
            client.set_model_version_tag(NAME, found[0].version, name, text)
        return read_version(client, client.get_model_version(NAME, found[0].version))
    _delete_unregistered(client, digest)
    logged = _log_model(model, segmenter, digest, example, run_id)
    made = mlflow.register_model(logged.model_uri, NAME, tags={DIGEST: digest, **parts, **all_tags})
    return read_version(client, made)


def _delete_unregistered(client: MlflowClient, digest: str) -> None:
    """Delete a logged model with this digest, and its files: a kill came before it was whole or registered."""
    for left in client.search_logged_models([experiment_id(client)], f"tags.`{DIGEST}` = '{digest}'"):
        delete_model(client, left)


def _log_model(model: Path, segmenter: Path, digest: str, example: EditRequest, run_id: str | None) -> ModelInfo:
    return Model.log(
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


def _signature(sampling: Sampling) -> ModelSignature:
    text, integer, real = DataType.string, DataType.long, DataType.double
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(text, "image"),  # base64 of a PNG, JPEG, WebP or another format that the corpus may have
                ColSpec(text, "prompt"),
                ColSpec(text, "negative_prompt", required=False),
                ColSpec(text, "mask", required=False),  # base64 of a picture, white where the picture may change
                ColSpec(text, "term", required=False),
                ColSpec(text, "source_term", required=False),
            ]
        ),
        outputs=Schema([ColSpec(text, "image"), ColSpec(integer, "row"), ColSpec(integer, "number")]),
        params=ParamSchema(
            [
                ParamSpec("strength", real, sampling.strength),
                ParamSpec("guidance_scale", real, sampling.guidance_scale),
                ParamSpec("num_inference_steps", integer, sampling.steps),
                ParamSpec("num_images", integer, 1),
                ParamSpec("seed", integer, 0),
                ParamSpec("mask_mode", text, MaskMode.PREDICTED.value),
            ]
        ),
    )


def _example(request: EditRequest) -> pd.DataFrame:
    """Return a request as a table of one row, without its mask: the default mode predicts one."""
    row = {"image": encode_picture(request.image), "prompt": request.prompt}
    words = {"term": request.term, "source_term": request.source_term}
    return pd.DataFrame([row | {name: word for name, word in words.items() if word is not None}])
