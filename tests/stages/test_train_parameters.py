"""Stage train with a LoRA: what it writes and logs, against diffusers' own pipelines, which load the LoRA onto the base."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from stages.comparison.systems import diffusers_pipeline
from stages.core.files import folder_digest, read_json
from stages.core.params import ModelName
from stages.core.paths import ENCODED_HELD_OUT, HELD_OUT, IEDIT
from stages.corpus.corpus import Corpus
from stages.models import hub
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.layout import LORA
from stages.tracking import store
from stages.tracking.start import Start, put_start
from stages.train import train
from stages.training.dataset import TrainingSet
from stages.training.iedit import IEdit
from stages.training.preview import preview_edits
from stages.training.validation import held_out_losses
from tests.support.img2img import assert_edits_as
from tests.support.tiny import tiny_diffusion_xl
from tests.support.training import changed, files_of, make_tools, params_for, ran_once, runs, write_training_set

PROMPTS = ["a red dog", "a cat on the beach"]
SETTINGS = {"parameters": "lora", "learning_rate": 0.1, "weight_decay": 0.0, "steps": 3, "checkpoint_every": 2}
ATTENTION = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
of_stable_diffusion_1 = pytest.mark.parametrize("trained", ["1.x"], indirect=True)


@pytest.fixture(scope="module", params=["1.x", "XL"])
def trained(request, tmp_path_factory, empty_store):
    """A project whose model was trained by a LoRA, fast enough to change its edits, and the tools that it was trained with."""
    is_xl = request.param == "XL"
    tools = make_tools(tmp_path_factory.mktemp("tools"), tiny_diffusion_xl) if is_xl else request.getfixturevalue("tools")
    with ran_once(train, tools, tmp_path_factory.mktemp("project"), empty_store, **SETTINGS) as project:
        hub.locate.cache_clear()
        yield SimpleNamespace(tools=tools, project=project)


def load(folder: Path) -> Diffusion:
    return load_diffusion(ModelName(name=str(folder)))


def pipeline_of(base: Diffusion):
    return diffusers_pipeline(getattr(diffusers, base.family.pipelines[1]), base)


def test_base_with_the_lora_edits_as_the_trained_model(trained):
    pipeline, model, shape = pipeline_of(load(trained.tools.folder / "base")), load(IEDIT), torch.Size((2, 4, 16, 16))
    with pytest.raises(AssertionError, match="not close"):
        assert_edits_as(pipeline, model, PROMPTS, shape, 0.8, 4.0)
    pipeline.load_lora_weights(IEDIT)
    assert_edits_as(pipeline, model, PROMPTS, shape, 0.8, 4.0)


def test_only_attention_differs_from_the_base(trained):
    base = trained.tools.diffusion.unet.state_dict()
    assert changed(base, load(IEDIT).unet.state_dict()) == {name for name in base if name.endswith(ATTENTION)}


def test_every_checkpoint_has_its_lora_in_mlflow(trained, tmp_path):
    client, run = store.connect(), runs()[0].info.run_id
    folders = [item.path for item in client.list_artifacts(run, "lora")]
    assert folders == ["lora/00000002", "lora/00000003"]
    first, last = (Path(client.download_artifacts(run, folder, str(tmp_path))) for folder in folders)
    shipped = trained.project.files[f"iedit/{LORA}"]
    assert files_of(last) == {LORA: shipped}
    assert files_of(first).keys() == {LORA}
    assert files_of(first)[LORA] != shipped
    pipeline_of(load(trained.tools.folder / "base")).load_lora_weights(first)


@of_stable_diffusion_1
def test_sample_edits_show_the_average_that_ships(trained):
    client, run = store.connect(), runs()[0].info.run_id
    names = [item.path for item in client.list_artifacts(run, "images")]
    (name,) = [name for name in names if "edits" in name and "step+3+" in name and name.endswith(".png")]
    wanted = np.asarray(preview_edits(load(IEDIT), trained.project.params), np.int16)
    with Image.open(client.download_artifacts(run, name)) as logged:
        difference = np.abs(np.asarray(logged.convert("RGB"), np.int16) - wanted)
    assert difference.max() <= 2  # the weights are merged in the one, and beside each other in the other


@of_stable_diffusion_1
def test_held_out_losses_are_those_of_the_shipped_model(trained):
    tools, project = trained.tools, trained.project
    shutil.rmtree("models")
    write_training_set(HELD_OUT, {"00000": [5, 6], "00001": [7]})
    params = params_for(tools.folder, **SETTINGS, validation_pairs=2)
    train(params)
    assert files_of(project.folder / "models") == project.files
    history = store.connect().get_metric_history(runs()[-1].info.run_id, "validation/total")
    assert [metric.step for metric in history] == [1, 2]
    method = IEdit(load(IEDIT), tools.clip, tools.vgg, params.train.losses, params.train.unconditional)
    held_out = TrainingSet(ENCODED_HELD_OUT, HELD_OUT, pictures=Corpus())
    assert history[-1].value == pytest.approx(held_out_losses(method, held_out, params.train)["total"], rel=1e-4)


@of_stable_diffusion_1
def test_interrupted_and_resumed_gives_the_same_bytes(trained, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    shutil.rmtree("models")
    with monkeypatch.context() as patch:
        patch.setattr("stages.train.save_unet", interrupt)  # once the LoRA is in the weights
        with pytest.raises(KeyboardInterrupt):
            train(trained.project.params)
    assert not IEDIT.exists()
    train(trained.project.params)
    assert files_of(trained.project.folder / "models") == trained.project.files


@of_stable_diffusion_1
def test_a_continued_training_starts_from_the_champions_lora(trained, tmp_path):
    """With a learning rate of almost nothing the LoRA stays, and the U-Net is still the base with that LoRA."""
    champion, before = shutil.copytree(IEDIT, tmp_path / "champion"), files_of(IEDIT)
    put_start(Start(version="1", model=folder_digest(champion), why="for the test", basis=None), champion)
    continued = SETTINGS | {"continue_from": "champion", "learning_rate": 1e-30}
    train(params_for(trained.tools.folder, **continued))
    after = files_of(IEDIT)
    assert {name for name in after if after[name] != before[name]} == {"iedit.json"}
    assert read_json(IEDIT / "iedit.json")["start"] == folder_digest(champion)
