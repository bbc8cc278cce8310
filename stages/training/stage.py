"""What every stage that trains does around its training: once, whole, in a run of MLflow, and resumed after a kill."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState

from stages.core.errors import InputError
from stages.core.files import file_digest, folder_digest, remove, value_digest
from stages.core.params import Params
from stages.core.shards import StageCounts, count_samples, list_shards
from stages.models.tensors import device
from stages.tracking.training_run import TrainingInputs, TrainingRun, start_training
from stages.training.loop import Workplace
from stages.training.outcome import Outcome

TRAINING = Path("data/training")
CACHE = Path("data/cache")  # the training set as the frozen encoders see it: made anew when missing, no out of DVC
PATIENCE = timedelta(days=7)  # of processes that wait until the first has encoded the training set
Model = TypeVar("Model")


def run_training(
    params: Params,
    *,
    stage: str,
    outcome: Outcome,
    unfinished: Path,
    fingerprint: Callable[[str, int], str],
    decisive: Sequence[Any],
    fit: Callable[[Workplace, TrainingRun | None], tuple[Model, int]],
    write: Callable[[Model], None],
) -> None:
    """Train ``params.train.steps`` steps and write the outcome, unless it is whole already.

    Of several processes (``accelerate launch``) all take the steps, and the first does all else.

    Args:
        params: the whole of params.yaml.
        stage: its name.
        outcome: what it leaves.
        unfinished: the folder of checkpoints; removed when the model is whole and its run finished.
        fingerprint: from the digest of the training set and the number of processes to a digest of all that decides the
            weights after a given number of steps.
        decisive: what else decides the files of the model; JSON.
        fit: trains; returns the model, and how many steps of it had been done before. The first process has a run to log to.
        write: writes the model.

    Raises:
        InputError: there is no pair to train on.
    """
    processes = PartialState(cpu=device().type == "cpu", timeout=PATIENCE)
    config = params.train
    shards = list_shards(TRAINING, ".tar")
    count = sum(count_samples(shard, ".tar") for shard in shards)
    if count == 0:
        raise InputError(f"{TRAINING}: no pair to train on; see what retrieve and segment dropped, and why")
    data = value_digest([file_digest(shard) for shard in shards])
    workplace = Workplace(folder=unfinished, stage=stage, fingerprint=fingerprint(data, processes.num_processes))
    whole = value_digest([workplace.fingerprint, config.steps, *decisive])
    run = unfinished / f"{whole[:16]}.run.json"  # of this training: another that was left is none of its business
    is_whole = outcome.is_whole(whole)
    done = config.steps
    if not processes.is_main_process:
        if not is_whole:
            fit(workplace, None)
        return
    if not is_whole or run.exists():
        inputs = TrainingInputs(stage=stage, params=params, dataset=TRAINING, dataset_digest=data, samples=count)
        with start_training(inputs, run) as tracked:
            if is_whole:
                tracked.log_steps(outcome.read_losses())
            else:
                model, done = fit(workplace, tracked)
                outcome.write_losses(workplace)
                write(model)
                outcome.put_seal(whole)
            tracked.finish(folder_digest(outcome.model))
    remove(unfinished)
    per_step = config.batch * config.accumulation * processes.num_processes
    StageCounts(stage=stage, done=(config.steps - done) * per_step, reused=done * per_step).report()
