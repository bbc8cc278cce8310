"""Fine-tuning on tiny models: what is trained, how, and that a training goes on after a kill as if nothing had been."""

import copy
import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages import train as stage
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params import ModelName, Params, Train
from stages.core.shards import ShardResult, ShardTask, map_shards
from stages.corpus.samples import EditSample, write_edits
from stages.editing.editor import Editor
from stages.editing.request import EditRequest, MaskMode
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion
from stages.models.vgg import load_vgg
from stages.tracking import store
from stages.tracking.training_run import TrainingRun
from stages.training.dataset import Batch, TrainingSet, encode_training_set, order
from stages.training.iedit import Objective, draw
from stages.training.loop import StepLog, Workplace, fine_tune, trainable_blocks
from stages.training.outcome import Outcome
from tests.support import ROOT, tiny

TRAINED = ("conv_in.", "down_blocks.", "mid_block.")
INPUT = ("conv_in.", "down_blocks.")
STEPS, EVERY = 7, 3


def edit_sample(number: int) -> EditSample:
    rng = np.random.default_rng(number)
    source_mask, target_mask = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    source_mask[3:21, 2 : 13 + number] = 255
    target_mask[5 : 18 + number, 7:25] = 255
    return EditSample(
        key=f"{number:09d}",
        source=Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)),
        target=Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)),
        source_mask=Image.fromarray(source_mask),
        target_mask=Image.fromarray(target_mask),
        source_caption=f"a cat {number}",
        edit_prompt=f"a dog {number}",
        source_diff="cat",
        target_diff=f"dog {number}",
        target_alt_text=f"IMG {number}",
        metadata={"relation": "co-hyponym"},
    )


def write_training_set(folder: Path, shards: dict[str, list[int]]) -> None:
    """Write shards of edit samples, by their numbers, as the stage segment leaves them."""

    def work(task: ShardTask, output: Path, advance) -> ShardResult:
        return ShardResult(done=write_edits(output, [edit_sample(number) for number in task.settings["numbers"]]))

    tasks = [ShardTask(name=name, inputs=(), samples=0, settings={"numbers": numbers}) for name, numbers in shards.items()]
    map_shards(stage="test", tasks=tasks, folder=folder, suffix=".tar", settings={}, work=work)


