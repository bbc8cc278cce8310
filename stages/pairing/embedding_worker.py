"""CLIP embeddings of images and of the texts of their edits, made shard by shard.

An image that stays the same keeps its embedding, known by the digest of its pixels, and a text by that of its words.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from stages.common.ahead import call_ahead
from stages.common.arrays import map_arrays
from stages.common.batches import padded_batches
from stages.common.parquet import read_columns
from stages.core.errors import InputError
from stages.core.params import Execution, Retrieve
from stages.core.provenance import source_digest
from stages.core.shards import (
    Advance,
    ShardFiles,
    ShardResult,
    ShardTask,
    StageCounts,
    Work,
    count_samples,
    list_shards,
    map_shards,
)
from stages.corpus.corpus import Corpus, CorpusRow
from stages.pairing.columns import EDITS_TABLE, TEXT_COLUMNS
from stages.pairing.embeddings import IMAGES, TEXTS

if TYPE_CHECKING:
    from torch import Tensor

    from stages.models.clip import Clip

Item = TypeVar("Item")
Arrays = Mapping[str, NDArray[Any]]
Halves = NDArray[np.float16]  # (n, d), rows of unit length

BATCHES_AHEAD = 2  # are prepared while the model is busy


def embed_shards(config: Retrieve, corpus: Corpus, edits: Path, folder: Path, execution: Execution) -> StageCounts:
    """Write the embeddings of every shard of ``edits`` and of the shard of ``corpus`` that it belongs to."""
    from stages.models.hub import identity

    tasks = []
    for path in list_shards(edits, ".parquet"):
        samples = count_samples(corpus.folder / f"{path.stem}.tar", ".tar")
        tasks.append(ShardTask(name=path.stem, inputs=(*corpus.inputs(path.stem), path), samples=samples))
    return map_shards(
        stage="embed",
        tasks=tasks,
        folder=folder,
        suffixes=(IMAGES, TEXTS),
        settings={"clip": identity(config.clip), "batch": config.batch, "code": source_digest(__file__)},
        worker=EmbeddingWorker(config=config, corpus=corpus),
        execution=execution,
    )


@dataclass(frozen=True, kw_only=True)
class EmbeddingWorker:
    """Embeds the images of a corpus shard and the texts of its edits."""

    modules: ClassVar = ("stages.models.clip",)
    config: Retrieve
    corpus: Corpus

    def load(self) -> Work:
        """Load CLIP."""
        from stages.models.clip import load_clip

        return _Embedding(clip=load_clip(self.config.clip), batch=self.config.batch, corpus=self.corpus)


@dataclass(frozen=True, kw_only=True)
class _Embedding:
    clip: "Clip"
    batch: int  # images or texts at a time
    corpus: Corpus

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write both files of a shard; the last of ``task.inputs`` is the table of its edits."""
        images_before, texts_before = [map_arrays(path) for path in files.previous] or [{}, {}]
        rows = self.corpus.rows(task.name)
        keys = [row.key for row in rows]

        def embed_images(places: Sequence[int]) -> Halves:
            return self._in_batches([rows[place] for place in places], self._read, self.clip.embed_bytes, advance)

        pixels = _as_rows([bytes.fromhex(row.pixels) for row in rows], 32)
        images, reused = _embed(pixels, images_before, embed_images)
        names = _as_rows([key.encode() for key in keys], max((len(key.encode()) for key in keys), default=1))
        save_file({"keys": names, "digests": pixels, "embeddings": images}, files.outputs[0])

        edits = read_columns(task.inputs[-1], EDITS_TABLE)
        texts_of = {column: edits[column].to_pylist() for column in TEXT_COLUMNS}
        texts = sorted(set().union(*texts_of.values()))
        words = _as_rows([hashlib.sha256(text.encode()).digest() for text in texts], 32)

        def embed_texts(places: Sequence[int]) -> Halves:
            return self._in_batches([texts[place] for place in places], self.clip.tokenizer, self.clip.embed_tokens)

        embeddings, _ = _embed(words, texts_before, embed_texts)
        row_of = {text: row for row, text in enumerate(texts)}
        columns = {
            name: np.array([row_of[text] for text in texts_of[column]], np.int64)
            for name, column in zip(("captions", "prompts"), TEXT_COLUMNS, strict=True)
        }
        columns["sources"] = _rows_of_sources(edits["key"].to_pylist(), keys, task.inputs[-1])
        save_file({**columns, "digests": words, "embeddings": embeddings}, files.outputs[1])
        return ShardResult(done=len(keys), reused=reused)

    def _in_batches(
        self,
        items: Sequence[Item],
        prepare: Callable[[list[Item]], "Tensor"],
        embed: Callable[["Tensor"], "Tensor"],
        advance: Advance = lambda _: None,
    ) -> Halves:
        """Return the embedding of each item; a thread prepares the next batches while the model works."""
        batches = list(padded_batches(items, self.batch))
        parts = [np.zeros((0, self.clip.width), np.float16)]
        prepared = call_ahead((partial(prepare, batch) for batch, _ in batches), BATCHES_AHEAD)
        for inputs, (_, count) in zip(prepared, batches, strict=True):
            parts.append(embed(inputs)[:count].half().cpu().numpy())
            advance(count)
        return np.concatenate(parts)

    def _read(self, rows: list[CorpusRow]) -> "Tensor":
        """Return the pictures of some rows as bytes, (n, h, w, 3); rows that fill a batch up are decoded once."""
        from stages.models.tensors import stacked

        pictures = {key: self.corpus.picture(row) for key, row in {row.key: row for row in rows}.items()}
        return stacked([pictures[row.key] for row in rows])


def _embed(digests: NDArray[np.uint8], before: Arrays, make: Callable[[Sequence[int]], Halves]) -> tuple[Halves, int]:
    """Return an embedding for each digest, and how many of them were taken from a shard's earlier file.

    Args:
        digests: (n, 32), of what is to be embedded.
        before: the earlier file; empty if there is none.
        make: embeds what stands at the given places.
    """
    known = {digest.tobytes(): row for row, digest in enumerate(before.get("digests", ()))}
    rows = np.array([known.get(digest.tobytes(), -1) for digest in digests], np.int64)
    made = make(np.flatnonzero(rows < 0).tolist())
    embeddings = np.empty((len(digests), made.shape[1]), np.float16)
    embeddings[rows < 0] = made
    if (rows >= 0).any():
        embeddings[rows >= 0] = before["embeddings"][rows[rows >= 0]]
    return embeddings, int((rows >= 0).sum())


def _as_rows(items: Sequence[bytes], length: int) -> NDArray[np.uint8]:
    """Return byte strings as an array (n, length), filled up with zeros."""
    return np.frombuffer(b"".join(item.ljust(length, b"\0") for item in items), np.uint8).reshape(-1, length)


def _rows_of_sources(sources: Sequence[str], keys: Sequence[str], table: Path) -> NDArray[np.int64]:
    """Return for each edit, known by the key of its source, the row of its image among ``keys``."""
    row_of = {key: row for row, key in enumerate(keys)}
    stranger = next((key for key in sources if key not in row_of), None)
    if stranger is not None:
        raise InputError(f"{table}: no image of the corpus has the key {stranger!r}; run the stages from ingest on")
    return np.array([row_of[key] for key in sources], np.int64)
