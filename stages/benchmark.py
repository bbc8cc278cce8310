"""Time of one edit with this project's sampler and with diffusers' own img2img pipeline, side by side in one process."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import StableDiffusionImg2ImgPipeline

from stages.corpus.samples import read_edits
from stages.editor import Editor, EditRequest, MaskMode
from stages.params import ModelName, Params
from stages.run import run, set_threads
from stages.shards import list_shards
from stages.systems import MODEL, diffusers_pipeline

TRAINING = Path("data/training")
ROUNDS = 9


def benchmark(params: Params) -> None:
    """Print the median time of an edit for 1 and for 4 results, of both, and the ratio with its spread.

    Both have the same weights, steps, strength and guidance, and no mask; they take turns, so that whatever else slows
    the machine slows both.
    """
    set_threads(params.threads)
    sampling = params.sampling
    editor = Editor.load(ModelName(name=str(MODEL)), params.evaluate.segmenter)
    pipeline = diffusers_pipeline(StableDiffusionImg2ImgPipeline, editor.diffusion)
    case = next(sample for shard in list_shards(TRAINING, ".tar") for sample in read_edits(shard))
    request = EditRequest(image=case.source, prompt=case.edit_prompt)
    print(f"{'results':>7}  {'iedit':>8}  {'diffusers':>9}  ratio (lowest to highest of {ROUNDS} rounds)")
    for images in (1, 4):

        def ours(images: int = images) -> None:
            editor.edit(request, mask_mode=MaskMode.NONE, sampling=sampling, images=images)

        def theirs(images: int = images) -> None:
            pipeline(
                prompt=case.edit_prompt,
                image=case.source,
                strength=sampling.strength,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance_scale,
                num_images_per_prompt=images,
                generator=torch.Generator().manual_seed(0),
            )

        ours()
        theirs()
        rounds = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS)]
        ratios = [one / other for one, other in rounds]
        one, other = (statistics.median(times) for times in zip(*rounds, strict=True))
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{images:>7}  {one:>7.3f}s  {other:>8.3f}s  {spread}")


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    run(benchmark)
