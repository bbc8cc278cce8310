"""Stage train: the model that it writes, its run in MLflow, and what stops it before any work."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from stages.core.errors import InputError
from stages.core.files import folder_digest, read_json, write_json
from stages.core.params import ModelName, Params
from stages.core.paths import ENCODED_HELD_OUT, HELD_OUT
from stages.corpus.corpus import Corpus
from stages.editing.editor import Editor
from stages.editing.request import EditRequest, MaskMode
from stages.models.latent_diffusion import load_diffusion, load_unet
from stages.tracking import store
from stages.tracking.retention import plan_retention
from stages.tracking.start import Start, put_start
from stages.tracking.training_run import TrainingRun
from stages.train import train
from stages.training.dataset import TrainingSet
from stages.training.iedit import IEdit
from stages.training.outcome import Outcome
from stages.training.preview import preview_edits
from stages.training.validation import held_out_losses
from tests.support import tiny_corpus
from tests.support.tiny_corpus import write_training_pairs
from tests.support.training import (
    assert_same,
    changed,
    edit_sample,
    files_of,
    params_for,
    ran_once,
    runs,
    times_of,
    write_training_set,
)

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def project(tools, tmp_path_factory, empty_store):
    with ran_once(train, tools, tmp_path_factory.mktemp("project"), empty_store) as project:
        yield project


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_only_the_unets_weights_differ_from_the_base(tools, project):
    base, found = files_of(tools.folder / "base"), files_of(project.folder / "models/iedit")
    added = set(found) - set(base)
    assert added == {"iedit.json"}
    assert {name for name in base if base[name] != found.get(name)} == {"unet/diffusion_pytorch_model.safetensors"}
    assert json.loads(found["iedit.json"])["sampling"] == project.params.sampling.model_dump()


def test_model_loads_and_only_the_trained_blocks_differ(tools, project):
    tuned = load_diffusion(ModelName(name=str(project.folder / "models/iedit"))).unet.state_dict()
    names = changed(tools.diffusion.unet.state_dict(), tuned)
    assert {name.split(".")[0] for name in names} == {"conv_in", "down_blocks", "mid_block"}


def test_losses_table_has_every_step(project):
    lines = (project.folder / "models/losses.csv").read_text().splitlines()
    assert lines[0].split(",")[0] == "step"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]


def test_nothing_is_left_over(project):
    assert {path.name for path in (project.folder / "models").iterdir()} == {"iedit", "iedit.done", "losses.csv"}


def test_weighted_losses_of_every_step_add_up_to_the_total(project):
    with (project.folder / "models/losses.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    weighted = [name for name in rows[0] if name.startswith("weighted/")]
    assert "weighted/unconditional" in weighted
    for row in rows:
        assert sum(row[name] for name in weighted) == pytest.approx(row["total"], rel=1e-4)


def test_a_whole_model_is_not_trained_again(project):
    files = times_of(project.folder / "models")
    train(project.params)
    assert times_of(project.folder / "models") == files
    counts = read_json(Path("logs/train.json"))
    assert (counts["done"], counts["reused"]) == (0, 6)


@pytest.mark.parametrize("name", ["iedit/iedit.json", "iedit/unet/diffusion_pytorch_model.safetensors", "losses.csv"])
def test_a_changed_file_is_trained_again(project, name):
    with (project.folder / "models" / name).open("ab") as file:
        file.write(b"\n")
    train(project.params)
    assert files_of(project.folder / "models") == project.files
    assert read_json(Path("logs/train.json"))["done"] == 6


def test_other_steps_sampling_or_precision_make_another_model(project):
    full = load_file(project.folder / "models/iedit" / WEIGHTS)
    changed = ({"train": {"steps": 2}}, {"sampling": {"steps": 3}}, {"train": {"save_half": True}}, {"precision": "bf16"}, {})
    for changes in changed:
        values = project.params.model_dump(mode="json")
        for key, change in changes.items():
            values[key] = change if isinstance(change, str) else values[key] | change
        train(Params.model_validate(values))
        assert read_json(Path("logs/train.json"))["done"] > 0, changes
        assert read_json(Path("models/iedit/iedit.json")).get("precision", "fp32") == values["precision"]
        if values["train"]["save_half"]:
            half, found = load_file(project.folder / "models/iedit" / WEIGHTS), files_of(project.folder / "models")
            assert all(torch.equal(half[name], value.half()) for name, value in full.items())
            assert {name for name in found if found[name] != project.files[name]} == {f"iedit/{WEIGHTS}", "iedit.done"}
    assert files_of(project.folder / "models") == project.files


def test_run_is_logged(project):
    client, run = store.connect(), runs()[0]
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "weighted/noise")] == [0, 1, 2]
    checkpoints = {item.path for item in client.list_artifacts(run.info.run_id, "checkpoints")}
    assert {path[-20:] for path in checkpoints} == {"00000002.safetensors", "00000003.safetensors"}


def test_sample_edits_show_the_average_that_ships(project):
    """The picture of the last checkpoint has the edits of the model that is written."""
    client, run = store.connect(), runs()[0]
    names = [item.path for item in client.list_artifacts(run.info.run_id, "images")]
    (name,) = [name for name in names if "edits" in name and "step+3+" in name and name.endswith(".png")]
    with Image.open(client.download_artifacts(run.info.run_id, name)) as picture:
        logged = np.asarray(picture.convert("RGB"), int)
    shipped, base = (
        np.asarray(preview_edits(load_diffusion(ModelName(name=model)), project.params), int)
        for model in (str(project.folder / "models/iedit"), project.params.train.base.name)
    )
    # Some processors round a convolution differently for weights that were trained in this process than for loaded ones.
    assert np.abs(logged - shipped).max() <= 1
    assert np.mean(logged != shipped) < 1e-3
    assert np.mean(np.abs(logged - base) > 1) > 1e-3


def test_losses_on_held_out_pairs_change_no_byte(tools, project):
    shutil.rmtree(project.folder / "models")
    write_training_set(project.folder / "data/heldout", {"00000": [5, 6], "00001": [7]})
    params = params_for(tools.folder, steps=3, checkpoint_every=2, validation_pairs=2)
    train(params)
    assert files_of(project.folder / "models") == project.files
    history = store.connect().get_metric_history(runs()[-1].info.run_id, "validation/total")
    assert [metric.step for metric in history] == [1, 2]
    model = load_diffusion(ModelName(name=str(project.folder / "models/iedit")))
    method = IEdit(model, tools.clip, tools.vgg, params.train.losses, params.train.unconditional)
    held_out = TrainingSet(ENCODED_HELD_OUT, HELD_OUT, pictures=Corpus())
    assert len(held_out) == 2
    assert history[-1].value == held_out_losses(method, held_out, params.train)["total"]  # of the average that ships


def test_without_held_out_pairs_none_are_measured(tools, project):
    shutil.rmtree(project.folder / "data/heldout", ignore_errors=True)
    with pytest.raises(InputError, match=r"^train\.validation_pairs = 2: data/heldout holds no pair; raise retrieve\.held_out"):
        train(params_for(tools.folder, steps=3, checkpoint_every=2, validation_pairs=2))


def test_models_in_another_folder_give_the_same_bytes(tools, project, tmp_path):
    shutil.rmtree(project.folder / "models")
    shutil.rmtree(project.folder / "data/cache")
    for name in ("base", "clip", "vgg"):  # no segmenter: masks are those of the training set
        shutil.copytree(tools.folder / name, tmp_path / name)
    train(params_for(tmp_path, steps=3, checkpoint_every=2))
    assert files_of(project.folder / "models") == project.files


def test_interrupted_and_resumed_gives_the_same_bytes(project, monkeypatch):
    shutil.rmtree(project.folder / "models")
    with monkeypatch.context() as patch:
        patch.setattr("stages.train.copy_model", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(project.params)
    assert not (project.folder / "models/iedit").exists()
    train(project.params)
    assert files_of(project.folder / "models") == project.files


@pytest.mark.parametrize("is_damaged", [False, True])
def test_unfinished_run_of_a_whole_model_gets_every_step(project, monkeypatch, is_damaged):
    shutil.rmtree(project.folder / "models")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(project.params)
    (state,) = (project.folder / "models/unfinished").glob("*.run.json")
    before = runs()
    if is_damaged:
        state.write_bytes(state.read_bytes()[:20])
    train(project.params)
    assert read_json(Path("logs/train.json"))["done"] == 0
    assert files_of(project.folder / "models") == project.files
    assert len(runs()) == len(before) + is_damaged
    run = runs()[-1]
    assert run.info.status == "FINISHED"
    history = store.connect().get_metric_history(run.info.run_id, "weighted/noise")
    assert [metric.step for metric in history] == [0, 1, 2]


def test_interrupting_another_training_leaves_the_whole_model_alone(project, monkeypatch):
    train(project.params)
    other = project.params.model_copy(update={"train": project.params.train.model_copy(update={"seed": 1})})
    with monkeypatch.context() as patch:
        patch.setattr(Outcome, "write_losses", interrupt)  # after the last step
        with pytest.raises(KeyboardInterrupt):
            train(other)
    before = runs()
    train(project.params)
    assert read_json(Path("logs/train.json"))["done"] == 0
    assert files_of(project.folder / "models") == project.files
    assert [run.info.run_id for run in runs()] == [run.info.run_id for run in before]


def test_a_killed_training_on_other_settings_is_ended(project, monkeypatch):
    train(project.params)
    other = project.params.model_copy(update={"train": project.params.train.model_copy(update={"seed": 2})})
    with monkeypatch.context() as patch:
        patch.setattr(Outcome, "write_losses", interrupt)
        patch.setattr(TrainingRun, "end", lambda *_: None)  # a kill leaves no time for it
        with pytest.raises(KeyboardInterrupt):
            train(other)
    killed = runs()[-1].info
    assert killed.status == "RUNNING"
    train(project.params)
    client = store.connect()
    assert client.get_run(killed.run_id).info.status == "KILLED"
    assert killed.run_id in {run.info.run_id for run in plan_retention(client, 1).checkpoints}


@pytest.mark.parametrize(("schedule", "reused"), [("constant", 4), ("linear", 0)])
def test_more_steps_train_anew_where_the_rate_falls(tools, project, monkeypatch, schedule, reused):
    """Because the first steps had other rates; at a constant rate the training resumes."""
    few, more = (
        params_for(tools.folder, steps=steps, checkpoint_every=2, seed=3, learning_rate_schedule=schedule) for steps in (2, 3)
    )
    with monkeypatch.context() as patch:
        patch.setattr(Outcome, "write_losses", interrupt)  # after the last step
        with pytest.raises(KeyboardInterrupt):
            train(few)
    train(more)
    assert read_json(Path("logs/train.json"))["reused"] == reused


def continued(project, **changes) -> Params:
    continuation = {"steps_share": 0.5, "max_changed": 0.1}
    return params_for(
        Path(project.params.train.base.name).parent,
        **{"steps": 3, "checkpoint_every": 2, "continue_from": "champion", "continuation": continuation} | changes,
    )


def put(project, version: str | None, **facts) -> None:
    """Choose what the test's training continues from: the project's own model, or the base."""
    kept = project.folder / "kept"
    if not kept.exists():
        train(project.params)
        shutil.copytree(project.folder / "models/iedit", kept)
    start = {"version": version, "model": version and folder_digest(kept), "why": "for the test", "basis": None} | facts
    put_start(Start.model_validate(start), kept if version else None)


def test_a_continued_training_starts_from_the_champions_weights(tools, project):
    """With a learning rate of almost nothing its weights stay, in half the steps; the teacher is the base nevertheless."""
    put(project, "1")
    train(continued(project, learning_rate=1e-30, weight_decay=0.0))
    kept, made = (load_unet(project.folder / name).state_dict() for name in ("kept", "models/iedit"))
    assert_same(made, kept)
    assert read_json(Path("logs/train.json"))["done"] == 2 * 2
    record = read_json(Path("models/iedit/iedit.json"))
    assert record["start"] == folder_digest(project.folder / "kept")
    tags = {name: text for name, text in runs()[-1].data.tags.items() if name.startswith("iedit.start.")}
    assert tags == {"iedit.start.version": "1", "iedit.start.model": record["start"], "iedit.start.why": "for the test"}


def test_a_continued_training_gives_the_same_bytes_again(project):
    put(project, "1")
    train(continued(project))
    first = files_of(project.folder / "models")
    train(continued(project))
    assert read_json(Path("logs/train.json"))["done"] == 0
    shutil.rmtree(project.folder / "models")
    put(project, "7", why="under another number")
    train(continued(project))
    assert {name: data for name, data in files_of(project.folder / "models").items() if "start/" not in name} == {
        name: data for name, data in first.items() if "start/" not in name
    }


def test_where_the_base_is_chosen_the_model_is_the_same(project):
    put(project, None)
    train(continued(project))
    shutil.rmtree(project.folder / "models/start")
    assert files_of(project.folder / "models") == project.files


def test_without_a_choice_a_training_does_not_continue(project):
    shutil.rmtree(project.folder / "models/start", ignore_errors=True)
    with pytest.raises(
        InputError, match=r"^train\.continue_from = 'champion': models/start/start\.json: no such file; python -m"
    ):
        train(continued(project))
    put(project, "1", basis="another")
    with pytest.raises(InputError, match=r"^models/start/start\.json: was chosen for another training set, train\.base, "):
        train(continued(project))
    shutil.rmtree(project.folder / "models/start")


def test_an_editor_without_segmenter_names_it(tools, project):
    request = EditRequest(image=edit_sample(0).source, prompt="a dog")
    with pytest.raises(InputError, match="has no segmenter"):
        Editor(tools.diffusion).edit(request, mask_mode=MaskMode.PREDICTED, sampling=project.params.sampling)


def test_no_pair_is_an_error_with_a_hint(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_training_set(tmp_path / "data/training", {"00000": []})
    dropped = {"ingest": {"duplicate": 2}, "retrieve": {"target too unlike the source": 3}}
    write_json(tmp_path / "data/training/counts.json", dropped)
    most = r"retrieve, 3 because of 'target too unlike the source' \(retrieve\.min_image_image = 0\.\d+\); ingest, 2 because"
    line = rf"no pair to train on; most samples were dropped by {most} of 'duplicate': change these values, or add images; "
    with pytest.raises(InputError, match=line):
        train(project.params)


def test_a_missing_model_is_an_error_before_any_work(models, workplace):
    params = write_training_pairs(models, train={"vgg": {"name": "nowhere"}})
    with pytest.raises(InputError, match=r"^train\.vgg\.name = 'nowhere': neither a folder nor a hub id"):
        train(params)
    assert not Path("models").exists()
    assert not Path("reports").exists()


@pytest.mark.parametrize(("role", "file"), [("vgg", "model.safetensors"), ("clip", "open_clip_config.json")])
def test_a_damaged_model_is_an_error_before_any_work(models, workplace, monkeypatch, role, file):
    params = write_training_pairs(models)
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    monkeypatch.setattr("stages.training.session.encode_training_set", lambda *_, **__: pytest.fail("the work was begun"))
    damaged = shutil.copytree(getattr(params.train, role).name, workplace / "damaged")
    (damaged / file).write_bytes((damaged / file).read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"^train\.{role}\.name = 'damaged': "):
        train(tiny_corpus.params_for(models, train={role: {"name": "damaged"}}))
