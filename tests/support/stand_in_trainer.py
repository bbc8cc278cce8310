"""Takes the place of the stages train, instruct and evaluate where a night may last seconds.

Made up are the weights, the losses of three steps, and the scores. Everything around them is real: the run of MLflow with its
resumption and its checkpoint, the version with its files, its record and its scores, and the gate.
"""

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from stages.core.files import file_digest, folder_digest, remove, write_json, write_text, written_aside
from stages.core.params import Params
from stages.core.paths import (
    IEDIT,
    IEDIT_LOSSES,
    IEDIT_UNFINISHED,
    INSTRUCT_PIX2PIX,
    METRICS_FILE,
    REPORTS,
    TRAINING_SET,
)
from stages.core.run import run
from stages.tracking.evaluations import save_scores
from stages.tracking.promotion import Standard, consider
from stages.tracking.record import save_record
from stages.tracking.registry import CASES, DIGEST, NAME, Registered, read_version
from stages.tracking.runs import find_run
from stages.tracking.store import connect, experiment_id
from stages.tracking.training_run import CHECKPOINTS, TrainingInputs, start_training
from tests.support.versions import KEYS, scores

WEIGHTS, SIZE = "weights.bin", 300_000  # bytes
SET = "a" * 64  # the digest of the evaluation set, which never changes


def weights_of(folder: Path) -> bytes:
    """The weights that a training on this folder ends with."""
    return np.random.default_rng(int(folder_digest(folder)[:8], 16)).bytes(SIZE)


def train(params: Params) -> None:
    weights = weights_of(TRAINING_SET)
    inputs = TrainingInputs(
        stage="train",
        params=params,
        dataset=TRAINING_SET,
        dataset_digest=folder_digest(TRAINING_SET),
        samples=1,
        figures={},
        tags={},
    )
    checkpoint = IEDIT_UNFINISHED / "00000003.safetensors"
    with start_training(inputs, IEDIT_UNFINISHED / "run.json") as training:
        training.log_steps((step, {"total": 1 / (1 + step)}) for step in range(3))
        with written_aside(checkpoint) as temporary:
            temporary.write_bytes(weights)
        training.log_artifact(checkpoint, CHECKPOINTS)
        with written_aside(IEDIT) as temporary:
            temporary.mkdir()
            (temporary / WEIGHTS).write_bytes(weights)
        write_text(IEDIT_LOSSES, "step,total\n0,1.0\n1,0.5\n2,0.33\n")
        training.finish(folder_digest(IEDIT))
    remove(IEDIT_UNFINISHED)


def instruct(params: Params) -> None:
    with written_aside(INSTRUCT_PIX2PIX) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(weights_of(TRAINING_SET)[::-1])


def evaluate(params: Params) -> None:
    write_json(METRICS_FILE, {"model": file_digest(IEDIT / WEIGHTS)})
    write_text(REPORTS / "table.md", "| made up |\n|---|\n")
    with written_aside(REPORTS / "sheet.png") as temporary:
        Image.new("RGB", (8, 8)).save(temporary)
    version = register(folder_digest(IEDIT))
    rng = np.random.default_rng(int(version.digest[:8], 16))
    found = scores(clip=rng.normal(), ssim=rng.normal(), spread=1.0)
    gate = params.evaluate.gate
    standard = Standard(evaluation_set=SET, cases=KEYS, score=lambda _: found, gate=gate, resamples=20, seed=0)
    save_scores(connect(), version.model_id, SET, KEYS, found)
    save_record(connect(), version, params, {})
    print(consider(version, standard).why)


def register(digest: str) -> Registered:
    """Register the trained weights as a version of files alone, unless it was done."""
    client = connect()
    found = client.search_model_versions(f"name = '{NAME}' and tags.`{DIGEST}` = '{digest}'")
    if found:
        return read_version(client, client.get_model_version(NAME, found[0].version))
    model = client.create_logged_model(experiment_id(client), name=NAME, source_run_id=find_run(digest), tags={DIGEST: digest})
    client.log_model_artifacts(model.model_id, str(IEDIT))
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME)
    uri, tags = f"models:/{model.model_id}", {DIGEST: digest, CASES: SET}
    made = client.create_model_version(NAME, uri, run_id=find_run(digest), model_id=model.model_id, tags=tags)
    return read_version(client, client.get_model_version(NAME, made.version))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run({"train": train, "instruct": instruct, "evaluate": evaluate}[sys.argv[1]])
