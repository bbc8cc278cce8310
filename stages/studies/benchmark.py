"""Time of an edit beside diffusers' img2img pipeline, and of a training step beside InstructPix2Pix, in one process."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionImg2ImgPipeline, UNet2DConditionModel

from stages.comparison.systems import MODEL, diffusers_pipeline
from stages.core.params import ModelName, Params, Solver
from stages.core.run import run, set_threads
from stages.core.shards import list_shards
from stages.corpus.samples import read_edits
from stages.editing.editor import Editor, EditRequest, MaskMode
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion
from stages.models.vgg import load_vgg
from stages.training import dataset, loop
from stages.training import iedit as objective
from stages.training import instruct_pix2pix as instruction
from stages.training.stage import CACHE, TRAINING

ROUNDS = 9
WARMING, TIMED = 2, 8  # training steps of a round: not counted, counted
DDIM_STEPS = (25, 50)  # the last are the paper's


def benchmark(params: Params) -> None:
    """Print the median times of an edit and of a training step beside those of what they compare with.

    The ratios have their spread. What is compared takes turns in one process, so that whatever else slows the machine
    slows both.
    """
    set_threads(params.threads)
    _compare_edits(params)
    _compare_training_steps(params)


def _compare_edits(params: Params) -> None:
    """Print the time of an edit for 1 and for 4 results, and that of diffusers' img2img pipeline.

    Both have the same weights, strength and guidance, and no mask; the pipeline has the same solver and steps too, which
    measures this code alone, and then DDIM's, which measures the choice of the solver as well. Then an edit within a mask that
    is predicted, a first edit included if there is one, beside the same edits of the pipeline with DDIM.
    """
    sampling = params.sampling
    editor = Editor.load(ModelName(name=str(MODEL)), params.evaluate.segmenter)
    case = next(sample for shard in list_shards(TRAINING, ".tar") for sample in read_edits(shard))
    request = EditRequest(image=case.source, prompt=case.edit_prompt, term=case.target_diff, source_term=case.source_diff)
    print(f"an edit: {sampling.solver}, {sampling.steps} steps; lowest to highest ratio of {ROUNDS} rounds")
    print(f"{'results':>7}  {'mask':>9}  {'diffusers with':>20}  {'iEdit':>8}  {'diffusers':>9}  ratio")
    compared: list[tuple[MaskMode, Solver, int]] = [
        (MaskMode.NONE, sampling.solver, sampling.steps),
        *((mode, "ddim", steps) for mode in (MaskMode.NONE, MaskMode.PREDICTED) for steps in DDIM_STEPS),
    ]
    for images, (mode, solver, steps) in product((1, 4), compared):
        ours = partial(editor.edit, request, mask_mode=mode, sampling=sampling, images=images)
        theirs = partial(
            diffusers_pipeline(StableDiffusionImg2ImgPipeline, editor.diffusion, solver),
            prompt=case.edit_prompt,
            image=case.source,
            strength=sampling.strength,
            num_inference_steps=steps,
            guidance_scale=sampling.guidance_scale,
            num_images_per_prompt=images,
        )
        ours()
        theirs()
        rounds = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS)]
        print(f"{images:>7}  {mode:>9}  {f'{solver}, {steps} steps':>20}  {_shown(rounds)}")


def _compare_training_steps(params: Params) -> None:
    """Print the time of a training step with all losses, and with those of params.yaml, and that of InstructPix2Pix.

    A time is the mean over the steps of a round, for blocks take turns and pictures are decoded of some samples only; each
    round has samples of its own.
    """
    config = params.train.model_copy(update={"steps": WARMING + TIMED, "checkpoint_every": WARMING + TIMED})
    diffusion, clip, vgg = load_diffusion(config.base), load_clip(config.clip), load_vgg(config.vgg)
    dataset.encode_training_set(TRAINING, CACHE, config, diffusion, clip)
    data, wide = dataset.TrainingSet(CACHE), instruction.widen(diffusion.unet)
    competitor = instruction.Objective(diffusion)

    def step_of(unet: UNet2DConditionModel, objective: loop.Objective, seed: int, **how: Any) -> float:
        """Return the mean seconds of a step."""
        seconds: list[float] = []

        def on_step(_: int, log: loop.StepLog) -> None:
            seconds.append(config.batch * config.accumulation / log["samples_per_second"])

        with tempfile.TemporaryDirectory() as folder:
            workplace = loop.Workplace(folder=Path(folder), stage="train", fingerprint="benchmark")
            heard: dict[str, Any] = {"on_step": on_step, "on_checkpoint": lambda *_: None, **how}
            loop.fine_tune(unet, objective, data, config, seed, workplace, **heard)
        return statistics.mean(seconds[WARMING:])

    print(f"\na training step of {config.batch}; lowest to highest ratio of {ROUNDS} rounds of {TIMED} steps")
    print(f"{'losses':>28}  {'iEdit':>8}  {'InstructPix2Pix':>15}  ratio")
    everything = {"noise": "mask", "global_clip": True, "local_clip": True, "perceptual": True}
    for name, changes in (
        ("Eq 12 on every picture", {**everything, "picture_share": 1.0}),
        (f"Eq 12 on {config.losses.picture_share:.0%} of the pictures", everything),
        ("params.yaml", {}),
    ):
        ours = objective.Objective(diffusion, clip, vgg, config.losses.model_copy(update=changes))
        rounds = [
            (
                step_of(diffusion.unet, ours, seed),
                step_of(wide, competitor, seed, trainable=instruction.whole, draw=instruction.draw),
            )
            for seed in range(ROUNDS)
        ]
        print(f"{name:>28}  {_shown(rounds)}")


def _shown(rounds: Sequence[tuple[float, float]]) -> str:
    """Return the medians of both times, and the ratio with its spread."""
    ratios = [one / other for one, other in rounds]
    one, other = (statistics.median(times) for times in zip(*rounds, strict=True))
    return f"{one:>7.3f}s  {other:>8.3f}s  {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    run(benchmark)
