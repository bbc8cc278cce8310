"""The run of a training: complete, resumed, and during failures of the store."""

import math
from contextlib import suppress

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from PIL import Image

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params_file import read_params
from stages.tracking import store
from stages.tracking.runs import MODEL_DIGEST, find_run, log_results
from stages.tracking.training_run import TRAINING, TrainingRun
from tests.support.harness import wait_for
from tests.support.registered import train


def steps_of(run: TrainingRun, key: str) -> list[int]:
    return [metric.step for metric in store.connect().get_metric_history(run.run_id, key)]


def test_inputs_and_results_are_logged(folder, tmp_path):
    params = read_params()
    with train(params, tmp_path) as run:
        for step in range(1200):
            run.log_step(step, {"loss": 1 / (step + 1), "rate": 0.1})
        run.log_image("edits", Image.new("RGB", (8, 8)), 1199)
        run.log_artifact(folder / "params.yaml", "checkpoints")
        run.finish("m" * 64)
    client = store.connect()
    kept = client.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert steps_of(run, "loss") == list(range(1200))
    assert kept.data.metrics["loss"] == pytest.approx(1 / 1200)
    assert kept.data.params["train.losses.noise"] == params.train.losses.noise
    assert kept.data.params["seed"] == str(params.seed)
    assert kept.data.params["retrieve.recall_at_1"] == "0.75"
    assert kept.data.tags[MODEL_DIGEST] == "m" * 64
    assert {"mlflow.source.git.commit", "iedit.git_dirty", "iedit.pipeline_digest"} <= kept.data.tags.keys()
    (dataset,) = kept.inputs.dataset_inputs
    assert dataset.dataset.digest == "d" * 36
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "training")]
    assert {"checkpoints", "images", "params.yaml", "libraries.json"} == {
        item.path for item in client.list_artifacts(run.run_id)
    }
    assert find_run("m" * 64) == run.run_id
    assert find_run("n" * 64) is None
    log_results(run.run_id, {"iEdit-M/clip_score": 60.0}, [folder / "params.yaml"])
    assert client.get_run(run.run_id).data.metrics["evaluate/iEdit-M/clip_score"] == 60


def test_unfinished_run_is_resumed(folder, tmp_path):
    params = read_params()
    with suppress(KeyboardInterrupt), train(params, tmp_path) as first:
        for step in range(5):
            first.log_step(step, {"loss": 1.0})
        raise KeyboardInterrupt
    assert store.connect().get_run(first.run_id).info.status == "KILLED"
    with train(params, tmp_path) as second:
        for step in range(3, 8):  # from the last checkpoint on
            second.log_step(step, {"loss": 1.0})
        second.finish("k" * 64)
    assert second.run_id == first.run_id
    assert steps_of(second, "loss") == list(range(8))
    assert store.connect().get_run(first.run_id).info.status == "FINISHED"
    with train(params, tmp_path) as third:
        pass
    assert third.run_id != first.run_id
    assert store.connect().get_run(third.run_id).info.status == "FAILED"
    with train(params, tmp_path, dataset_digest="e" * 64) as other:  # another training in the same folder
        pass
    assert other.run_id != third.run_id


def test_steps_after_held_out_losses_are_logged(folder, tmp_path):
    """A run that is resumed after a checkpoint has every step, and the losses measured there."""
    with suppress(KeyboardInterrupt), train(read_params(), tmp_path) as first:
        first.log_steps((step, {"loss": 1.0}) for step in range(5))
        first.log_validation(4, {"loss": 0.5})
        raise KeyboardInterrupt
    with train(read_params(), tmp_path) as second:
        second.log_steps((step, {"loss": 1.0}) for step in range(3, 8))
        second.finish("v" * 64)
    assert second.run_id == first.run_id
    assert steps_of(second, "loss") == list(range(8))
    assert steps_of(second, "validation/loss") == [4]


def test_a_killed_run_ends_with_the_next_training(folder, tmp_path, monkeypatch):
    """Here that of an experiment with the same settings, so with the same state file."""
    client = store.connect()
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(TrainingRun, "end", lambda *_: None)
        with train(read_params(), tmp_path) as killed:
            raise KeyboardInterrupt
    assert client.get_run(killed.run_id).info.status == "RUNNING"
    monkeypatch.setenv("DVC_EXP_NAME", "brave-owls")
    with train(read_params(), tmp_path) as other:
        other.finish("o" * 64)
    assert [client.get_run(run.run_id).info.status for run in (killed, other)] == ["KILLED", "FINISHED"]


