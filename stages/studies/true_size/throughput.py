"""Throughputs, on a GPU if any: images a second of the frozen networks, training steps a second, seconds of an edit."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import diffusers
import torch
from PIL import Image

from stages.comparison.systems import diffusers_pipeline
from stages.core.params import ModelName, Params
from stages.core.paths import IEDIT
from stages.core.section import Precision
from stages.corpus.corpus import Corpus
from stages.editing.editor import Editor
from stages.editing.request import EditRequest, MaskMode
from stages.models.captioner import load_captioner
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion
from stages.models.segmenter import load_segmenter
from stages.models.vgg import load_vgg
from stages.studies.benchmark import time_step
from stages.studies.true_size.stages import PROMPT
from stages.training.dataset import TrainingSet
from stages.training.encoder import encode_training_set
from stages.training.iedit import IEdit

ROUNDS = 5
PRECISIONS: Sequence[Precision] = ("fp32", "fp16", "bf16")
STEP_PRECISIONS = ("no", "tf32", "fp16", "bf16")


def measure_networks(params: Params) -> Iterator[tuple[str, str, float]]:
    """Yield stage, precision and the median images a second of its network with its processor, in batches as configured."""
    corpus = Corpus()
    pictures = [corpus.image(row.key) for shard in corpus.shards() for row in corpus.rows(shard)]
    for precision in PRECISIONS:
        for stage, rate in RATES.items():
            yield stage, precision, rate(params, pictures, precision)


def _caption_rate(params: Params, pictures: Sequence[Image.Image], precision: Precision) -> float:
    captioner = load_captioner(_in(params.caption.model, precision))
    return _rate(pictures, params.caption.batch, lambda part: captioner.caption(part, params.caption.max_tokens))


def _embed_rate(params: Params, pictures: Sequence[Image.Image], precision: Precision) -> float:
    clip = load_clip(_in(params.retrieve.clip, precision))
    return _rate(pictures, params.retrieve.batch, clip.embed_images)


def _segment_rate(params: Params, pictures: Sequence[Image.Image], precision: Precision) -> float:
    segmenter = load_segmenter(_in(params.segment.model, precision))
    return _rate(pictures, params.segment.batch, lambda part: segmenter.probabilities(part, [PROMPT] * len(part)))


RATES: Mapping[str, Callable[[Params, Sequence[Image.Image], Precision], float]] = {
    "caption": _caption_rate,
    "embed": _embed_rate,
    "segment": _segment_rate,
}
"""Stage → the function that returns the images a second of its network."""


def measure_steps(params: Params) -> Iterator[tuple[str, float, int]]:
    """Yield precision, training steps a second with the losses of params.yaml, and the most bytes on the GPU, 0 without one."""
    config = params.train
    diffusion, clip, vgg = load_diffusion(config.base), load_clip(config.clip), load_vgg(config.vgg)
    encode_training_set(config, config.steps * config.batch * config.accumulation, params.execution)
    data = TrainingSet(pictures=Corpus())
    method = IEdit(diffusion, clip, vgg, config.losses, config.unconditional)
    for precision in STEP_PRECISIONS:
        torch.accelerator.reset_peak_memory_stats()
        seconds = time_step(method, data, config.model_copy(update={"precision": precision}), seed=0)
        yield precision, 1 / seconds, torch.accelerator.max_memory_allocated()


def measure_edits(params: Params) -> Iterator[tuple[Precision, int, float, float]]:
    """Yield precision, results, and the median seconds of an edit by the trained model and by diffusers' img2img pipeline.

    Both have the same weights, DDIM, the paper's 50 steps, strength and guidance, and no mask.
    """
    corpus = Corpus()
    image = corpus.image(next(row.key for row in corpus.rows(corpus.shards()[0])))
    sampling = params.sampling
    for precision in PRECISIONS:
        editor = Editor.load(ModelName.in_folder(IEDIT, precision), _in(params.evaluate.segmenter, precision))
        pipeline = diffusers_pipeline(diffusers.StableDiffusionImg2ImgPipeline, editor.diffusion, sampling.solver)
        request = EditRequest(image=image, prompt=PROMPT)
        options = {
            "prompt": PROMPT,
            "image": image,
            "strength": sampling.strength,
            "num_inference_steps": sampling.steps,
            "guidance_scale": sampling.guidance_scale,
        }
        for images in (1, 4):
            ours = partial(editor.edit, request, mask_mode=MaskMode.NONE, sampling=sampling, images=images)
            theirs = partial(pipeline, **options, num_images_per_prompt=images)
            rounds = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS + 1)][1:]
            ours_took, theirs_took = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
            yield precision, images, ours_took, theirs_took


def _in(model: ModelName, precision: Precision) -> ModelName:
    return ModelName.in_folder(Path(model.name), precision)


def _rate(pictures: Sequence[Image.Image], batch: int, work: Callable[[Sequence[Image.Image]], object]) -> float:
    part = [pictures[place % len(pictures)] for place in range(batch)]
    return batch / statistics.median([_seconds(lambda: work(part)) for _ in range(ROUNDS + 1)][1:])


def _seconds(work: Callable[[], object]) -> float:
    _wait_for_device()
    started = time.perf_counter()
    work()
    _wait_for_device()
    return time.perf_counter() - started


def _wait_for_device() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def throughput_lines(params: Params) -> Iterator[str]:
    """Measure everything, and yield the lines of three Markdown tables as soon as they are known."""
    yield from ("| Network | Precision | Images a second |", "|---|---|---:|")
    for stage, precision, rate in measure_networks(params):
        yield f"| {stage} | {precision} | {rate:.1f} |"
    yield from ("", "| Precision of the steps | Training steps a second | Memory on the GPU |", "|---|---:|---:|")
    for name, rate, peak in measure_steps(params):
        yield f"| {name} | {rate:.2f} | {f'{peak / 1e9:.1f} GB' if peak else 'no GPU'} |"
    yield from ("", "| Precision | Results | iEdit | diffusers img2img | Ratio |", "|---|---:|---:|---:|---:|")
    for precision, images, ours, theirs in measure_edits(params):
        yield f"| {precision} | {images} | {ours:.2f} s | {theirs:.2f} s | {ours / theirs:.3f} |"
