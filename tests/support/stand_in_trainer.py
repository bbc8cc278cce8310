"""Takes the place of the stages train, instruct and evaluate where a night may last seconds.

Made up are the weights, which are those of the base model with some noise, the losses of three steps, and the scores.
Everything around them is real: the run of MLflow with its resumption and its checkpoint, the registered model, which loads and
edits, its record and its scores, and the gate.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from stages.core.files import folder_digest, remove, write_json, write_text, written_aside
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
from stages.editing.settings import SETTINGS_FILE
from stages.tracking.evaluations import save_scores
from stages.tracking.promotion import Standard, consider
from stages.tracking.record import save_record
from stages.tracking.registration import register
from stages.tracking.registry import CASES
from stages.tracking.runs import find_run
from stages.tracking.store import connect
from stages.tracking.training_run import CHECKPOINTS, TrainingInputs, start_training
from tests.support.registered import EXAMPLE, SAMPLING
from tests.support.versions import KEYS, scores

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
NOISE = 0.01  # standard deviation
SET = "a" * 64  # the digest of the evaluation set, which never changes


def write_model(base: Path, folder: Path) -> None:
    """Write the model that a training on the present training set ends with."""
    shutil.copytree(base, folder)
    rng, weights = np.random.default_rng(int(folder_digest(TRAINING_SET)[:8], 16)), load_file(folder / WEIGHTS)
    noisy = {name: weights[name] + NOISE * rng.standard_normal(weights[name].shape, np.float32) for name in sorted(weights)}
    save_file(noisy, folder / WEIGHTS, {"format": "pt"})
    write_json(folder / SETTINGS_FILE, {"sampling": SAMPLING.model_dump()})


def train(params: Params) -> None:
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
        with written_aside(IEDIT) as temporary:
            write_model(Path(params.train.base.name), temporary)
        with written_aside(checkpoint) as temporary:
            shutil.copy(IEDIT / WEIGHTS, temporary)
        training.log_artifact(checkpoint, CHECKPOINTS)
        write_text(IEDIT_LOSSES, "step,total\n0,1.0\n1,0.5\n2,0.33\n")
        training.finish(folder_digest(IEDIT))
    remove(IEDIT_UNFINISHED)


def instruct(params: Params) -> None:
    with written_aside(INSTRUCT_PIX2PIX) as temporary:
        write_model(Path(params.train.base.name), temporary)


def evaluate(params: Params) -> None:
    digest = folder_digest(IEDIT)
    write_json(METRICS_FILE, {"model": digest})
    write_text(REPORTS / "table.md", "| made up |\n|---|\n")
    with written_aside(REPORTS / "sheet.png") as temporary:
        Image.new("RGB", (8, 8)).save(temporary)
    segmenter, tags = Path(params.evaluate.segmenter.name), {CASES: SET}
    version = register(IEDIT, segmenter, metrics={}, example=EXAMPLE, run_id=find_run(digest), tags=tags)
    rng = np.random.default_rng(int(version.digest[:8], 16))
    found = scores(clip=rng.normal(), ssim=rng.normal(), spread=1.0)
    gate = params.evaluate.gate
    standard = Standard(evaluation_set=SET, cases=KEYS, score=lambda _: found, gate=gate, resamples=20, seed=0)
    save_scores(connect(), version.model_id, SET, KEYS, found)
    save_record(connect(), version, params, {})
    print(consider(version, standard).why)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run({"train": train, "instruct": instruct, "evaluate": evaluate}[sys.argv[1]])
