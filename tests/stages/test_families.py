"""Trainings on every family: diffusers opens the models that they write, and edits with them as the editor does."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import diffusers
import httpx
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from PIL import Image

from stages.comparison.systems import instructed_by
from stages.core.files import read_json
from stages.core.params import ModelName
from stages.diffusion.sampling import draw_noise
from stages.diffusion.unet import predict
from stages.editing.batch_editor import BatchEditor
from stages.editing.editor import Editor
from stages.instruct import instruct
from stages.models import hub
from stages.models.latent_diffusion import load_diffusion
from stages.models.tensors import to_tensor
from stages.train import train
from tests.support import harness
from tests.support.checkpoints import tiny_diffusion_v
from tests.support.real_service import PATIENCE, real_service
from tests.support.serving import picture, png
from tests.support.tiny import tiny_diffusion_xl
from tests.support.training import changed, edit_sample, make_tools, ran_once, read

BASES = {"2.1": tiny_diffusion_v, "XL": tiny_diffusion_xl}


@pytest.fixture(scope="module", params=BASES.values(), ids=BASES)
def trained(request, tmp_path_factory, empty_store):
    """A project with both trained models, and the tools that they were trained with."""
    tools = make_tools(tmp_path_factory.mktemp("tools"), request.param)
    with ran_once(train, tools, tmp_path_factory.mktemp("project"), empty_store) as project:
        instruct(project.params)
        hub.locate.cache_clear()
        yield SimpleNamespace(tools=tools, params=project.params)


def test_both_models_work_at_the_size_of_their_pictures(trained):
    """That is 32 pixels; the base, if it is XL, works at 64."""
    for name, pictures in (("iedit", 1), ("instruct_pix2pix", 2)):
        assert Editor(load_diffusion(ModelName(name=f"models/{name}"), pictures=pictures)).size.side == 32


def test_encoded_prompts_are_those_of_the_text_encoders(trained):
    tools, samples = trained.tools, [edit_sample(number) for number in (4, 0)]
    found = read(tools.data, [4, 0]).prompt.columns()
    wanted = tools.diffusion.embed_prompts([sample.edit_prompt for sample in samples]).columns()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-3)


def test_trained_blocks_alone_differ_from_the_base(trained):
    tuned = load_diffusion(ModelName(name="models/iedit")).unet.state_dict()
    names = changed(trained.tools.diffusion.unet.state_dict(), tuned)
    assert {name.split(".")[0] for name in names} == {"conv_in", "down_blocks", "mid_block"}


def test_diffusers_opens_the_model_and_edits_alike(trained):
    sampling = trained.params.sampling.model_copy(
        update={"solver": "ddim", "steps": 4, "strength": 0.75, "guidance_scale": 3.0}
    )
    picture, prompt = to_tensor([edit_sample(0).source]), "a dog on the beach"
    editor = BatchEditor(load_diffusion(ModelName(name="models/iedit")))
    found = editor.edit_batch(picture, [prompt], masks=None, sampling=sampling, seed=3, keys=["a"])

    base = DiffusionPipeline.from_pretrained("models/iedit", use_safetensors=True)
    kind = getattr(diffusers, editor.diffusion.family.pipelines[1])
    pipeline = kind.from_pipe(base)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    pipeline.set_progress_bar_config(disable=True)
    latents, noise = editor.diffusion.encode(picture), draw_noise(torch.Size((4, 16, 16)), 3, "a")[None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{kind.__module__}.randn_tensor", lambda *_, **__: noise)
        wanted = pipeline(
            prompt, image=latents, strength=0.75, num_inference_steps=4, guidance_scale=3.0, output_type="pt"
        ).images
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_diffusers_opens_the_instructed_model_and_edits_alike(trained):
    model = ModelName(name="models/instruct_pix2pix")
    sampling = trained.params.sampling.model_copy(update={"solver": "ddim", "steps": 4, "guidance_scale": 3.0})
    sample = edit_sample(0)
    (found,) = instructed_by(load_diffusion(model, pictures=2), "", sampling, 1.4).edit([sample], None, 7).pictures

    pipeline = DiffusionPipeline.from_pretrained(model.name, use_safetensors=True)
    assert "InstructPix2Pix" in type(pipeline).__name__
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    pipeline.set_progress_bar_config(disable=True)
    (wanted,) = pipeline(
        sample.edit_prompt,
        image=sample.source,
        latents=draw_noise(torch.Size((4, 16, 16)), 7, sample.key)[None],
        num_inference_steps=4,
        guidance_scale=3.0,
        image_guidance_scale=1.4,
        output_type="pt",
    ).images
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_the_instructed_unet_is_given_what_diffusers_gives_it(trained):
    """Inputs and prediction of a step with prompt and source, in the form in which the training calls the U-Net."""
    sample, diffusion = edit_sample(0), load_diffusion(ModelName(name="models/instruct_pix2pix"), pictures=2)
    pipeline = DiffusionPipeline.from_pretrained("models/instruct_pix2pix", use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    calls = []
    pipeline.unet.register_forward_hook(lambda _, args, __, output: calls.append((*args, output[0])), with_kwargs=True)
    pipeline(sample.edit_prompt, image=sample.source, num_inference_steps=2, output_type="latent")
    seen, timestep, wanted = calls[-1]  # three rows: with prompt and source, without prompt, and without both
    noisy, source = seen[:1].chunk(2, dim=1)
    encoded = diffusion.encode(to_tensor([sample.source])) / diffusion.vae.config.scaling_factor
    torch.testing.assert_close(encoded, source, rtol=1e-3, atol=1e-3)
    prompt = diffusion.embed_prompts([sample.edit_prompt])
    found = predict(diffusion, diffusion.unet, torch.cat([noisy, encoded], dim=1), timestep, prompt)
    torch.testing.assert_close(found, wanted[:1], rtol=1e-3, atol=1e-3)


def test_the_service_edits_with_the_model(trained):
    with real_service(Path("models/iedit").absolute()) as address:
        answer = httpx.post(
            f"{address}v1/images/edits",
            files={"image": png()},
            data={"prompt": "a dog", "mask_mode": "none", "steps": "2", "strength": "1"},
            timeout=PATIENCE,
        )
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["data"]
    assert Image.open(io.BytesIO(base64.b64decode(result["b64_json"]))).size == picture().size


@pytest.mark.exhaustive
@pytest.mark.parametrize("make_base", BASES.values(), ids=BASES)
def test_whole_pipeline_runs_on_it(tmp_path, make_base):
    project = harness.run_once(tmp_path, make_base)
    metrics = read_json(project.folder / "reports/latest/metrics.json")
    assert set(metrics["systems"]) == {"sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m"}
    base, _, trained = project.models
    pipeline = DiffusionPipeline.from_pretrained(trained)
    assert type(pipeline).__name__ == read_json(base / "model_index.json")["_class_name"]
    assert pipeline.scheduler.config.prediction_type == read_json(base / "scheduler/scheduler_config.json")["prediction_type"]
