"""Time of one edit as params.yaml samples it and by diffusers' img2img pipeline with DDIM, side by side in one process."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

from diffusers import StableDiffusionImg2ImgPipeline

from stages.corpus.samples import read_edits
from stages.editor import Editor, EditRequest, MaskMode
from stages.params import ModelName, Params
from stages.run import run, set_threads
from stages.shards import list_shards
from stages.systems import MODEL, diffusers_pipeline

TRAINING = Path("data/training")
ROUNDS = 9
DDIM_STEPS = (25, 50)  # as good here as what params.yaml says; the paper's


def benchmark(params: Params) -> None:
    """Print the median time of an edit for 1 and for 4 results, of both, and the ratio with its spread.

    Both have the same weights, strength and guidance, and no mask; they take turns, so that whatever else slows the machine
    slows both.
    """
    set_threads(params.threads)
    editor = Editor.load(ModelName(name=str(MODEL)), params.evaluate.segmenter)
    pipeline = diffusers_pipeline(StableDiffusionImg2ImgPipeline, editor.diffusion)
    case = next(sample for shard in list_shards(TRAINING, ".tar") for sample in read_edits(shard))
    request = EditRequest(image=case.source, prompt=case.edit_prompt)
    print(f"iEdit: {params.sampling.solver}, {params.sampling.steps} steps; ratio: lowest to highest of {ROUNDS} rounds")
    print(f"{'results':>7}  {'DDIM steps':>10}  {'iEdit':>8}  {'diffusers':>9}  ratio")
    for images, steps in product((1, 4), DDIM_STEPS):
        ours = partial(editor.edit, request, mask_mode=MaskMode.NONE, sampling=params.sampling, images=images)
        theirs = partial(
            pipeline,
            prompt=case.edit_prompt,
            image=case.source,
            strength=params.sampling.strength,
            num_inference_steps=steps,
            guidance_scale=params.sampling.guidance_scale,
            num_images_per_prompt=images,
        )
        ours()
        theirs()
        rounds = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS)]
        ratios = [one / other for one, other in rounds]
        one, other = (statistics.median(times) for times in zip(*rounds, strict=True))
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{images:>7}  {steps:>10}  {one:>7.3f}s  {other:>8.3f}s  {spread}")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    run(benchmark)
