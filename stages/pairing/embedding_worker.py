"""CLIP embeddings of images and of the texts of their edits, made shard by shard.

An image that stays the same keeps its embedding, known by the digest of its pixels, and a text by that of its words.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import save_file

from stages.common.ahead import call_ahead
from stages.common.arrays import map_arrays
from stages.common.batches import padded_batches
from stages.common.parquet import read_columns
from stages.core.earlier import Hashes
from stages.core.errors import InputError
from stages.core.files import value_digest
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
from stages.pairing.embeddings import FACTS, IMAGES, TEXTS, Facts

if TYPE_CHECKING:
    from torch import Tensor

    from stages.models.clip import Clip

Item = TypeVar("Item")
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
        suffixes=(IMAGES, TEXTS, FACTS),
        settings={"clip": identity(config.clip), "batch": config.batch, "code": source_digest(__file__)},
        worker=EmbeddingWorker(config=config, corpus=corpus),
        execution=execution,
        contents=hashes_of_embeddings,
    )


def hashes_of_embeddings(outputs: tuple[Path, ...]) -> Hashes:
    """Return the hashes of the images and texts whose embeddings a shard holds."""
    images, texts, _ = outputs
    return np.concatenate([_hashes(map_arrays(path)["digests"]) for path in (images, texts)])


def _hashes(digests: NDArray[np.uint8]) -> Hashes:
    """Return the hashes, (n,), of digests (n, 32)."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8")[:, 0].astype(np.uint64)


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
class _Batch:
    """Pictures or texts that the model takes at once."""

    prepare: Callable[[], "Tensor"]  # reads them; a thread calls it ahead
    count: int  # of those that do not only fill the batch up


