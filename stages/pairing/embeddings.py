"""CLIP embeddings of images, captions and edit prompts: made shard by shard, read as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from stages.common.parquet import batched, read_table
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
from stages.corpus.samples import read_corpus
from stages.models.clip import Clip, load_clip
from stages.models.hub import identity
from stages.pairing.columns import EDITS_TABLE

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """CLIP embeddings of n images and m edits, in the order of their shards; rows have unit length."""

    keys: list[str]  # the images' keys
    images: NDArray[np.float32]  # (n, d)
    captions: NDArray[np.float32]  # (m, d)
    prompts: NDArray[np.float32]  # (m, d)


@dataclass(frozen=True, kw_only=True)
class EmbeddingWorker:
    """Embeds the images of one corpus shard and the texts of its edits."""

    modules: ClassVar = ("stages.models.clip",)
    config: Retrieve

    def load(self) -> Work:
        """Load CLIP."""
        return _Embedding(clip=load_clip(self.config.clip), batch=self.config.batch)


@dataclass(frozen=True, kw_only=True)
class _Embedding:
    clip: Clip
    batch: int  # images or texts at a time

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write the embeddings; ``task.inputs`` are the shard of images and the table of its edits."""
        corpus_shard, edits_shard = task.inputs
        keys, images = [], []
        for samples in batched(read_corpus(corpus_shard), self.batch):
            keys += [sample.key for sample in samples]
            images.append(self.clip.embed_images([sample.image for sample in samples]).cpu().numpy())
            advance(len(samples))
        edits = read_table(edits_shard, EDITS_TABLE)
        save_file(
            {
                "keys": np.frombuffer("\n".join(keys).encode(), dtype=np.uint8),
                "images": self._joined(images),
                "captions": self._embed_texts([edit["caption"] for edit in edits]),
                "prompts": self._embed_texts([edit["edit_prompt"] for edit in edits]),
            },
            files.output,
        )
        return ShardResult(done=len(keys))

    def _embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        return self._joined([self.clip.embed_texts(part).cpu().numpy() for part in batched(texts, self.batch)])

    def _joined(self, parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate(parts) if parts else np.zeros((0, self.clip.width), np.float32)


def embed_shards(config: Retrieve, corpus: Path, edits: Path, folder: Path, execution: Execution) -> StageCounts:
    """Write ``folder/NAME.safetensors`` for every shard of ``edits`` and the shard of ``corpus`` that it belongs to."""
    tasks = []
    for path in list_shards(edits, ".parquet"):
        images = corpus / f"{path.stem}.tar"
        tasks.append(ShardTask(name=path.stem, inputs=(images, path), samples=count_samples(images, ".tar")))
    settings = {"clip": identity(config.clip), "batch": config.batch, "code": source_digest(__file__)}
    return map_shards(
        stage="embed",
        tasks=tasks,
        folder=folder,
        suffixes=(SUFFIX,),
        settings=settings,
        worker=EmbeddingWorker(config=config),
        execution=execution,
    )


def read_embeddings(folder: Path, names: Sequence[str]) -> Embedded:
    """Return the embeddings of the named shards, one after another."""
    shards = [load_file(folder / f"{name}{SUFFIX}") for name in names]
    return Embedded(
        keys=[key for shard in shards for key in shard["keys"].tobytes().decode().split("\n") if key],
        images=np.concatenate([shard["images"] for shard in shards]),
        captions=np.concatenate([shard["captions"] for shard in shards]),
        prompts=np.concatenate([shard["prompts"] for shard in shards]),
    )
