"""Stage train with a LoRA: what it writes and logs, against diffusers' own pipelines, which load the LoRA onto the base."""

from types import SimpleNamespace

import diffusers
import pytest
import torch
from pydantic import ValidationError

from stages.comparison.systems import diffusers_pipeline
from stages.core.params import ModelName
from stages.models import hub
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.lora import LORA_FILE
from stages.tracking import store
from stages.train import train
from tests.support.img2img import assert_edits_as
from tests.support.tiny import tiny_diffusion_xl
from tests.support.training import changed, files_of, make_tools, params_for, ran_once, runs

PROMPTS = ["a red dog", "a cat on the beach"]


@pytest.fixture(scope="module", params=["1.x", "XL"])
def trained(request, tmp_path_factory, empty_store):
    """A project whose model was trained by a LoRA, fast enough to change its edits, and the tools that it was trained with."""
    is_xl = request.param == "XL"
    tools = make_tools(tmp_path_factory.mktemp("tools"), tiny_diffusion_xl) if is_xl else request.getfixturevalue("tools")
    changes = {"parameters": "lora", "learning_rate": 0.1, "weight_decay": 0.0}
    with ran_once(train, tools, tmp_path_factory.mktemp("project"), empty_store, **changes) as project:
        hub.locate.cache_clear()
        yield SimpleNamespace(tools=tools, project=project)


def pipeline_of(base: Diffusion):
    return diffusers_pipeline(getattr(diffusers, base.family.pipelines[1]), base)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_base_with_the_lora_edits_as_the_trained_model(trained, guidance_scale):
    base, model = (load_diffusion(ModelName(name=str(path))) for path in (trained.tools.folder / "base", "models/iedit"))
    pipeline, shape = pipeline_of(base), torch.Size((2, 4, 16, 16))
    with pytest.raises(AssertionError, match="not close"):
        assert_edits_as(pipeline, model, PROMPTS, shape, 0.8, guidance_scale)
    pipeline.load_lora_weights("models/iedit")
    assert_edits_as(pipeline, model, PROMPTS, shape, 0.8, guidance_scale)


def test_only_attention_differs_from_the_base(trained):
    base, model = trained.tools.diffusion.unet.state_dict(), load_diffusion(ModelName(name="models/iedit")).unet.state_dict()
    names = changed(base, model)
    attention = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    assert names == {name for name in base if name.endswith(attention)}


def test_every_checkpoint_has_its_lora_in_mlflow(trained, tmp_path):
    client, run = store.connect(), runs()[-1].info.run_id
    folders = [item.path for item in client.list_artifacts(run, "lora")]
    assert folders == ["lora/00000002", "lora/00000003"]
    first, last = (client.download_artifacts(run, folder, str(tmp_path)) for folder in folders)
    shipped = trained.project.files[f"iedit/{LORA_FILE}"]
    assert files_of(tmp_path / "lora/00000003") == {LORA_FILE: shipped}
    assert files_of(tmp_path / "lora/00000002").keys() == {LORA_FILE}
    for folder in (first, last):
        pipeline_of(load_diffusion(ModelName(name=str(trained.tools.folder / "base")))).load_lora_weights(folder)
    assert files_of(tmp_path / "lora/00000002")[LORA_FILE] != shipped


def test_a_lora_of_the_champion_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="needs continue_from: base, because a LoRA adds to the base model"):
        params_for(tmp_path, parameters="lora", continue_from="champion")
