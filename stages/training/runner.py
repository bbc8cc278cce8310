"""What the stages train and instruct share: a training that is done once, logged to MLflow, and resumed after a kill.

Whether there is anything to do is decided here, without torch and MLflow; :mod:`stages.training.session` does it.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stages.core.files import folder_digest, remove, value_digest
from stages.core.interrupt import exiting_at_once
from stages.core.params import ModelName, Params, Train
from stages.core.paths import START
from stages.core.provenance import code_digest, source_digest
from stages.core.run import is_first_process, set_threads
from stages.core.shards import StageCounts
from stages.models import copying, layout
from stages.models.hub import identity, locate
from stages.tracking.start import UNET, Start
from stages.training.inputs import find_training_set
from stages.training.outcome import Outcome

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from PIL import Image

    from stages.models.clip import Clip
    from stages.models.latent_diffusion import Diffusion

STATE = ".run.json"  # how the name of a file ends that names an open MLflow run
METHODS = Path(__file__).parent
LOOP = METHODS / "loop.py"  # its code decides the weights
FOLDER = (METHODS / "model_folder.py", Path(copying.__file__), Path(layout.__file__))  # and these the files of the model
PROCESSES = "WORLD_SIZE"  # set by torch's launcher
AnyMethod = TypeVar("AnyMethod")


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[AnyMethod]):
    """A training as its stage defines it."""

    stage: str
    outcome: Outcome
    unfinished: Path  # checkpoints; removed when the model is whole and its run finished
    config: Train  # for the loop
    decisive: Mapping[str, Any]  # the parameters that decide what a step does; models are known by their files instead
    models: tuple[ModelName, ...]  # the models that decide what a step does
    code: Path  # the method's module; what it imports decides a step too
    make: Callable[["Diffusion", "Clip"], AnyMethod]
    needs_target: Callable[[], bool] = lambda: False  # whether the method looks at the target's picture
    start: Start | None = None  # where it starts; None: from the base, without a choice
    preview: Callable[[AnyMethod], "Image.Image"] | None = None  # logged with every checkpoint; None: neither is logged
    held_out: int = 0  # held-out pairs on which the loss is measured with every checkpoint
    writer: str  # the stage's module, which writes the model
    written: Mapping[str, Any]  # the parameters that are written into the model
    write: Callable[["UNet2DConditionModel", Path, Path], None]  # U-Net, the base's folder, the folder to write

    @property
    def continues(self) -> bool:
        """Whether the training starts from the U-Net in START."""
        return self.start is not None and self.start.version is not None


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training as it stands when its stage starts: what decides its weights, and how far it is."""

    samples: int  # in the training set
    dataset_digest: str
    fingerprint: str  # of the weights after any number of steps, but for rounding
    whole: str  # the fingerprint of the model's files
    is_whole: bool
    run: Path  # a file while the MLflow run is open; named for this training, so another's is left alone


def run_training(params: Params, recipe: Recipe[Any]) -> None:
    """Train and write the outcome, unless it is whole already.

    Of several processes (``accelerate launch``) all take the steps, and the first does everything else.

    Raises:
        InputError: MLflow cannot be reached, or the training set is not whole.
    """
    began = time.monotonic()
    if is_first_process() and not recipe.outcome.seal.exists():  # a training that cannot log must not start
        _connect()
    config, processes = recipe.config, int(os.environ.get(PROCESSES, "1"))
    training = _find(recipe, processes)
    if is_first_process():
        _end_other_runs(training)
    done = config.steps
    if not training.is_whole or (is_first_process() and training.run.exists()):
        set_threads(params.threads)
        with exiting_at_once():
            from stages.training.session import train
        done = train(params, recipe, training)
    if is_first_process():
        remove(recipe.unfinished)
        per_step = config.batch * config.accumulation * processes
        made, seconds = (config.steps - done) * per_step, time.monotonic() - began
        StageCounts(stage=recipe.stage, done=made, reused=done * per_step, seconds=seconds).report()


def _connect() -> None:
    with exiting_at_once():
        from stages.tracking.store import connect
    connect()


def _end_other_runs(training: Training) -> None:
    """End the MLflow runs of other trainings, on earlier data or settings, that a kill left open."""
    others = [file for file in training.run.parent.glob(f"*{STATE}") if file != training.run]
    if others:
        with exiting_at_once():
            from stages.tracking.training_run import end_open_runs
        end_open_runs(others)


def _find(recipe: Recipe[Any], processes: int) -> Training:
    """Return how far a training is; all its inputs are looked up first, because one may be missing."""
    for model in (recipe.config.base, recipe.config.clip, *recipe.models):
        locate(model)
    dataset_digest, samples = find_training_set()
    fingerprint = _fingerprint(recipe, dataset_digest, processes)
    whole = _fingerprint_of_model(recipe, fingerprint, processes)
    return Training(
        samples=samples,
        dataset_digest=dataset_digest,
        fingerprint=fingerprint,
        whole=whole,
        is_whole=recipe.outcome.is_whole(whole),
        run=recipe.unfinished / f"{whole[:16]}{STATE}",
    )


def _fingerprint(recipe: Recipe[Any], dataset_digest: str, processes: int) -> str:
    """Return a digest of everything that decides the weights after a given number of steps, but for rounding.

    How many processes share the samples of a forward pass changes rounding alone, so another number of them may resume.
    """
    facts: dict[str, Any] = {
        "params": dict(recipe.decisive),
        "data": dataset_digest,
        "models": [identity(model) for model in recipe.models],
        "code": [source_digest(str(LOOP)), source_digest(str(recipe.code))],
        "samples": recipe.config.batch * processes,
    }
    if recipe.config.learning_rate_schedule != "constant":
        facts["steps"] = recipe.config.steps  # the rate of every step depends on them
    if recipe.continues:
        facts["start"] = folder_digest(START / UNET)
    return value_digest(facts)


def _fingerprint_of_model(recipe: Recipe[Any], fingerprint: str, processes: int) -> str:
    """Return a digest of everything that decides the files of the model."""
    code = [code_digest(Path(file)) for file in (recipe.writer, *FOLDER)]
    return value_digest([fingerprint, processes, recipe.config.steps, dict(recipe.written), code])
