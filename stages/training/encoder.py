"""The frozen encoders' part of a training, done once: latents of the pictures and embeddings of the texts that it draws.

The cache has two folders. ``pairs`` has the drawn rows of each shard of the training set, with the latents of their pictures;
``texts`` has the embeddings of every distinct text, in PARTS files. A latent is known by its picture's pixels and an embedding
by its words, so whatever the cache holds already is never encoded again.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
from PIL import Image

from stages.common.ahead import call_ahead
from stages.common.batches import padded_batches
from stages.common.parquet import read_table
from stages.core.earlier import hashes_of
from stages.core.files import read_json
from stages.core.params import Execution, ModelName, Train
from stages.core.paths import ENCODED, TRAINING_SET
from stages.core.provenance import source_digest
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, StageCounts, Work, list_shards, map_shards
from stages.corpus.corpus import Corpus
from stages.models.hub import identity
from stages.pairing.training_set import SUFFIX, PairRow, read_pairs, target_picture
from stages.training.order import count_drawn, drawn_rows
from stages.training.records import VALUE, Values, hashes_of_records, text_digest, write_records
from stages.training.rows import EncodedRow, write_rows

if TYPE_CHECKING:
    from stages.models.clip import Clip
    from stages.models.conditioning import PromptEncoder
    from stages.models.latent_diffusion import PictureEncoder

Item = TypeVar("Item")

PAIR_SUFFIXES = (".rows.npy", ".latents.npy", ".masks.npy", ".words.json")
TEXT_SUFFIXES = (".text.npy", ".clip.npy")  # embeddings of prompts for the U-Net; of prompts and diffs in CLIP's space
PARTS = "0123456789abcdef"  # a text lies in the part that its digest begins with
# Samples per forward pass. Every pass is padded to them, so small ones waste little where a shard has few new samples; on one
# core a larger batch of pictures is not faster.
PICTURES, TEXTS = 4, 8
BATCHES_AHEAD = 4  # are read while the model is busy


def encode_training_set(
    config: Train,
    draws: int,
    execution: Execution,
    *,
    folder: Path = TRAINING_SET,
    corpus: Corpus | None = None,
    cache: Path = ENCODED,
) -> StageCounts:
    """Encode the pairs that the first ``draws`` draws take; what was encoded before is kept.

    Args:
        config: the section ``train``.
        draws: the number of samples that the training draws.
        execution: who encodes them.
        folder: the training set.
        corpus: where its pictures are; None: the project's.
        cache: where the encoded pairs and texts go.

    Returns:
        The counts of pairs; one whose pictures were both encoded before counts as reused.
    """
    shards = list_shards(folder, SUFFIX)
    drawn = count_drawn((keys_of(path) for path in shards), config.seed, draws)
    tasks = [
        ShardTask(
            name=path.stem,
            inputs=(path,),
            samples=2 * count,
            settings={"drawn": count, "seed": config.seed, "prompts": config.prompts},
        )
        for path, count in zip(shards, drawn, strict=True)
        if count
    ]
    code, pairs = source_digest(__file__), cache / "pairs"
    counts = map_shards(
        stage="encode",
        tasks=tasks,
        folder=pairs,
        suffixes=PAIR_SUFFIXES,
        settings={"base": identity(config.base), "code": code},
        worker=PairWorker(base=config.base, corpus=corpus or Corpus()),
        execution=execution,
        contents=lambda outputs: hashes_of_records(outputs[1]),
    )
    words = tuple(pairs / f"{task.name}.words.json" for task in tasks)
    texts = _count_embeddings(words)
    map_shards(
        stage="encode texts",
        tasks=[ShardTask(name=part, inputs=words, samples=texts[part]) for part in PARTS],
        folder=cache / "texts",
        suffixes=TEXT_SUFFIXES,
        settings={"base": identity(config.base), "clip": identity(config.clip), "code": code},
        worker=TextWorker(base=config.base, clip=config.clip),
        execution=execution,
        contents=lambda outputs: np.concatenate([hashes_of_records(path) for path in outputs]),
    )
    return counts


def keys_of(shard: Path) -> list[str]:
    """Return the keys of a shard of the training set, in its order."""
    return [row["key"] for row in read_table(shard, {"key": "string"})]


@dataclass(frozen=True, kw_only=True)
class PairWorker:
    """Encodes the pictures of a shard's drawn pairs, and keeps their masks and where their texts are found."""

    modules: ClassVar = ("stages.models.latent_diffusion",)
    base: ModelName
    corpus: Corpus

    def load(self) -> Work:
        """Load the autoencoder."""
        from stages.models.latent_diffusion import load_picture_encoder

        return partial(self._encode_shard, load_picture_encoder(self.base))

    def _encode_shard(self, encoder: "PictureEncoder", task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        rows_file, latents_file, masks_file, words_file = files.outputs
        numbers = drawn_rows(keys_of(task.inputs[0]), task.settings["seed"], task.settings["drawn"])
        drawn = read_pairs(task.inputs[0], numbers)
        pictures = {pair.source_pixels: partial(self.corpus.picture, pair.source) for pair in drawn}
        pictures |= {pair.target_pixels: partial(target_picture, pair, self.corpus) for pair in drawn}
        digests = sorted(pictures)

        def encode(missing: Sequence[str]) -> Iterator[Values]:
            batches = padded_batches([pictures[digest] for digest in missing], PICTURES)
            for images, count in call_ahead((partial(_open, *batch) for batch in batches), BATCHES_AHEAD):
                yield {VALUE: encoder.encode_images(images)[:count]}
                advance(count)

        shapes = {VALUE: encoder.shape(drawn[0].width, drawn[0].height)}
        earlier = (outputs[1] for outputs in files.earlier.holding(hashes_of(digests)))
        encoded = write_records(latents_file, digests, shapes, earlier, encode)
        prompts = [pair.edit_prompt if task.settings["prompts"] == "edit" else pair.target_alt_text for pair in drawn]
        places = {digest: place for place, digest in enumerate(digests)}
        rows = [
            _encoded_row(number, pair, prompt, places) for number, pair, prompt in zip(numbers, drawn, prompts, strict=True)
        ]
        write_rows(rows_file, masks_file, rows)
        _write_words(words_file, {"prompts": prompts, "diffs": [pair.target_diff for pair in drawn]})
        reused = sum(encoded.isdisjoint((pair.source_pixels, pair.target_pixels)) for pair in drawn)
        return ShardResult(done=len(drawn), reused=reused)


@dataclass(frozen=True, kw_only=True)
class TextWorker:
    """Embeds the texts of one part: the prompts for the U-Net, and prompts and diffs in CLIP's space."""

    modules: ClassVar = ("stages.models.latent_diffusion", "stages.models.clip")
    base: ModelName
    clip: ModelName

    def load(self) -> Work:
        """Load the text encoders."""
        from stages.models.clip import load_clip
        from stages.models.latent_diffusion import load_prompt_encoder

        return partial(self._embed_part, load_prompt_encoder(self.base), load_clip(self.clip))

    def _embed_part(
        self, encoder: "PromptEncoder", clip: "Clip", task: ShardTask, files: ShardFiles, advance: Advance
    ) -> ShardResult:
        prompts, words = _read_words(task.inputs, task.name)

        def write(
            place: int, texts: dict[str, str], shapes: Mapping[str, tuple[int, ...]], embed: Callable[[list[str]], Values]
        ) -> set[str]:
            def encode(missing: Sequence[str]) -> Iterator[Values]:
                return in_batches((texts[digest] for digest in missing), TEXTS, embed, advance)

            digests = sorted(texts)
            earlier = (outputs[place] for outputs in files.earlier.holding(hashes_of(digests)))
            return write_records(files.outputs[place], digests, shapes, earlier, encode)

        encoded = write(0, prompts, encoder.shapes, lambda texts: encoder.embed(texts).columns())
        encoded |= write(1, words, {VALUE: (clip.width,)}, lambda texts: {VALUE: clip.embed_texts(texts)})
        return ShardResult(done=len(words), reused=len(words) - len(encoded))


def _open(batch: Sequence[Callable[[], Image.Image]], count: int) -> tuple[list[Image.Image], int]:
    """Return the pictures of a batch and ``count``, how many of them are not padding, which is not read again."""
    images = [open_picture() for open_picture in batch[:count]]
    return images + images[-1:] * (len(batch) - count), count


def _encoded_row(number: int, pair: PairRow, prompt: str, places: Mapping[str, int]) -> EncodedRow:
    """Return the row of a drawn pair; ``places`` are those of the latents, by the digests of their pictures."""
    return EncodedRow(
        key=pair.key,
        number=number,
        target_key="" if pair.is_rendered else pair.target_key,
        target=(pair.target_offset, pair.target_length),
        size=(pair.height, pair.width),
        latents=(places[pair.source_pixels], places[pair.target_pixels]),
        texts=(text_digest(prompt), text_digest(pair.target_diff)),
        masks=(pair.packed_source_mask, pair.packed_target_mask),
    )


def in_batches(items: Iterable[Item], size: int, encode: Callable[[list[Item]], Values], advance: Advance) -> Iterator[Values]:
    """Yield the encodings of some items by name, batch by batch; each does not depend on the others."""
    for batch, count in padded_batches(items, size):
        yield {name: values[:count] for name, values in encode(batch).items()}
        advance(count)


def _write_words(path: Path, texts: Mapping[str, Sequence[str]]) -> None:
    """Write every distinct text under its digest, by kind."""
    words = {kind: {text_digest(text): text for text in each} for kind, each in texts.items()}
    path.write_text(json.dumps(words, sort_keys=True, ensure_ascii=False), encoding="utf-8")


def _count_embeddings(paths: Iterable[Path]) -> Counter[str]:
    """Return how many embeddings each part has: the U-Net's of its prompts, and CLIP's of its prompts and diffs."""
    prompts: set[str] = set()
    words: set[str] = set()
    for path in paths:
        found = read_json(path)
        prompts.update(found["prompts"])
        words.update(found["prompts"], found["diffs"])
    return Counter(digest[0] for digest in chain(prompts, words))


def _read_words(paths: Iterable[Path], part: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the prompts, and prompts and diffs together, whose digests begin with ``part``: digest → text."""
    prompts: dict[str, str] = {}
    words: dict[str, str] = {}
    for path in paths:
        found = read_json(path)
        prompts |= {digest: text for digest, text in found["prompts"].items() if digest.startswith(part)}
        words |= {digest: text for digest, text in found["diffs"].items() if digest.startswith(part)}
    return prompts, prompts | words
