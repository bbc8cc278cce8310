"""Stage instruct: the model that it writes, against diffusers' own pipeline, and its run in MLflow."""

import copy
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionInstructPix2PixPipeline

from stages.comparison.systems import instructed_by
from stages.core.errors import InputError
from stages.core.files import read_json, write_json
from stages.core.params import ModelName, Params
from stages.core.paths import INSTRUCT_PIX2PIX_UNFINISHED
from stages.diffusion.sampling import draw_noise
from stages.instruct import instruct
from stages.models.latent_diffusion import load_diffusion
from stages.tracking import store
from stages.tracking.training_run import TrainingRun
from stages.training.instruct_pix2pix import widen
from tests.support import tiny
from tests.support.training import changed, edit_sample, files_of, ran_once, times_of, write_training_set


@pytest.fixture(scope="module")
def project(tools, tmp_path_factory, empty_store):
    with ran_once(instruct, tools, tmp_path_factory.mktemp("project"), empty_store) as project:
        yield project


def test_diffusers_pipeline_loads_it_and_edits(tools, project):
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained("models/instruct_pix2pix", use_safetensors=True)
    base = widen(tools.diffusion.unet).state_dict()
    assert changed(base, pipeline.unet.state_dict()) == set(base)
    pipeline.set_progress_bar_config(disable=True)
    (edit,) = pipeline("a dog", edit_sample(0).source, num_inference_steps=2, image_guidance_scale=1.5).images
    assert edit.size == (32, 32)


@pytest.mark.parametrize(
    ("solver", "kind"), [("ddim", DDIMScheduler), ("dpmsolver++", DPMSolverMultistepScheduler)], ids=["ddim", "dpm"]
)
def test_edits_are_those_of_the_pipeline(project, solver, kind):
    model = ModelName(name="models/instruct_pix2pix")
    sampling = project.params.sampling.model_copy(update={"solver": solver, "guidance_scale": 3.0})
    system = instructed_by(load_diffusion(model, pictures=2), "", sampling, 1.4)
    samples = [edit_sample(number) for number in (0, 1)]
    found = system.edit(samples, None, 7).pictures

    spacing = {"timestep_spacing": "trailing"} if solver == "dpmsolver++" else {}
    scheduler = kind.from_pretrained("models/instruct_pix2pix/scheduler", **spacing)
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(model.name, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.tokenizer.model_max_length = tiny.CONTEXT
    for row, sample in enumerate(samples):
        (wanted,) = pipeline(
            sample.edit_prompt,
            sample.source,
            latents=draw_noise(torch.Size((4, 16, 16)), 7, sample.key)[None],
            num_inference_steps=sampling.steps,
            guidance_scale=3.0,
            image_guidance_scale=1.4,
            output_type="pt",
        ).images
        torch.testing.assert_close(found[row], wanted, rtol=1e-3, atol=1e-3)
    assert (found[0] - found[1]).abs().mean() > 0.01


def test_other_parts_are_the_bases_and_nothing_is_pickled(tools, project):
    found = files_of(project.folder / "models/instruct_pix2pix")
    base = files_of(tools.folder / "base")
    parts = {
        name: data for name, data in base.items() if name.startswith(("vae/", "text_encoder/", "tokenizer/", "scheduler/"))
    }
    assert parts.items() <= found.items()
    unet = {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"}
    assert set(found) - set(parts) == {"model_index.json", *unet}
    assert str(tools.folder).encode() not in b"".join(found.values())


def test_nothing_is_left_over(project):
    wanted = {"instruct_pix2pix", "instruct_pix2pix.done", "instruct_losses.csv"}
    assert {path.name for path in (project.folder / "models").iterdir()} == wanted


def test_a_whole_model_is_not_trained_again(project):
    files = times_of(project.folder / "models")
    instruct(project.params)
    assert times_of(project.folder / "models") == files
    counts = read_json(project.folder / "logs/instruct.json")
    assert (counts["done"], counts["reused"]) == (0, 6)


@pytest.mark.parametrize("change", [{"instruct": {"learning_rate": 3e-4}}, {"train": {"steps": 2}}, {}])
def test_other_parameters_are_another_training(project, change):
    values = project.params.model_dump(mode="json")
    for section, entries in change.items():
        values[section] |= entries
    instruct(Params.model_validate(values))
    assert (files_of(project.folder / "models") == project.files) is (not change)


def test_nothing_is_trained_in_place_of_a_released_model(project, tools):
    values = project.params.model_dump(mode="json")
    values["evaluate"]["systems"]["instruct_pix2pix"]["model"] = {"name": str(tools.folder / "base"), "revision": None}
    instruct(Params.model_validate(values))
    wanted = {"instruct_pix2pix/README.txt", "instruct_losses.csv"}
    assert {name for name in files_of(project.folder / "models") if "instruct" in name} == wanted
    assert read_json(project.folder / "logs/instruct.json")["done"] == 0
    instruct(project.params)
    assert files_of(project.folder / "models") == project.files


def test_losses_of_iedit_do_not_matter(project):
    instruct(project.params)
    values = copy.deepcopy(project.params.model_dump(mode="json"))
    values["train"]["losses"]["perceptual_weight"] = 3.0
    instruct(Params.model_validate(values))
    assert read_json(project.folder / "logs/instruct.json")["done"] == 0


def test_run_is_logged(project):
    client = store.connect()
    run = client.search_runs([store.experiment_id(client)], order_by=["start_time ASC"])[0]
    assert (run.info.run_name, run.info.status) == ("instruct", "FINISHED")
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "raw/noise")] == [0, 1, 2]


def test_a_kill_before_the_run_ends_trains_nothing_again(project, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    instructed = project.params.instruct.model_copy(update={"learning_rate": 2e-4})
    params = project.params.model_copy(update={"instruct": instructed})
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            instruct(params)
    monkeypatch.setattr("stages.training.session._train", lambda *_: pytest.fail("it was trained again"))
    instruct(params)
    assert read_json(project.folder / "logs/instruct.json")["done"] == 0
    assert not INSTRUCT_PIX2PIX_UNFINISHED.exists()
    client = store.connect()
    run = client.search_runs([store.experiment_id(client)], max_results=1)[0]
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "raw/noise")] == [0, 1, 2]


@pytest.mark.parametrize("steps", [3, 4])
def test_only_the_first_process_writes(project, monkeypatch, steps):
    params = project.params.model_copy(update={"train": project.params.train.model_copy(update={"steps": steps})})
    if steps == 3:
        instruct(params)
    trained, before = [], files_of(project.folder / "models")
    second = SimpleNamespace(is_main_process=False, num_processes=1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("stages.training.session.PartialState", lambda **_: second)
    monkeypatch.setattr("stages.training.session.start_training", lambda *_, **__: pytest.fail("a run was opened"))
    monkeypatch.setattr("stages.training.session._train", lambda *arguments: trained.append(arguments[-1]))
    instruct(params)
    assert trained == ([] if steps == 3 else [None])
    assert files_of(project.folder / "models") == before


def test_no_pair_is_an_error_with_a_hint(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_training_set(tmp_path / "data/training", {"00000": []})
    dropped = {"ingest": {"duplicate": 2}, "retrieve": {"target too unlike the source": 3}}
    write_json(tmp_path / "data/training/counts.json", dropped)
    most = r"retrieve, 3 because of 'target too unlike the source' \(retrieve\.min_image_image = 0\.\d+\); ingest, 2 because"
    line = rf"no pair to train on; most samples were dropped by {most} of 'duplicate': change these values, or add images; "
    with pytest.raises(InputError, match=line):
        instruct(project.params)