@dataclass(frozen=True, kw_only=True)
class _Embedding:
    clip: "Clip"
    batch: int  # images or texts at a time
    corpus: Corpus

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write the files of a shard; the last of ``task.inputs`` is the table of its edits."""
        rows, edits = self.corpus.rows(task.name), read_columns(task.inputs[-1], EDITS_TABLE)
        texts = sorted({text for column in TEXT_COLUMNS for text in edits[column].to_pylist()})
        pixels = _as_rows([bytes.fromhex(row.pixels) for row in rows], 32)
        words = _as_rows([hashlib.sha256(text.encode()).digest() for text in texts], 32)
        known_images = _find_known(pixels, (images for images, _, _ in files.earlier.holding(_hashes(pixels))))
        known_texts = _find_known(words, (texts for _, texts, _ in files.earlier.holding(_hashes(words))))

        new_texts = self._batches([text for place, text in enumerate(texts) if place not in known_texts], self.clip.tokenizer)
        new_images = self._batches([row for place, row in enumerate(rows) if place not in known_images], self._read)
        # Texts come first: they are read in no time, and pictures are decoded while the model is busy with them.
        with closing(call_ahead((batch.prepare for batch in (*new_texts, *new_images)), BATCHES_AHEAD)) as prepared:
            of_texts = self._embed(prepared, new_texts, self.clip.embed_tokens)
            of_images = self._embed(prepared, new_images, self.clip.embed_bytes, advance)

        keys = [row.key for row in rows]
        names = _as_rows([key.encode() for key in keys], max((len(key.encode()) for key in keys), default=1))
        embeddings = _joined(known_images, of_images)
        save_file({"keys": names, "digests": pixels, "embeddings": embeddings}, files.outputs[0])
        embeddings = _joined(known_texts, of_texts)
        places = _places(edits, texts, keys, task.inputs[-1])
        save_file({**places, "digests": words, "embeddings": embeddings}, files.outputs[1])
        save_file(_facts(rows), files.outputs[2])
        return ShardResult(done=len(keys), reused=len(known_images))

    def _batches(self, items: Sequence[Item], prepare: Callable[[list[Item]], "Tensor"]) -> list[_Batch]:
        """Return batches of items, none of them prepared yet."""
        batches = padded_batches(items, self.batch)
        return [_Batch(prepare=partial(prepare, batch), count=count) for batch, count in batches]

    def _embed(
        self,
        prepared: Iterator["Tensor"],
        batches: Sequence[_Batch],
        embed: Callable[["Tensor"], "Tensor"],
        advance: Advance = lambda _: None,
    ) -> Halves:
        """Return the embeddings of the items of ``batches``, whose inputs come next from ``prepared``."""
        parts = [np.zeros((0, self.clip.width), np.float16)]
        for batch in batches:
            parts.append(embed(next(prepared))[: batch.count].half().cpu().numpy())
            advance(batch.count)
        return np.concatenate(parts)

    def _read(self, rows: list[CorpusRow]) -> "Tensor":
        """Return the pictures of some rows as bytes, (n, h, w, 3); rows that fill a batch up are decoded once."""
        from stages.models.tensors import stacked

        pictures = {key: self.corpus.picture_of(row) for key, row in {row.key: row for row in rows}.items()}
        return stacked([pictures[row.key] for row in rows])


def _find_known(digests: NDArray[np.uint8], earlier: Iterable[Path]) -> dict[int, Halves]:
    """Return the embeddings that earlier files have of some digests (n, 32): place among the n → embedding, (d,)."""
    places = {digest.tobytes(): place for place, digest in enumerate(digests)}
    known: dict[int, Halves] = {}
    for path in earlier:
        arrays = map_arrays(path)
        for row, digest in enumerate(arrays["digests"]):
            place = places.get(digest.tobytes())
            if place is not None:
                known[place] = arrays["embeddings"][row]
    return known


def _joined(known: Mapping[int, Halves], made: Halves) -> Halves:
    """Return embeddings (n, d): the known ones in their places, see :func:`_find_known`, and between them the new ones."""
    count = len(known) + len(made)
    embeddings = np.empty((count, made.shape[1]), np.float16)
    embeddings[[place for place in range(count) if place not in known]] = made
    for place, embedding in known.items():
        embeddings[place] = embedding
    return embeddings


def _facts(rows: Sequence[CorpusRow]) -> dict[str, NDArray[Any]]:
    """Return the arrays of the file of facts, see :func:`stages.pairing.embeddings.facts_path`."""
    facts = [Facts(row.key, row.pixels, row.alt_text, row.offset, row.length, row.width, row.height) for row in rows]
    texts = [row.alt_text.encode() for row in rows]
    marks = b"".join(bytes.fromhex(value_digest(each))[:8] for each in facts)
    return {
        "marks": np.frombuffer(marks, np.int64),
        "places": np.array([each[3:] for each in facts], np.int64).reshape(-1, 4),
        "alt_texts": np.frombuffer(b"".join(texts), np.uint8),
        "alt_bounds": np.cumsum([0, *map(len, texts)], dtype=np.int64),
    }


def _as_rows(items: Sequence[bytes], length: int) -> NDArray[np.uint8]:
    """Return byte strings as an array (n, length), filled up with zeros."""
    return np.frombuffer(b"".join(item.ljust(length, b"\0") for item in items), np.uint8).reshape(-1, length)


def _places(edits: pa.Table, texts: Sequence[str], keys: Sequence[str], table: Path) -> dict[str, NDArray[np.int64]]:
    """Return for each edit where its caption and prompt are among ``texts``, and its source among ``keys``.

    Raises:
        InputError: ``keys`` lacks the source of an edit; ``table`` is the file that has it.
    """
    row_of_text = {text: row for row, text in enumerate(texts)}
    row_of_key = {key: row for row, key in enumerate(keys)}
    sources = edits["key"].to_pylist()
    stranger = next((key for key in sources if key not in row_of_key), None)
    if stranger is not None:
        raise InputError(f"{table}: no image of the corpus has the key {stranger!r}; run the stages from ingest on")
    places = {
        name: [row_of_text[text] for text in edits[column].to_pylist()]
        for name, column in zip(("captions", "prompts"), TEXT_COLUMNS, strict=True)
    }
    places["sources"] = [row_of_key[key] for key in sources]
    return {name: np.array(rows, np.int64) for name, rows in places.items()}