def params_for(folder: Path, **changes) -> Params:
    """The project's params.yaml with the tiny models below ``folder``, and ``changes`` of its section train."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, key, name in (
        ("train", "base", "base"),
        ("train", "clip", "clip"),
        ("train", "vgg", "vgg"),
        ("evaluate", "segmenter", "segmenter"),
    ):
        values[section][key] = {"name": str(folder / name)}
    losses = {
        "noise": "mask",
        "global_clip": True,
        "local_clip": True,
        "perceptual": True,
        "perceptual_weight": 0.1,
        "perceptual_layers": [3, 8],
    }
    values["train"]["losses"] |= losses
    values["train"] |= {
        "steps": STEPS,
        "batch": 2,
        "accumulation": 1,
        "learning_rate": 1e-3,
        "weight_decay": 0.5,
        "warm_up": 2,
        "max_gradient_norm": 0.05,
        "ema_decay": 0.5,
        "unconditional": 0.2,
        "checkpoint_every": EVERY,
        "keep_checkpoints": 2,
    } | changes
    values["sampling"]["steps"] = 2
    return Params.model_validate(values)


@pytest.fixture(scope="module")
def tools(tmp_path_factory) -> SimpleNamespace:
    """The tiny models, loaded and on disk, and an encoded training set of five samples in two shards."""
    folder = tmp_path_factory.mktemp("tools")
    base = tiny.tiny_diffusion(folder / "base")
    clip, vgg = tiny.tiny_clip(folder / "clip"), tiny.tiny_vgg(folder / "vgg")
    tiny.tiny_segmenter(folder / "segmenter")
    write_training_set(folder / "training", {"00000": [0, 1, 2], "00001": [], "00002": [3, 4]})
    loaded = SimpleNamespace(folder=folder, diffusion=load_diffusion(base), clip=load_clip(clip), vgg=load_vgg(vgg))
    encode(loaded, params_for(folder).train, folder / "cache")
    loaded.data = TrainingSet(folder / "cache")
    return loaded


def encode(tools, config: Train, cache: Path, folder: Path | None = None):
    return encode_training_set(folder or tools.folder / "training", cache, config, tools.diffusion, tools.clip)


def tune(tools, workplace: Workplace, *, on_step=None, on_checkpoint=None, wrap=None, seed: int = 0, **changes):
    """Fine-tune a fresh copy of the base and return its weights."""
    config = params_for(tools.folder, **changes).train
    unet = copy.deepcopy(tools.diffusion.unet)
    objective = Objective(tools.diffusion, tools.clip, tools.vgg, config.losses)

    fine_tune(
        unet,
        wrap(objective) if wrap else objective,
        tools.data,
        config,
        seed,
        workplace,
        on_step=(lambda step, log: on_step(step, log, unet)) if on_step else lambda *_: None,
        on_checkpoint=on_checkpoint or (lambda *_: None),
    )
    return unet.state_dict()


def place(folder: Path, name: str = "a") -> Workplace:
    return Workplace(folder=folder / name, fingerprint="0123456789abcdef0123")


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def logs(workplace: Workplace) -> list[dict]:
    return [json.loads(line) for line in workplace.losses.read_text().splitlines()]


@pytest.fixture(scope="module")
def reference(tools, tmp_path_factory) -> SimpleNamespace:
    """A training that was never interrupted, with its weights after every step."""
    workplace = place(tmp_path_factory.mktemp("reference"))
    raw = []
    final = tune(tools, workplace, on_step=lambda step, log, unet: raw.append(copy.deepcopy(unet.state_dict())))
    return SimpleNamespace(final=final, raw=raw, workplace=workplace)


class TestLoop:
    def test_only_input_and_middle_blocks_are_trained(self, tools, reference):
        base = tools.diffusion.unet.state_dict()
        names = changed(base, reference.final)
        assert {name for name in names if not name.startswith(TRAINED)} == set()
        for part in ("conv_in.weight", "down_blocks.0", "down_blocks.1", "mid_block"):
            assert any(name.startswith(part) for name in names), part
        for part in ("time_embedding", "up_blocks", "conv_norm_out", "conv_out"):  # there, and frozen
            assert any(name.startswith(part) for name in base), part

    def test_trainable_share(self, tools):
        blocks = trainable_blocks(tools.diffusion.unet)
        found = {id(weight) for block in blocks.values() for weight in block.parameters()}
        wanted = {id(weight) for name, weight in tools.diffusion.unet.named_parameters() if name.startswith(TRAINED)}
        assert found == wanted

    def test_blocks_take_turns_and_the_other_does_not_even_decay(self, tools, reference):
        weights = [tools.diffusion.unet.state_dict(), *reference.raw]
        for step in range(STEPS):
            names = changed(weights[step], weights[step + 1])
            active = INPUT if step % 2 == 0 else ("mid_block.",)
            assert {name.split(".")[0] + "." for name in names} == set(active)

    def test_result_is_the_moving_average(self, reference):
        average = {name: value.double() for name, value in reference.raw[0].items()}
        for step, weights in enumerate(reference.raw[1:], 1):
            decay = min(0.5, (1 + step) / (10 + step))
            average = {name: decay * value + (1 - decay) * weights[name].double() for name, value in average.items()}
        for name, value in average.items():
            torch.testing.assert_close(reference.final[name].double(), value, rtol=1e-5, atol=1e-6)
        assert any(name.startswith("conv_in") for name in changed(reference.raw[-1], reference.final))

    def test_first_step_is_adamw_on_the_clipped_gradient(self, tools, tmp_path):
        config = params_for(tools.folder).train
        unet = copy.deepcopy(tools.diffusion.unet).requires_grad_(True)
        numbers = [0, 1]
        batch = tools.data.read([next(order(5, 0, number)) for number in numbers])
        objective = Objective(tools.diffusion, tools.clip, tools.vgg, config.losses)
        objective(unet, batch, draw(batch.z1.shape[1:], 1000, 0.2, 0, numbers))["total"].mean().backward()
        named = {name: weight for name, weight in unet.named_parameters() if name.startswith(INPUT)}
        gradients = {name: weight.grad.double() for name, weight in named.items()}
        norm = float(sum((each**2).sum() for each in gradients.values())) ** 0.5
        assert norm > 0.05  # it is clipped

        workplace = place(tmp_path)
        found = tune(tools, workplace, steps=1)
        assert logs(workplace)[0]["gradient_norm"] == pytest.approx(norm, rel=1e-4)
        assert logs(workplace)[0]["learning_rate"] == pytest.approx(0.5e-3)  # the first of two steps of warm-up
        state = load_file(workplace.checkpoint(1))
        order_of = {id(weight): number for number, weight in enumerate(trainable_blocks(unet)["input"].parameters())}
        for name, weight in named.items():
            clipped = gradients[name] * 0.05 / norm
            moment = state[f"optimizers/input/{order_of[id(weight)]}/exp_avg"].double()
            torch.testing.assert_close(moment, 0.1 * clipped, rtol=1e-3, atol=1e-6)
            rate, decay = 0.5e-3, 0.5
            wanted = weight.detach().double() * (1 - rate * decay) - rate * clipped / (clipped.abs() + 1e-8)
            sure = clipped.abs() > 1e-5  # AdamW's first step has the size of the rate, however small the gradient
            torch.testing.assert_close(found[name].double()[sure], wanted[sure], rtol=1e-4, atol=2e-6)

    def test_accumulated_batches_are_one_large_batch(self, tools, tmp_path):
        one, two = place(tmp_path, "one"), place(tmp_path, "two")
        whole = tune(tools, one, steps=2, batch=4, accumulation=1)
        parts = tune(tools, two, steps=2, batch=2, accumulation=2)
        for name, value in logs(one)[0].items():
            assert logs(two)[0][name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
        moments = [load_file(workplace.checkpoint(2)) for workplace in (one, two)]
        names = [name for name in moments[0] if name.endswith("exp_avg")]
        assert {name.split("/")[1] for name in names} == {"input", "middle"}
        first, second = (torch.cat([moment[name].flatten() for name in names]) for moment in moments)
        assert (first - second).norm() < 0.02 * first.norm()
        difference = torch.cat([(whole[name] - parts[name]).flatten() for name in whole])
        moved = torch.cat([(whole[name] - tools.diffusion.unet.state_dict()[name]).flatten() for name in whole])
        assert difference.norm() < 0.05 * moved.norm()

    def test_log_has_every_step_and_the_learning_rate_warms_up(self, reference):
        rows = logs(reference.workplace)
        assert [row["step"] for row in rows] == list(range(STEPS))
        assert [row["learning_rate"] for row in rows] == pytest.approx([0.5e-3] + [1e-3] * (STEPS - 1))
        assert {"raw/noise", "weighted/perceptual", "share/both", "total", "gradient_norm"} <= set(rows[0])

    def test_another_seed_trains_otherwise(self, tools, reference, tmp_path):
        other = tune(tools, place(tmp_path), seed=1)
        assert changed(other, reference.final)

    def test_old_checkpoints_go(self, reference):
        assert [path.name for path in reference.workplace.checkpoints()] == [
            "0123456789abcdef.00000006.safetensors",
            "0123456789abcdef.00000007.safetensors",
        ]

    def test_checkpointing_activations_changes_memory_only(self, tools, reference, tmp_path):
        vae = tools.diffusion.vae
        try:
            found = tune(tools, place(tmp_path), gradient_checkpointing=True)
        finally:
            vae.disable_gradient_checkpointing()
        for name, value in reference.final.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)


class TestResume:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    # Steps 0 and 1 are before the first checkpoint; 2 and 5 are logged while their checkpoint is still to be written.
    @pytest.mark.parametrize("last", [0, 2, 3, 5, 6])
    def test_after_an_interruption_at_a_step(self, tools, reference, tmp_path, last, error):
        workplace = place(tmp_path)

        def stop(step, log, unet):
            if step == last:
                raise error

        with pytest.raises(error):
            tune(tools, workplace, on_step=stop)
        done = last // EVERY * EVERY
        assert workplace.checkpoints()[-1:] == ([workplace.checkpoint(done)] if done else [])
        self.resume(tools, reference, workplace, done)

    def test_after_an_interruption_right_after_a_checkpoint(self, tools, reference, tmp_path):
        workplace = place(tmp_path)

        def stop(step, path):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tune(tools, workplace, on_checkpoint=stop)
        self.resume(tools, reference, workplace, 3)

    def test_after_a_kill_within_a_line_of_the_log_and_within_a_checkpoint(self, tools, reference, tmp_path):
        workplace = place(tmp_path)

        def stop(step, log, unet):
            if step == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tune(tools, workplace, on_step=stop)
        with workplace.losses.open("a") as file:
            file.write('{"step": 5, "raw/noi')
        aside = workplace.folder / f"{workplace.checkpoint(6).name}.partial"
        aside.mkdir()
        (aside / ".tmp1234").write_bytes(b"half")
        self.resume(tools, reference, workplace, 3)

    @pytest.mark.parametrize("precision", ["no", "bf16"])
    def test_the_base_stays_the_teacher_and_the_same_pictures_are_looked_at(self, tools, tmp_path, precision, request):
        AcceleratorState._reset_state()  # one precision a process is all that it knows
        request.addfinalizer(AcceleratorState._reset_state)
        losses = params_for(tools.folder).train.losses.model_dump(mode="json") | {"noise": "guided", "picture_share": 0.5}
        config = params_for(tools.folder, losses=losses, precision=precision, gradient_checkpointing=True).train

        def train(workplace: Workplace, last: int | None = None) -> dict[str, Tensor]:
            diffusion = dataclasses.replace(tools.diffusion, unet=copy.deepcopy(tools.diffusion.unet))
            objective = Objective(diffusion, tools.clip, tools.vgg, config.losses)  # as the stage makes it

            def stop(step: int, log: StepLog) -> None:
                if step == last:
                    raise KeyboardInterrupt

            fine_tune(diffusion.unet, objective, tools.data, config, 0, workplace, on_step=stop, on_checkpoint=lambda *_: None)
            return diffusion.unet.state_dict()

        straight = train(place(tmp_path, "straight"))
        assert changed(tools.diffusion.unet.state_dict(), straight)
        with pytest.raises(KeyboardInterrupt):
            train(place(tmp_path, "stopped"), last=4)
        assert_same(train(place(tmp_path, "stopped")), straight)
        tools.diffusion.vae.disable_gradient_checkpointing()

    def test_again_and_again(self, tools, reference, tmp_path):
        workplace = place(tmp_path)

        def stop_at(last):
            def stop(step, log, unet):
                if step == last:
                    raise KeyboardInterrupt

            return stop

        for last in (4, 4, 6):
            with pytest.raises(KeyboardInterrupt):
                tune(tools, workplace, on_step=stop_at(last))
        self.resume(tools, reference, workplace, 6)

    def test_more_steps_go_on_from_the_last_checkpoint(self, tools, reference, tmp_path):
        workplace = place(tmp_path)
        tune(tools, workplace, steps=4)
        self.resume(tools, reference, workplace, 4)

    def test_fewer_steps_than_were_done_are_not_more(self, tools, tmp_path):
        wanted = tune(tools, place(tmp_path, "fresh"), steps=2)
        workplace = place(tmp_path)
        tune(tools, workplace)
        assert_same(tune(tools, workplace, steps=2), wanted)
        assert [row["step"] for row in logs(workplace)] == [0, 1]

    def test_a_resumed_checkpoint_is_told_again(self, tools, tmp_path):
        workplace, told = place(tmp_path), []
        tune(tools, workplace, steps=4)
        tune(tools, workplace, on_checkpoint=lambda step, path: told.append((step, path)))
        assert told == [(step, workplace.checkpoint(step)) for step in (4, 6, 7)]

    def test_checkpoint_of_another_training_is_not_resumed(self, tools, reference, tmp_path):
        tune(tools, Workplace(folder=tmp_path / "a", fingerprint="fedcba9876543210fedc"), seed=1)
        self.resume(tools, reference, place(tmp_path), 0)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
            lambda path: path.write_bytes(b""),
            lambda path: save_file(load_file(path), path),  # without the number of its step
            lambda path: save_file({"modules/trained/stranger": torch.zeros(1)}, path, metadata={"step": "6"}),
        ],
    )
    def test_a_damaged_checkpoint_is_told_and_can_be_removed(self, tools, reference, tmp_path, damage):
        workplace = place(tmp_path)
        tune(tools, workplace, steps=6)
        damage(workplace.checkpoint(6))
        told = r"\.00000006\.safetensors: damaged: .*; remove it, and the training goes on from what is left"
        with pytest.raises(InputError, match=told):
            tune(tools, workplace)
        workplace.checkpoint(6).unlink()
        self.resume(tools, reference, workplace, 3)

    def test_lack_of_memory_is_no_damage(self, tools, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise torch.OutOfMemoryError

        workplace = place(tmp_path)
        tune(tools, workplace, steps=3)
        monkeypatch.setattr("stages.training.checkpoints.safe_open", fail)
        with pytest.raises(torch.OutOfMemoryError):
            tune(tools, workplace)

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            (b'{"step": 1, "tot', "line 2 is damaged"),
            (b'{"step": 1, "total": "much"}', "line 2 is damaged"),
            (b'{"step": 0, "total": 1.0}', "line 2 is damaged"),
            (b"[1]", "line 2 is damaged"),
            (b"\xff", "line 2 is damaged"),
            (None, "has 1 of 3 steps"),
        ],
    )
    def test_a_damaged_log_is_told(self, tools, tmp_path, line, told):
        workplace = place(tmp_path)
        tune(tools, workplace, steps=3)
        first, _, third = workplace.losses.read_bytes().splitlines()
        workplace.losses.write_bytes(b"\n".join([first] if line is None else [first, line, third]))
        with pytest.raises(InputError, match=rf"\.losses\.jsonl: {told}; remove .* to train anew"):
            tune(tools, workplace)

    def go_on(self, tools, reference, workplace, done: int) -> None:
        steps = []
        found = tune(tools, workplace, on_step=lambda step, log, unet: steps.append(step))
        assert steps == list(range(done, STEPS))
        assert_same(found, reference.final)
        assert workplace.losses.read_bytes() == reference.workplace.losses.read_bytes()
        for path in reference.workplace.checkpoints():
            assert (workplace.folder / path.name).read_bytes() == path.read_bytes()


class Spoiled:
    """An objective whose total, or the gradient of it, is not finite in one forward pass."""

    def __init__(self, objective: Objective, spoil, at: int) -> None:
        self.objective, self.spoil, self.at, self.calls = objective, spoil, at, 0
        self.alphas, self.diffusion = objective.alphas, objective.diffusion

    def __call__(self, unet: nn.Module, batch: Batch, draws) -> dict[str, torch.Tensor]:
        terms = self.objective(unet, batch, draws)
        if self.calls == self.at:
            terms["total"] = self.spoil(terms["total"])
        self.calls += 1
        return terms


class TestNotFinite:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda total: total * float("nan"),
            lambda total: total + float("inf"),
            lambda total: total + (total * 0).sqrt(),  # the value is finite, its gradient is 0 times infinity
        ],
        ids=["nan", "inf", "gradient"],
    )
    @pytest.mark.parametrize(("at", "kept"), [(1, None), (4, 3), (5, 3)])
    def test_training_stops_and_the_last_checkpoint_is_good(self, tools, reference, tmp_path, spoil, at, kept):
        workplace = place(tmp_path)
        where = workplace.checkpoint(kept).name if kept else "there is no checkpoint yet"
        with pytest.raises(InputError, match=rf"of step {at} is .*{where}.*train.learning_rate"):
            tune(tools, workplace, wrap=lambda objective: Spoiled(objective, spoil, at))
        assert workplace.checkpoints() == ([workplace.checkpoint(kept)] if kept else [])
        assert [row["step"] for row in logs(workplace)] == list(range(at))
        assert_same(tune(tools, workplace), reference.final)


class TestEncodedSet:
    def test_rows_are_what_the_encoders_say(self, tools):
        assert len(tools.data) == 5
        batch = tools.data.read([4, 0])
        for row, number in enumerate((4, 0)):
            sample = edit_sample(number)
            source, target = (
                torch.from_numpy(np.asarray(each)).permute(2, 0, 1)[None] / 255 for each in (sample.source, sample.target)
            )
            masks = [np.asarray(each) // 255 for each in (sample.source_mask, sample.target_mask)]
            halves = [mask.reshape(16, 2, 16, 2).mean(axis=(1, 3)) >= 0.5 for mask in masks]
            tokens = tools.diffusion.tokenizer(
                sample.edit_prompt, padding="max_length", max_length=tiny.CONTEXT, return_tensors="pt"
            ).input_ids
            with torch.no_grad():
                z1, z2 = (tools.diffusion.vae.encode(2 * each - 1).latent_dist.mean * 0.18215 for each in (source, target))
                text = tools.diffusion.text_encoder(tokens)[0]
                prompt, diff = (
                    tools.clip.model.encode_text(tools.clip.tokenizer([words]), normalize=True)
                    for words in (sample.edit_prompt, sample.target_diff)
                )
            for name, wanted in (("z1", z1), ("z2", z2), ("target", target), ("text", text)):
                torch.testing.assert_close(getattr(batch, name)[row], wanted[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(batch.clip_prompt[row], prompt[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(batch.clip_diff[row], diff[0], rtol=1e-4, atol=1e-5)
            for name, mask in zip(("source_mask", "target_mask"), masks, strict=True):
                np.testing.assert_array_equal(getattr(batch, name)[row, 0].numpy(), mask)
            for name, mask in zip(("m1", "m2"), halves, strict=True):
                np.testing.assert_array_equal(getattr(batch, name)[row, 0].numpy(), mask)

    def test_rows_do_not_depend_on_the_batch(self, tools):
        together = tools.data.read([2, 3])
        for row, number in enumerate((2, 3)):
            alone = tools.data.read([number])
            for name, value in vars(alone).items():
                assert torch.equal(value[0], getattr(together, name)[row])

    def test_what_is_encoded_is_not_encoded_again(self, tools, tmp_path):
        folder, cache = tmp_path / "training", tmp_path / "cache"
        write_training_set(folder, {"00000": [0, 1], "00001": [2]})
        config = params_for(tools.folder).train
        first = encode(tools, config, cache, folder)
        assert (first.done, first.shards_done, first.shards_reused) == (3, 2, 0)
        bytes_of = {path.name: path.read_bytes() for path in cache.iterdir()}
        again = encode(tools, config, cache, folder)
        assert (again.done, again.reused, again.shards_done, again.shards_reused) == (0, 3, 0, 2)
        assert {path.name: path.read_bytes() for path in cache.iterdir()} == bytes_of
        write_training_set(folder, {"00000": [0, 1], "00001": [2, 3], "00002": [4]})
        more = encode(tools, config, cache, folder)
        assert (more.done, more.reused, more.shards_done, more.shards_reused) == (3, 2, 2, 1)
        assert len(TrainingSet(cache)) == 5

    def test_corpus_captions_are_other_prompts(self, tools, tmp_path):
        encode(tools, params_for(tools.folder).train, tmp_path)
        other = encode(tools, params_for(tools.folder, prompts="alt").train, tmp_path)
        assert other.done == 5
        batch = TrainingSet(tmp_path).read([1])
        torch.testing.assert_close(batch.text, tools.diffusion.embed_prompts(["IMG 1"]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.clip_prompt, tools.clip.embed_texts(["IMG 1"]), rtol=1e-4, atol=1e-5)


class TestSum:
    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_weighted_terms_of_every_sample_add_up_to_its_total(self, tools, share):
        numbers = list(range(5))
        batch = tools.data.read(numbers)
        config = params_for(tools.folder).train
        objective = Objective(tools.diffusion, tools.clip, tools.vgg, config.losses)
        draws = draw(batch.z1.shape[1:], 1000, share, 0, numbers)
        with torch.no_grad():
            terms = objective(tools.diffusion.unet, batch, draws)
        names = [name for name in terms if name.startswith("weighted/")]
        torch.testing.assert_close(sum(terms[name] for name in names), terms["total"])
        assert (terms["weighted/unconditional"] > 0).tolist() == draws.unconditional.tolist()
        assert (terms["weighted/noise"] > 0).tolist() == (~draws.unconditional).tolist()


class TestDraws:
    def test_every_pass_has_every_row_once_in_an_order_of_its_own(self):
        rows = order(13, 0, 0)
        passes = [[next(rows) for _ in range(13)] for _ in range(4)]
        assert all(sorted(each) == list(range(13)) for each in passes)
        assert len({tuple(each) for each in passes}) == 4

    @pytest.mark.parametrize("first", [1, 12, 13, 14, 40])
    def test_order_can_start_anywhere(self, first):
        rows, late = order(13, 0, 0), order(13, 0, first)
        for _ in range(first):
            next(rows)
        assert [next(late) for _ in range(30)] == [next(rows) for _ in range(30)]

    def test_order_depends_on_the_seed(self):
        assert [next(order(1000, seed, 0)) for seed in range(3)] != [next(order(1000, 0, 0))] * 3

    def test_a_draw_depends_on_its_number_alone(self):
        shape = torch.Size((4, 3, 3))
        torch.manual_seed(1)
        many = draw(shape, 1000, 0.5, 0, [3, 4, 5, 6])
        torch.manual_seed(2)
        some = draw(shape, 1000, 0.5, 0, [5, 3])
        for name in ("timesteps", "noise", "unconditional"):
            assert torch.equal(getattr(some, name), getattr(many, name)[[2, 0]])
        assert not torch.equal(draw(shape, 1000, 0.5, 1, [3]).noise, many.noise[:1])

    def test_draws_are_distributed_as_they_should_be(self):
        found = draw(torch.Size((2, 2, 2)), 1000, 0.25, 0, list(range(2000)))
        assert found.timesteps.min() < 10
        assert 990 <= found.timesteps.max() <= 999
        assert abs(found.timesteps.double().mean() - 499.5) < 30
        assert abs(found.unconditional.double().mean() - 0.25) < 0.04
        assert abs(found.noise.mean()) < 0.03
        assert abs(found.noise.std() - 1) < 0.03

    @pytest.mark.parametrize(("share", "wanted"), [(0.0, False), (1.0, True)])
    def test_unconditional_share_at_its_ends(self, share, wanted):
        assert draw(torch.Size((1,)), 1000, share, 0, list(range(50))).unconditional.tolist() == [wanted] * 50


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def ran_once(run: Callable[[Params], None], tools, folder: Path) -> Iterator[SimpleNamespace]:
    """Run a stage that trains in a folder, and stay there: its files, and the params."""
    shutil.copytree(tools.folder / "training", folder / "data" / "training")
    params = params_for(tools.folder, steps=3, checkpoint_every=2)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run(params)
        yield SimpleNamespace(folder=folder, params=params, files=files_of(folder / "models"))


@pytest.fixture(scope="module")
def project(tools, tmp_path_factory):
    with ran_once(stage.train, tools, tmp_path_factory.mktemp("project")) as project:
        yield project


def runs() -> list:
    """The runs in MLflow, the oldest first."""
    client = store.connect()
    return list(client.search_runs([store.experiment_id(client)], order_by=["start_time ASC"]))


class TestStage:
    def test_every_file_but_the_unets_weights_is_the_bases_byte_for_byte(self, tools, project):
        base, found = files_of(tools.folder / "base"), files_of(project.folder / "models/iedit")
        added = set(found) - set(base)
        assert added == {"iedit.json"}
        assert {name for name in base if base[name] != found.get(name)} == {"unet/diffusion_pytorch_model.safetensors"}
        assert json.loads(found["iedit.json"])["sampling"] == project.params.sampling.model_dump()

    def test_model_loads_and_only_the_trained_blocks_differ(self, tools, project):
        tuned = load_diffusion(ModelName(name=str(project.folder / "models/iedit"))).unet.state_dict()
        names = changed(tools.diffusion.unet.state_dict(), tuned)
        assert {name.split(".")[0] for name in names} == {"conv_in", "down_blocks", "mid_block"}

    def test_losses_are_a_table_of_every_step(self, project):
        lines = (project.folder / "models/losses.csv").read_text().splitlines()
        assert lines[0].split(",")[0] == "step"
        assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]

    def test_nothing_is_left_over(self, project):
        assert {path.name for path in (project.folder / "models").iterdir()} == {"iedit", "iedit.done", "losses.csv"}

    def test_weighted_losses_of_every_step_add_up_to_the_total(self, project):
        with (project.folder / "models/losses.csv").open(newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        weighted = [name for name in rows[0] if name.startswith("weighted/")]
        assert "weighted/unconditional" in weighted
        for row in rows:
            assert sum(row[name] for name in weighted) == pytest.approx(row["total"], rel=1e-4)

    def test_what_is_whole_is_not_trained_again(self, project):
        files = {path: path.stat().st_mtime_ns for path in (project.folder / "models").rglob("*")}
        stage.train(project.params)
        assert {path: path.stat().st_mtime_ns for path in (project.folder / "models").rglob("*")} == files
        counts = read_json(Path("logs/train.json"))
        assert (counts["done"], counts["reused"]) == (0, 6)

    @pytest.mark.parametrize("name", ["iedit/iedit.json", "iedit/unet/diffusion_pytorch_model.safetensors", "losses.csv"])
    def test_what_was_changed_is_trained_again(self, project, name):
        with (project.folder / "models" / name).open("ab") as file:
            file.write(b"\n")
        stage.train(project.params)
        assert files_of(project.folder / "models") == project.files
        assert read_json(Path("logs/train.json"))["done"] == 6

    def test_other_steps_and_another_sampling_are_another_model(self, project):
        for changes in ({"train": {"steps": 2}}, {"sampling": {"steps": 3}}, {}):
            values = project.params.model_dump(mode="json")
            for section, entries in changes.items():
                values[section] |= entries
            stage.train(Params.model_validate(values))
            assert read_json(Path("logs/train.json"))["done"] > 0, changes
        assert files_of(project.folder / "models") == project.files

    def test_run_is_logged(self, project):
        client, run = store.connect(), runs()[0]
        assert run.info.status == "FINISHED"
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, "weighted/noise")] == [0, 1, 2]
        checkpoints = {item.path for item in client.list_artifacts(run.info.run_id, "checkpoints")}
        assert {path[-20:] for path in checkpoints} == {"00000002.safetensors", "00000003.safetensors"}

    def test_once_more_from_nothing_with_the_models_elsewhere_gives_the_same_bytes(self, tools, project, tmp_path):
        shutil.rmtree(project.folder / "models")
        shutil.rmtree(project.folder / "data/cache")
        for name in ("base", "clip", "vgg"):  # no segmenter: masks are those of the training set
            shutil.copytree(tools.folder / name, tmp_path / name)
        stage.train(params_for(tmp_path, steps=3, checkpoint_every=2))
        assert files_of(project.folder / "models") == project.files

    def test_interrupted_and_continued_gives_the_same_bytes(self, project, monkeypatch):
        shutil.rmtree(project.folder / "models")
        write = stage._write_model

        def stop(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(stage, "_write_model", stop)
        with pytest.raises(KeyboardInterrupt):
            stage.train(project.params)
        assert not (project.folder / "models/iedit").exists()
        monkeypatch.setattr(stage, "_write_model", write)
        stage.train(project.params)
        assert files_of(project.folder / "models") == project.files

    @pytest.mark.parametrize("is_damaged", [False, True])
    def test_run_of_a_whole_model_that_was_not_finished_has_every_step(self, project, monkeypatch, is_damaged):
        def stop(*_):
            raise KeyboardInterrupt

        shutil.rmtree(project.folder / "models")
        with monkeypatch.context() as patch:
            patch.setattr(TrainingRun, "finish", stop)
            with pytest.raises(KeyboardInterrupt):
                stage.train(project.params)
        (state,) = (project.folder / "models/unfinished").glob("*.run.json")
        before = runs()
        if is_damaged:
            state.write_bytes(state.read_bytes()[:20])
        stage.train(project.params)
        assert read_json(Path("logs/train.json"))["done"] == 0
        assert files_of(project.folder / "models") == project.files
        assert len(runs()) == len(before) + is_damaged
        run = runs()[-1]
        assert run.info.status == "FINISHED"
        history = store.connect().get_metric_history(run.info.run_id, "weighted/noise")
        assert [metric.step for metric in history] == [0, 1, 2]

    def test_another_training_that_is_interrupted_takes_nothing_from_a_whole_model(self, project, monkeypatch):
        def stop(*_):
            raise KeyboardInterrupt

        stage.train(project.params)
        other = project.params.model_copy(update={"train": project.params.train.model_copy(update={"seed": 1})})
        with monkeypatch.context() as patch:
            patch.setattr(Outcome, "write_losses", stop)  # after the last step
            with pytest.raises(KeyboardInterrupt):
                stage.train(other)
        before = runs()
        stage.train(project.params)
        assert read_json(Path("logs/train.json"))["done"] == 0
        assert files_of(project.folder / "models") == project.files
        assert [run.info.run_id for run in runs()] == [run.info.run_id for run in before]

    def test_an_editor_without_segmenter_says_so(self, tools, project):
        request = EditRequest(image=edit_sample(0).source, prompt="a dog")
        with pytest.raises(InputError, match="has no segmenter"):
            Editor(tools.diffusion).edit(request, mask_mode=MaskMode.PREDICTED, sampling=project.params.sampling)

    def test_no_pair_is_an_error_that_says_where_to_look(self, project, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_training_set(tmp_path / "data/training", {"00000": []})
        with pytest.raises(InputError, match="no pair to train on"):
            stage.train(project.params)
