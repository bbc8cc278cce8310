"""Seconds of an edit and of a training step, beside diffusers' img2img pipeline and InstructPix2Pix.

Run it with ``python -m stages.studies.benchmark``. Each pair takes turns in one process, so that other load on the
machine slows both.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import diffusers

from stages.comparison.systems import diffusers_pipeline
from stages.core.files import write_text
from stages.core.params import ModelName, Params, Sampling, Solver, Train
from stages.core.paths import IEDIT, REPORTS, TRAINING_SET
from stages.core.run import run, set_threads
from stages.core.shards import list_shards
from stages.corpus.corpus import Corpus
from stages.corpus.samples import EditSample
from stages.editing.editor import Editor
from stages.editing.request import EditRequest, MaskMode
from stages.editing.settings import read_precision
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion
from stages.models.vgg import load_vgg
from stages.pairing.training_set import SUFFIX, edit_sample, read_pairs
from stages.training.dataset import TrainingSet
from stages.training.encoder import encode_training_set
from stages.training.iedit import IEdit
from stages.training.instruct_pix2pix import InstructPix2Pix
from stages.training.loop import fine_tune
from stages.training.method import Method
from stages.training.workplace import StepLog, Workplace

ROUNDS = 9
WARMING, TIMED = 2, 8  # training steps per round: untimed, timed
DDIM_STEPS = (25, 50)  # the paper takes 50
Rounds = Sequence[tuple[float, float]]
"""Seconds of this project and of the other, for each round."""


def benchmark(params: Params) -> None:
    """Print the tables of edits and of training steps, row by row, and write them to ``reports/latest/benchmark.md``."""
    set_threads(params.threads)
    lines = []
    for line in chain(compare_edits(params), [""], compare_training_steps(params)):
        print(line, flush=True)
        lines.append(line)
    write_text(REPORTS / "benchmark.md", "\n".join([*lines, ""]))


def compare_edits(params: Params) -> Iterator[str]:
    """Time an edit beside diffusers' img2img pipeline, for one and for four results; yield the lines of a table.

    Both have the same weights, strength and guidance. Without a mask the pipeline first runs with the same solver and
    steps, which measures this code alone, then with DDIM, which measures the choice of the solver too. An edit within a
    predicted mask, its draft included, is compared with DDIM alone.
    """
    sampling = params.sampling
    editor = Editor.load(ModelName.in_folder(IEDIT, read_precision(IEDIT)), params.evaluate.segmenter)
    row = next(row for table in list_shards(TRAINING_SET, SUFFIX) for row in read_pairs(table))
    case = edit_sample(row, Corpus())
    compared: list[tuple[MaskMode, Solver, int]] = [
        (MaskMode.NONE, sampling.solver, sampling.steps),
        *((mode, "ddim", steps) for mode in (MaskMode.NONE, MaskMode.PREDICTED) for steps in DDIM_STEPS),
    ]
    yield from _header("Results", "Mask", "diffusers with", ours="iEdit", theirs="diffusers")
    for images, (mode, solver, steps) in product((1, 4), compared):
        rounds = _time_edits(editor, case, sampling, mode, solver, steps, images)
        yield _row(str(images), mode, f"{solver}, {steps} steps", rounds=rounds)
    yield ""
    yield (
        f"Median seconds of an edit; median ratio of {ROUNDS} rounds, with the lowest and the highest. iEdit samples by"
        f" {sampling.solver} in {sampling.steps} steps."
    )


def compare_training_steps(params: Params) -> Iterator[str]:
    """Time a step of iEdit, with all losses and with those of params.yaml, beside InstructPix2Pix; yield a table's lines.

    A round's time is the mean over its steps, because the trained blocks alternate and only some samples are decoded to
    pictures. Each round draws other samples.
    """
    config = params.train
    diffusion, clip, vgg = load_diffusion(config.base), load_clip(config.clip), load_vgg(config.vgg)
    encode_training_set(config, config.steps * config.batch * config.accumulation, params.execution)
    data = TrainingSet(pictures=Corpus())
    competitor = InstructPix2Pix(diffusion, params.instruct.dropout)
    everything = {"noise": "mask", "global_clip": True, "local_clip": True, "perceptual": True}
    yield from _header("Losses", ours="iEdit", theirs="InstructPix2Pix")
    for name, changes in (
        ("Eq 12 on every picture", {**everything, "picture_share": 1.0}),
        (f"Eq 12 on {config.losses.picture_share:.0%} of the pictures", everything),
        ("params.yaml", {}),
    ):
        ours = IEdit(diffusion, clip, vgg, config.losses.model_copy(update=changes), config.unconditional)
        rounds = [(time_step(ours, data, config, each), time_step(competitor, data, config, each)) for each in range(ROUNDS)]
        yield _row(name, rounds=rounds)
    yield ""
    yield f"Median seconds of a training step of {config.batch} samples; median ratio of {ROUNDS} rounds of {TIMED} steps."


def time_step(method: Method[Any], data: TrainingSet, config: Train, seed: int) -> float:
    """Return the mean seconds of TIMED training steps, after some to warm up."""
    seconds: list[float] = []
    steps = WARMING + TIMED
    config = config.model_copy(update={"seed": seed, "steps": steps, "log_every": 1, "checkpoint_every": steps})

    def on_step(_: int, log: StepLog) -> None:
        seconds.append(config.batch * config.accumulation / log["samples_per_second"])

    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(folder=Path(folder), fingerprint="benchmark")
        fine_tune(method, data, config, workplace, on_step=on_step, on_checkpoint=lambda *_: None)
    return statistics.mean(seconds[WARMING:])


def _time_edits(
    editor: Editor, case: EditSample, sampling: Sampling, mode: MaskMode, solver: Solver, steps: int, images: int
) -> Rounds:
    """Return the seconds of ROUNDS edits of one case, by the editor and by diffusers, after one edit each to warm up."""
    request = EditRequest(image=case.source, prompt=case.edit_prompt, term=case.target_diff, source_term=case.source_diff)
    ours = partial(editor.edit, request, mask_mode=mode, sampling=sampling, images=images)
    theirs = partial(
        diffusers_pipeline(getattr(diffusers, editor.diffusion.family.pipelines[1]), editor.diffusion, solver),
        prompt=case.edit_prompt,
        image=case.source,
        strength=sampling.strength,
        num_inference_steps=steps,
        guidance_scale=sampling.guidance_scale,
        num_images_per_prompt=images,
    )
    ours()
    theirs()
    return [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS)]


def _header(*columns: str, ours: str, theirs: str) -> list[str]:
    """Return the head of a Markdown table: what it compares, the seconds of both, and their ratio."""
    return [f"| {' | '.join([*columns, ours, theirs, 'Ratio'])} |", "|" + "---|" * len(columns) + "---:|" * 3]


def _row(*cells: str, rounds: Rounds) -> str:
    """Return a row: the median seconds of both, and the median, lowest and highest ratio."""
    ratios = [ours / theirs for ours, theirs in rounds]
    ours, theirs = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    ratio = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    return f"| {' | '.join([*cells, f'{ours:.3f} s', f'{theirs:.3f} s', ratio])} |"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    run(benchmark)
