"""InstructPix2Pix: what it sees, what it learns from, that its training resumes exactly, and that diffusers runs it."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionInstructPix2PixPipeline
from torch import Tensor

from stages import instruct as stage
from stages.comparison.systems import instructed_by
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params import ModelName, Params
from stages.diffusion.sampling import draw_noise
from stages.models.latent_diffusion import load_diffusion
from stages.tracking import store
from stages.training import instruct_pix2pix as instruction
from stages.training.loop import Workplace, fine_tune
from tests.stages.training import test_training as harness
from tests.stages.training.test_training import assert_same, changed, edit_sample, files_of, params_for, ran_once

STEPS, EVERY = 5, 2

tools = harness.tools  # tiny models, and an encoded training set of five samples


def place(folder, name: str = "a") -> Workplace:
    return Workplace(folder=folder / name, stage="instruct", fingerprint="0123456789abcdef0123")


def tune(tools, workplace: Workplace, *, data=None, on_step=lambda *_: None, **changes) -> dict[str, Tensor]:
    """Train a fresh copy of the base and return its weights."""
    changes = {"steps": STEPS, "checkpoint_every": EVERY, "unconditional": 0.05} | changes
    unet = instruction.widen(tools.diffusion.unet)
    fine_tune(
        unet,
        instruction.Objective(tools.diffusion),
        data or tools.data,
        params_for(tools.folder, **changes).train,
        0,
        workplace,
        on_step=on_step,
        on_checkpoint=lambda *_: None,
        trainable=instruction.whole,
        draw=instruction.draw,
    )
    return unet.state_dict()


def draws(timesteps: list[int], *, without_prompt: list[bool], without_source: list[bool]) -> instruction.Draws:
    noise = torch.randn(len(timesteps), 4, 16, 16, generator=torch.Generator().manual_seed(5))
    parts = (torch.tensor(each) for each in (timesteps, without_prompt, without_source))
    return instruction.Draws(noise=noise, **dict(zip(("timesteps", "without_prompt", "without_source"), parts, strict=True)))


def noisy_weights(tools):
    """A widened U-Net that heeds its source."""
    unet = instruction.widen(tools.diffusion.unet)
    torch.manual_seed(3)
    torch.nn.init.normal_(unet.conv_in.weight, std=0.1)
    return unet


class TestModel:
    @torch.no_grad()
    def test_it_begins_as_the_base_whatever_the_source(self, tools):
        wide = instruction.widen(tools.diffusion.unet)
        noisy, source = torch.randn(2, 2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        text = tools.diffusion.embed_prompts(["a dog", "a cat"])
        wanted = tools.diffusion.unet(noisy, 500, text).sample
        torch.testing.assert_close(wide(torch.cat([noisy, source], dim=1), 500, text).sample, wanted, rtol=1e-5, atol=1e-6)
        assert wide.config.in_channels == 8
        assert tools.diffusion.unet.config.in_channels == 4


class TestObjective:
    def test_loss_and_gradient_by_hand(self, tools):
        unet = noisy_weights(tools).requires_grad_(True)
        drawn = draws([20, 700, 999], without_prompt=[False, True, False], without_source=[False, False, True])
        batch = tools.data.read([0, 1, 2])
        terms = instruction.Objective(tools.diffusion)(unet, batch, drawn)
        terms["total"].mean().backward()

        diffusion = tools.diffusion
        with torch.no_grad():
            samples = [edit_sample(number) for number in (0, 1, 2)]
            sources, targets = (
                torch.stack([torch.from_numpy(np.asarray(getattr(sample, name))) for sample in samples]).permute(0, 3, 1, 2)
                / 127.5
                - 1
                for name in ("source", "target")
            )
            source, target = (diffusion.vae.encode(each).latent_dist.mode() for each in (sources, targets))
            source[2] = 0
            noisy = diffusion.scheduler.add_noise(target * 0.18215, drawn.noise, drawn.timesteps)
            text = diffusion.embed_prompts(["a dog 0", "", "a dog 2"])
            predicted = unet(torch.cat([noisy, source], dim=1), drawn.timesteps, text).sample.double()
        error = predicted - drawn.noise.double()
        torch.testing.assert_close(terms["total"].double(), error.square().mean(dim=(1, 2, 3)), rtol=1e-3, atol=1e-4)
        wanted = 2 * error.sum(dim=(0, 2, 3)) / error.numel()  # of the mean square by the last layer's bias
        torch.testing.assert_close(unet.conv_out.bias.grad.double(), wanted, rtol=1e-3, atol=1e-5)
        assert unet.conv_in.weight.grad[:, 4:].abs().sum() > 0
        assert unet.up_blocks[0].resnets[0].conv1.weight.grad.abs().sum() > 0

    def test_of_twenty_samples_one_lacks_its_prompt_one_its_source_and_one_both(self):
        drawn = instruction.draw(torch.Size((1,)), 1000, 0.05, 0, list(range(4000)))
        without = list(zip(drawn.without_prompt.tolist(), drawn.without_source.tolist(), strict=True))
        for kind in ((True, False), (False, True), (True, True)):
            assert without.count(kind) / 4000 == pytest.approx(0.05, abs=0.012)

    def test_it_sees_the_samples_noise_and_timesteps_of_the_stage_train(self):
        ours, theirs = (
            instruction.draw(torch.Size((4, 2, 2)), 1000, 0.05, 0, [3, 8]),
            harness.draw((4, 2, 2), 1000, 0.1, 0, [3, 8]),
        )
        assert torch.equal(ours.noise, theirs.noise)
        assert torch.equal(ours.timesteps, theirs.timesteps)


class TestTraining:
    def test_all_of_the_network_is_trained_in_every_step(self, tools, tmp_path):
        weights = [instruction.widen(tools.diffusion.unet).state_dict(), tune(tools, place(tmp_path), steps=1)]
        assert changed(*weights) == set(weights[0])

    @pytest.mark.parametrize("last", [0, 1, 2, 4])
    def test_interrupted_and_resumed_is_as_straight_through(self, tools, tmp_path, last):
        straight, stopped = place(tmp_path, "straight"), place(tmp_path, "stopped")
        wanted = tune(tools, straight)

        def stop(step, _):
            if step == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tune(tools, stopped, on_step=stop)
        steps = []
        assert_same(tune(tools, stopped, on_step=lambda step, _: steps.append(step)), wanted)
        assert steps == list(range(last // EVERY * EVERY, STEPS))
        assert stopped.losses.read_bytes() == straight.losses.read_bytes()

    def test_what_is_not_finite_stops_it_and_names_its_own_learning_rate(self, tools, tmp_path):
        with pytest.raises(InputError, match=r"^instruct: the .* is (nan|inf); .*; try a lower instruct\.learning_rate"):
            tune(tools, place(tmp_path), learning_rate=1e30, max_gradient_norm=1e30, warm_up=0)

    def test_it_learns_to_copy(self, tools, tmp_path):
        class Copies:
            """Targets that are their own sources, new ones in every batch: only who looks at the source can know them."""

            generator = torch.Generator().manual_seed(0)

            def __len__(self) -> int:
                return len(tools.data)

            def read(self, rows):
                z = 2 * torch.randn(len(rows), 4, 16, 16, generator=self.generator)
                return replace(tools.data.read(rows), z1=z * tools.diffusion.vae.config.scaling_factor, z2=z)

        changes = {"steps": 80, "checkpoint_every": 80, "learning_rate": 1e-2, "weight_decay": 0.0, "max_gradient_norm": 1.0}
        unet = instruction.widen(tools.diffusion.unet)
        unet.load_state_dict(tune(tools, place(tmp_path), data=Copies(), ema_decay=0.8, **changes))
        drawn = draws([500, 600, 700], without_prompt=[False] * 3, without_source=[False] * 3)
        objective, batch = instruction.Objective(tools.diffusion), Copies().read([0, 1, 2])
        with torch.no_grad():
            seen = objective(unet, batch, drawn)["total"].mean()
            hidden = objective(unet, batch, replace(drawn, without_source=torch.tensor([True] * 3)))["total"].mean()
        assert seen < 0.75 * hidden


@pytest.fixture(scope="module")
def project(tools, tmp_path_factory):
    with ran_once(stage.instruct, tools, tmp_path_factory.mktemp("project")) as project:
        yield project


class TestStage:
    def test_diffusers_pipeline_loads_it_and_edits(self, tools, project):
        pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained("models/instruct_pix2pix", use_safetensors=True)
        base = instruction.widen(tools.diffusion.unet).state_dict()
        assert changed(base, pipeline.unet.state_dict()) == set(base)
        pipeline.set_progress_bar_config(disable=True)
        (edit,) = pipeline("a dog", edit_sample(0).source, num_inference_steps=2, image_guidance_scale=1.5).images
        assert edit.size == (32, 32)

    @pytest.mark.parametrize(
        ("solver", "kind"), [("ddim", DDIMScheduler), ("dpmsolver++", DPMSolverMultistepScheduler)], ids=["ddim", "dpm"]
    )
    def test_edits_are_those_of_the_pipeline_for_noise_of_the_seed_and_the_key(self, project, solver, kind):
        model = ModelName(name="models/instruct_pix2pix")
        sampling = project.params.sampling.model_copy(update={"solver": solver, "guidance_scale": 3.0})
        system = instructed_by(load_diffusion(model), "", sampling, 1.4)
        samples = [edit_sample(number) for number in (0, 1)]
        found = system.edit(samples, None, 7)

        spacing = {"timestep_spacing": "trailing"} if solver == "dpmsolver++" else {}
        scheduler = kind.from_pretrained("models/instruct_pix2pix/scheduler", **spacing)
        pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(model.name, scheduler=scheduler)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.tokenizer.model_max_length = harness.tiny.CONTEXT
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

    def test_parts_of_the_base_are_its_own_byte_for_byte_and_nothing_is_pickled(self, tools, project):
        found = files_of(project.folder / "models/instruct_pix2pix")
        base = files_of(tools.folder / "base")
        parts = {
            name: data for name, data in base.items() if name.startswith(("vae/", "text_encoder/", "tokenizer/", "scheduler/"))
        }
        assert parts.items() <= found.items()
        unet = {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"}
        assert set(found) - set(parts) == {"model_index.json", *unet}
        assert str(tools.folder).encode() not in b"".join(found.values())

    def test_nothing_is_left_over(self, project):
        wanted = {"instruct_pix2pix", "instruct_pix2pix.done", "instruct_losses.csv"}
        assert {path.name for path in (project.folder / "models").iterdir()} == wanted

    def test_what_is_whole_is_not_trained_again(self, project):
        files = {path: path.stat().st_mtime_ns for path in (project.folder / "models").rglob("*")}
        stage.instruct(project.params)
        assert {path: path.stat().st_mtime_ns for path in (project.folder / "models").rglob("*")} == files
        counts = read_json(project.folder / "logs/instruct.json")
        assert (counts["done"], counts["reused"]) == (0, 6)

    @pytest.mark.parametrize("change", [{"instruct": {"learning_rate": 3e-4}}, {"train": {"steps": 2}}, {}])
    def test_other_parameters_are_another_training_and_the_first_again_the_same_bytes(self, project, change):
        values = project.params.model_dump(mode="json")
        for section, entries in change.items():
            values[section] |= entries
        stage.instruct(Params.model_validate(values))
        assert (files_of(project.folder / "models") == project.files) is (not change)

    def test_losses_of_iedit_are_no_matter_to_it(self, project):
        stage.instruct(project.params)
        values = copy.deepcopy(project.params.model_dump(mode="json"))
        values["train"]["losses"]["perceptual_weight"] = 3.0
        stage.instruct(Params.model_validate(values))
        assert read_json(project.folder / "logs/instruct.json")["done"] == 0

    def test_run_is_logged(self, project):
        client = store.connect()
        run = client.search_runs([store.experiment_id(client)], order_by=["start_time ASC"])[0]
        assert (run.info.run_name, run.info.status) == ("instruct", "FINISHED")
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, "raw/noise")] == [0, 1, 2]

    def test_a_kill_between_the_model_and_the_end_of_its_run_trains_nothing_again(self, project, monkeypatch):
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        instructed = project.params.instruct.model_copy(update={"learning_rate": 2e-4})
        params = project.params.model_copy(update={"instruct": instructed})
        with monkeypatch.context() as patch:
            patch.setattr(stage.TrainingRun, "finish", stop)
            with pytest.raises(KeyboardInterrupt):
                stage.instruct(params)
        monkeypatch.setattr(stage, "_train", lambda *_: pytest.fail("it was trained again"))
        stage.instruct(params)
        assert read_json(project.folder / "logs/instruct.json")["done"] == 0
        assert not stage.UNFINISHED.exists()
        client = store.connect()
        run = client.search_runs([store.experiment_id(client)], max_results=1)[0]
        assert run.info.status == "FINISHED"
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, "raw/noise")] == [0, 1, 2]

    @pytest.mark.parametrize("steps", [3, 4])
    def test_of_several_processes_the_first_alone_writes(self, project, monkeypatch, steps):
        params = project.params.model_copy(update={"train": project.params.train.model_copy(update={"steps": steps})})
        if steps == 3:
            stage.instruct(params)
        trained, before = [], files_of(project.folder / "models")
        second = SimpleNamespace(is_main_process=False, num_processes=1)
        monkeypatch.setattr("stages.training.stage.PartialState", lambda **_: second)
        monkeypatch.setattr("stages.training.stage.start_training", lambda *_, **__: pytest.fail("a run was opened"))
        monkeypatch.setattr(stage, "_train", lambda *arguments: trained.append(arguments[-1]))
        stage.instruct(params)
        assert trained == ([] if steps == 3 else [None])
        assert files_of(project.folder / "models") == before

    def test_no_pair_is_an_error_that_says_where_to_look(self, project, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        harness.write_training_set(tmp_path / "data/training", {"00000": []})
        with pytest.raises(InputError, match="no pair to train on"):
            stage.instruct(project.params)
