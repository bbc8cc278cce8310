"""What the stages train and instruct share: a training that is done once, logged to MLflow, and resumed after a kill."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from accelerate import PartialState
from diffusers import UNet2DConditionModel
from PIL import Image

from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import folder_digest, remove, value_digest, written_aside
from stages.core.params import ModelName, Params, Train
from stages.core.paths import TRAINING_SET
from stages.core.provenance import code_digest, source_digest
from stages.core.shards import StageCounts, count_samples, list_shards
from stages.corpus.corpus import Corpus
from stages.models.clip import Clip, load_clip
from stages.models.hub import identity, locate
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.tensors import device
from stages.pairing.training_set import SUFFIX
from stages.tracking.training_run import TrainingInputs, TrainingRun, start_training
from stages.training import loop, model_folder
from stages.training.dataset import TrainingSet
from stages.training.encoder import encode_training_set
from stages.training.method import Method
from stages.training.outcome import Outcome
from stages.training.workplace import StepLog, Workplace

PATIENCE = timedelta(days=7)  # how long processes wait until the training set is encoded
AnyMethod = TypeVar("AnyMethod", bound=Method[Any])


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[AnyMethod]):
    """A training as its stage defines it."""

    stage: str
    outcome: Outcome
    unfinished: Path  # checkpoints; removed when the model is whole and its run finished
    config: Train  # for the loop
    decisive: Mapping[str, Any]  # the parameters that decide what a step does; models are known by their files instead
    models: tuple[ModelName, ...]  # the models that decide what a step does
    code: str  # the method's module; what it imports decides a step too
    make: Callable[[Diffusion, Clip], AnyMethod]
    needs_target: bool = False  # whether the method looks at the target's picture
    preview: Callable[[AnyMethod], Image.Image] | None = None  # logged with every checkpoint; None: neither is logged
    writer: str  # the stage's module, which writes the model
    written: Mapping[str, Any]  # the parameters that are written into the model
    write: Callable[[UNet2DConditionModel, Path, Path], None]  # U-Net, the base's folder, the folder to write


def run_training(params: Params, recipe: Recipe[AnyMethod]) -> None:
    """Train and write the outcome, unless it is whole already.

    Of several processes (``accelerate launch``) all take the steps, and the first does everything else.

    Raises:
        InputError: there is no pair to train on.
    """
    config = recipe.config
    for model in (config.base, config.clip, *recipe.models):
        locate(model)
    processes = PartialState(cpu=device().type == "cpu", timeout=PATIENCE)
    dataset_digest, count = _read_training_set()
    fingerprint = _fingerprint(recipe, dataset_digest, processes.num_processes)
    workplace = Workplace(folder=recipe.unfinished, stage=recipe.stage, fingerprint=fingerprint)
    whole = _fingerprint_of_model(recipe, fingerprint)
    is_whole = recipe.outcome.is_whole(whole)
    if not processes.is_main_process:
        if not is_whole:
            _train(params, recipe, workplace, None)
        return
    run = recipe.unfinished / f"{whole[:16]}.run.json"  # named for this training; another's unfinished run is left alone
    done = config.steps
    if not is_whole or run.exists():
        inputs = TrainingInputs(
            stage=recipe.stage, params=params, dataset=TRAINING_SET, dataset_digest=dataset_digest, samples=count
        )
        with start_training(inputs, run) as tracked:
            if is_whole:
                tracked.log_steps(recipe.outcome.read_losses())
            else:
                method, done = _train(params, recipe, workplace, tracked)
                _write_outcome(recipe, workplace, method.unet)
                recipe.outcome.put_seal(whole)
            tracked.finish(folder_digest(recipe.outcome.model))
    remove(recipe.unfinished)
    per_step = config.batch * config.accumulation * processes.num_processes
    StageCounts(stage=recipe.stage, done=(config.steps - done) * per_step, reused=done * per_step).report()


def _read_training_set() -> tuple[str, int]:
    """Return the digest of the training set and the number of its samples."""
    shards = list_shards(TRAINING_SET, SUFFIX)
    count = sum(count_samples(shard, SUFFIX) for shard in shards)
    if count == 0:
        raise InputError(f"{TRAINING_SET}: no pair to train on; see what retrieve and segment dropped, and why")
    with Digests() as digests:
        return value_digest([digests.of(shard) for shard in shards]), count


def _fingerprint(recipe: Recipe[AnyMethod], dataset_digest: str, processes: int) -> str:
    """Return a digest of everything that decides the weights after a given number of steps."""
    return value_digest(
        {
            "params": dict(recipe.decisive),
            "data": dataset_digest,
            "models": [identity(model) for model in recipe.models],
            "code": [source_digest(loop.__file__), source_digest(recipe.code)],
            "processes": processes,
        }
    )


def _fingerprint_of_model(recipe: Recipe[AnyMethod], fingerprint: str) -> str:
    """Return a digest of everything that decides the files of the model."""
    code = [code_digest(Path(file)) for file in (recipe.writer, model_folder.__file__)]
    return value_digest([fingerprint, recipe.config.steps, dict(recipe.written), code])


def _train(
    params: Params, recipe: Recipe[AnyMethod], workplace: Workplace, tracked: TrainingRun | None
) -> tuple[AnyMethod, int]:
    """Return the trained method, and the number of steps done before; only the first process has a run to log to."""
    method = _make_method(params, recipe, is_main=tracked is not None)

    def on_step(step: int, log: StepLog) -> None:
        if tracked is not None:
            tracked.log_step(step, log)

    def on_checkpoint(step: int, path: Path) -> None:
        if tracked is None:
            return
        tracked.log_steps(workplace.read_losses())
        if recipe.preview is not None and not tracked.has_artifact(path, "checkpoints"):
            tracked.log_image("edits", recipe.preview(method), step)
            tracked.log_artifact(path, "checkpoints")  # last, so that a logged checkpoint always has its picture

    data = TrainingSet(pictures=Corpus() if recipe.needs_target else None)
    done = loop.fine_tune(method, data, recipe.config, workplace, on_step=on_step, on_checkpoint=on_checkpoint)
    return method, done


def _make_method(params: Params, recipe: Recipe[AnyMethod], *, is_main: bool) -> AnyMethod:
    """Return the method, once the training set is encoded.

    Every process loads the models, which may be damaged, before hours of encoding. The first has its executor encode the
    pairs meanwhile, with workers of their own, and all of them meet when these are done.
    """
    config, processes = recipe.config, PartialState()
    method = recipe.make(load_diffusion(config.base), load_clip(config.clip))
    if is_main:
        draws = config.steps * config.batch * config.accumulation * processes.num_processes
        encode_training_set(config, draws, params.execution)
    processes.wait_for_everyone()
    return method


def _write_outcome(recipe: Recipe[AnyMethod], workplace: Workplace, unet: UNet2DConditionModel) -> None:
    recipe.outcome.write_losses(workplace)
    with written_aside(recipe.outcome.model) as folder:
        recipe.write(unet, locate(recipe.config.base), folder)
