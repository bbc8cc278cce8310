"""A corpus of small drawn pictures, edits of them, and parameters for tiny models: what tests of single stages start from."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from stages.common.parquet import write_table
from stages.core.counts import FIGURES_FILE
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.paths import CORPUS, EDITS, LOGS, TRAINING_SET
from stages.core.shards import COUNTS_FILE, ShardFiles, ShardResult, ShardTask, pass_on_counts
from stages.corpus.corpus import Corpus
from stages.corpus.shard import CorpusSample, key_of, shard_of
from stages.pairing.columns import EDITS_TABLE
from stages.pairing.training_set import edit_sample, read_pairs
from stages.retrieve import retrieve
from stages.segment import segment
from tests.support import ROOT, tiny
from tests.support.corpora import corpus_sample, write_shards_of
from tests.support.shards import map_in_process

SHARD_SIZE = 6  # samples
ANIMALS = ("dog", "cat", "cow", "pig", "hen", "fox")


def image(number: int) -> Image.Image:
    """A 32×32 picture: a rectangle of its own colour and place on a ground of its own colour."""
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", (32, 32), tuple(rng.integers(256, size=3).tolist()))
    left, top = rng.integers(2, 14, size=2).tolist()
    picture.paste(tuple(rng.integers(256, size=3).tolist()), (left, top, left + 14, top + 14))
    return picture


def key_for(number: int) -> str:
    """The key of sample ``number``, in whose shard SHARD_SIZE samples stand."""
    return key_of(f"{number // SHARD_SIZE:05d}", number % SHARD_SIZE)


def number_of(key: str) -> int:
    """The number of the sample with this key, as :func:`key_for` gives it."""
    return int(shard_of(key)) * SHARD_SIZE + int(key.removeprefix(shard_of(key)))


def tiny_sample(number: int) -> CorpusSample:
    shard, place = divmod(number, SHARD_SIZE)
    return corpus_sample(f"{shard:05d}", place, image(number), f"IMG {number}", name=f"test/{number}")


def edit_row(number: int) -> dict[str, str]:
    """An edit of sample ``number``, as mutate writes it."""
    source, target = ANIMALS[number % 6], ANIMALS[(number + 1) % 6]
    row = {"key": key_for(number), "caption": f"a {source}", "edit_prompt": f"a {target}", "relation": "co-hyponym"}
    row |= {"source_term": source, "target_term": target, "source_diff": source, "target_diff": target}
    assert EDITS_TABLE.keys() <= row.keys(), "mutate writes columns that this row lacks"
    return row


def write_shards(folder: Path, suffix: str, shards: int, write, pictures: Sequence[int] = ()) -> None:
    """Write shards of six samples with sidecars and counts; ``write`` gets a path and the numbers of the shard's samples."""

    def work(task: ShardTask, files: ShardFiles, advance) -> ShardResult:
        write(files.output, task.settings["numbers"])
        return ShardResult(done=len(task.settings["numbers"]))

    tasks = [
        ShardTask(
            name=f"{shard:05d}",
            inputs=(),
            samples=SHARD_SIZE,
            settings={"numbers": list(range(shard * SHARD_SIZE, (shard + 1) * SHARD_SIZE)), "pictures": list(pictures)},
        )
        for shard in range(shards)
    ]
    pass_on_counts(map_in_process(work, tasks, folder, suffix), folder)


def write_edit_rows(rows: list[dict[str, str]]) -> None:
    """Write one shard with these edits below the working directory."""
    write_shards(EDITS, ".parquet", 1, lambda path, _: write_table(path, rows, EDITS_TABLE))


def write_tiny_corpus(numbers: Iterable[int], pictures: Sequence[int] | None = None) -> None:
    """Write a corpus of these samples below the working directory; ``pictures``, by number, replace those of the samples."""
    found: dict[str, list[CorpusSample]] = {}
    for number in numbers:
        sample = tiny_sample(number)
        sample = sample if pictures is None else replace(sample, image=image(pictures[number]))
        found.setdefault(shard_of(key_for(number)), []).append(sample)
    counts = write_shards_of(CORPUS, found)
    pass_on_counts(counts, CORPUS)


def write_world(shards: int, pictures: Sequence[int] | None = None) -> None:
    """Write a corpus, and an edit of every second picture, below the working directory.

    ``pictures``, by number, replace those of the samples; each keeps its edit.
    """
    found = pictures or range(shards * SHARD_SIZE)
    write_tiny_corpus(range(shards * SHARD_SIZE), found)

    def write_edits(path, numbers):
        rows = [edit_row(found[number]) | {"key": key_for(number)} for number in numbers if found[number] % 2 == 0]
        write_table(path, rows, EDITS_TABLE)

    write_shards(EDITS, ".parquet", shards, write_edits, found)


def write_training_pairs(models: SimpleNamespace, shards: int = 1, **changes) -> Params:
    """Write a corpus with edits, pair and mask them below the working directory; return the parameters."""
    write_world(shards)
    params = params_for(models, **changes)
    retrieve(params)
    segment(params)
    return params


