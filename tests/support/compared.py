"""Cases and models for comparisons of the systems, on tiny models."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image

from stages.core.paths import IEDIT, INSTRUCT_PIX2PIX
from stages.core.shards import ShardFiles, ShardResult, ShardTask
from stages.corpus.samples import EditSample, write_edits
from stages.models.latent_diffusion import load_diffusion
from stages.training.instruct_pix2pix import widen
from tests.support.samples import noise
from tests.support.shards import map_in_process


def case(number: int) -> EditSample:
    """A 32×32 edit of a cat into a dog, with words of its own; both masks are boxes."""
    source_mask, target_mask = Image.new("L", (32, 32)), Image.new("L", (32, 32))
    source_mask.paste(255, (2, 3, 13 + number, 21))
    target_mask.paste(255, (7, 5, 25, 18 + number))
    return EditSample(
        key=f"{number:09d}",
        source=noise(number),
        target=noise(number + 100),
        source_mask=source_mask,
        target_mask=target_mask,
        source_caption=f"a cat {number}",
        edit_prompt=f"a dog {number}",
        source_diff="cat",
        target_diff=f"dog {number}",
        target_alt_text=f"IMG {number}",
        metadata={"relation": "co-hyponym"},
    )


def write_cases(folder: Path, count: int) -> None:
    """Write one shard of cases with its sidecar."""

    def work(_: ShardTask, files: ShardFiles, advance) -> ShardResult:
        return ShardResult(done=write_edits(files.output, [case(number) for number in range(count)]))

    tasks = [ShardTask(name="00000", inputs=(), samples=count, settings={})]
    map_in_process(work, tasks, folder, ".tar")


def copy_trained_models(models: SimpleNamespace) -> None:
    """Let the base stand in for the trained models below the working directory."""
    for folder in (IEDIT, INSTRUCT_PIX2PIX):
        shutil.copytree(models.diffusion.name, folder)
    widen(load_diffusion(models.diffusion).unet).save_pretrained(INSTRUCT_PIX2PIX / "unet")


def left_half(images) -> torch.Tensor:
    """Probabilities that find the left half of every picture, (n, 1, h, w)."""
    found = torch.zeros(len(images), 1, images[0].height, images[0].width)
    found[..., : images[0].width // 2] = 1
    return found