def test_half_made_run_is_replaced(folder, tmp_path, monkeypatch):
    def stop(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.MlflowClient, "log_inputs", stop)
        with pytest.raises(KeyboardInterrupt):
            train(read_params(), tmp_path).__enter__()
    name = read_json(tmp_path / "run.json")["name"]
    with train(read_params(), tmp_path) as run:
        run.finish("h" * 64)
    client = store.connect()
    found = client.search_runs([store.experiment_id(client)], f"tags.`{TRAINING}` = '{name}'")
    assert [each.info.run_id for each in found] == [run.run_id]


def test_steps_are_sent_every_few_seconds(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("stages.tracking.training_run.FLUSH_SECONDS", -1)
    with train(read_params(), tmp_path) as run:
        run.log_step(0, {"loss": 1.0})
        wait_for(lambda: steps_of(run, "loss") == [0])


def test_a_norm_that_is_infinite_is_not_sent(folder, tmp_path):
    with train(read_params(), tmp_path) as run:
        run.log_step(0, {"loss": 1.0, "gradient_norm": math.inf})
        run.finish("h" * 64)
    assert (steps_of(run, "loss"), steps_of(run, "gradient_norm")) == ([0], [])


@pytest.mark.parametrize("content", ['{"training": "ab', "[]", '{"training": "ab"}', "\udcff"])
def test_damaged_state_file_is_reported_and_ignored(folder, tmp_path, capsys, content):
    state = tmp_path / "run.json"
    state.write_bytes(content.encode(errors="surrogateescape"))
    with train(read_params(), tmp_path) as run:
        run.finish("w" * 64)
    assert capsys.readouterr().err == f"{state}: damaged; the training is logged as a new run\n"
    assert find_run("w" * 64) == run.run_id


def test_first_failure_of_the_store_is_reported(folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MlflowException("gone\x1b[2J\nfor ever")

    def train_until_it_fails() -> None:
        with train(read_params(), tmp_path) as run:
            monkeypatch.setattr(store.MlflowClient, "log_batch", fail)
            run.log_step(0, {"loss": 1.0})
            run.flush()

    with pytest.raises(InputError, match=r"^tracking store: gone \[2J$"):
        train_until_it_fails()


def test_run_keeps_the_checkpoints_that_are_kept(folder, tmp_path):
    names = [f"step_{number}.safetensors" for number in (1, 2, 3)]
    with train(read_params(), tmp_path) as run:
        for number, name in enumerate(names):
            (tmp_path / name).write_bytes(name.encode())
            run.log_artifact(tmp_path / name, "checkpoints")
            run.keep_artifacts(names[max(0, number - 1) : number + 1], "checkpoints")
    sent = store.connect().list_artifacts(run.run_id, "checkpoints")
    assert [item.path for item in sent] == [f"checkpoints/{name}" for name in names[1:]]


@pytest.mark.parametrize("error", [NotImplementedError(), MlflowException("Not implemented yet")])
def test_a_store_that_removes_nothing_ends_no_training(folder, tmp_path, monkeypatch, capsys, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(LocalArtifactRepository, "delete_artifacts", fail)
    names = ["step_1.safetensors", "step_2.safetensors", "step_3.safetensors"]
    with train(read_params(), tmp_path) as run:
        for step, name in enumerate(names):
            (tmp_path / name).write_bytes(b"weights")
            run.log_artifact(tmp_path / name, "checkpoints")
            run.keep_artifacts([name], "checkpoints")
            run.log_step(step, {"loss": 1.0})
        run.finish("m" * 64)
    assert steps_of(run, "loss") == [0, 1, 2]
    assert len(store.connect().list_artifacts(run.run_id, "checkpoints")) == 3
    said = capsys.readouterr().err
    assert said == f"files in checkpoints that are no longer needed stay with the run: {type(error).__name__}: {error}\n"


def test_replaced_checkpoint_is_not_sent(folder, tmp_path):
    with train(read_params(), tmp_path) as run:
        (tmp_path / "step_2.safetensors").write_bytes(b"two")
        for number in (1, 2):
            run.log_artifact(tmp_path / f"step_{number}.safetensors", "checkpoints")
    sent = store.connect().list_artifacts(run.run_id, "checkpoints")
    assert [item.path for item in sent] == ["checkpoints/step_2.safetensors"]