def make_models(folder: Path) -> SimpleNamespace:
    """Save one tiny random model of each family below ``folder``; ``threshold`` splits CLIPSeg's probabilities in half."""
    made = SimpleNamespace(
        captioner=tiny.tiny_captioner(folder / "captioner"),
        clip=tiny.tiny_clip(folder / "clip"),
        judge=tiny.tiny_clip(folder / "judge", seed=1),
        segmenter=tiny.tiny_segmenter(folder / "segmenter"),
        referee=tiny.tiny_referee(folder / "referee"),
        vgg=tiny.tiny_vgg(folder / "vgg"),
        diffusion=tiny.tiny_diffusion(folder / "diffusion"),
        diffusion_xl=tiny.tiny_diffusion_xl(folder / "diffusion_xl"),
    )
    # The median, because a random CLIPSeg's masks would otherwise be empty or full.
    made.threshold = float(np.median([masks_of(made, image(number), "dog") for number in range(3)]))
    return made


def masks_of(models: SimpleNamespace, picture: Image.Image, words: str, role: str = "segmenter") -> np.ndarray:
    """CLIPSeg's probabilities for one image and one prompt, from transformers itself; ``role``: segmenter or referee."""
    network = CLIPSegForImageSegmentation.from_pretrained(getattr(models, role).name).eval()
    processor = CLIPSegProcessor.from_pretrained(getattr(models, role).name)
    tokens = processor.tokenizer([words], truncation=True, max_length=tiny.CONTEXT, return_tensors="pt")
    with torch.no_grad():
        logits = network(**tokens, **processor.image_processor([picture], return_tensors="pt")).logits
    assert logits.shape[-2:] == (32, 32)  # the size of the picture: nothing to resize
    return torch.sigmoid(logits).reshape(32, 32).numpy()


def params_for(models: SimpleNamespace, **changes) -> Params:
    """The project's params.yaml with the tiny models, few steps and open thresholds; ``changes`` by section."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    roles = ("captioner", "clip", "judge", "segmenter", "referee", "vgg", "diffusion")
    name = {role: {"name": getattr(models, role).name} for role in roles}
    small = {
        "caption": {"model": name["captioner"], "batch": 4},
        "retrieve": {
            "clip": name["clip"],
            "batch": 4,
            "text_weight": 0.25,
            "neighbours": 5,
            "max_uses": 3,
            "near_duplicate": 1.0,
            "min_image_image": -1,
            "min_text_image": -1,
            "min_directional": -1,
            "text_gain": False,
            "held_out": 0.0,
            "index": "auto",
            "memory": 1.0,
            "pool_shards": None,
        },
        "segment": {"model": name["segmenter"], "batch": 4, "threshold": models.threshold, "min_area": 0.0, "max_area": 1.0},
        "train": {
            "base": name["diffusion"],
            "clip": name["clip"],
            "vgg": name["vgg"],
            "steps": 2,
            "batch": 2,
            "checkpoint_every": 2,
            "gradient_checkpointing": False,
        },
        "sampling": {"steps": 2, "strength": 1.0, "mask_threshold": models.threshold, "mask_margin": 0.0, "mask_draft": True},
        "evaluate": {
            "cases": str(TRAINING_SET),
            "max_cases": 4,
            "systems": {
                "sdedit": {"strength": 0.7, "guidance_scale": 4.0},
                "inpainting": {"guidance_scale": 4.0},
                "instruct_pix2pix": {"guidance_scale": 4.0, "image_guidance_scale": 1.5},
                "iedit": {"strength": 0.7, "guidance_scale": 4.0},
            },
            "judge": name["judge"],
            "segmenter": name["segmenter"],
            "referee": name["referee"],
            "base": name["diffusion"],
            "vgg": name["vgg"],
            "batch": 3,
            "gallery": 2,
            "bootstrap": 10,
        },
    }
    values["execution"]["engine"] = "serial"  # tests replace models in this process
    values["threads"] = 1  # two threads on tiny tensors mostly wait for each other
    for section in small | changes:
        values[section] |= small.get(section, {}) | changes.get(section, {})
    return Params.model_validate(values)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes, and when they were written; every run writes counts and figures, so theirs is 0."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    times = {path: 0 if path.name in (COUNTS_FILE, FIGURES_FILE) else path.stat().st_mtime_ns for path in files}
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), times[path]) for path in files}


def counted(stage: str) -> tuple[int, int, int, int]:
    """(done, reused, shards done, shards reused) of the last run of a stage."""
    counts = read_json(LOGS / f"{stage}.json")
    return counts["done"], counts["reused"], counts["shards_done"], counts["shards_reused"]


def dropped(stage: str) -> dict[str, int]:
    """Samples that the last run of a stage dropped, by reason."""
    return read_json(LOGS / f"{stage}.json")["dropped"]


def rows_of(folder: Path) -> list[dict]:
    """The rows of every Parquet file of a folder."""
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def samples_of(folder: Path) -> list:
    """The pairs in every table of a folder."""
    corpus = Corpus()
    return [edit_sample(row, corpus) for path in sorted(folder.glob("*.parquet")) for row in read_pairs(path)]
