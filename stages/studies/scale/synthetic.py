"""How retrieval grows: CPU time, memory, recall and speed on synthetic embeddings; ``stages.studies.scale`` reports it.

The vectors are drawn to be as hard as CLIP's. Images share a mean direction, which gives two unrelated ones a cosine of about
a half. They cluster around 2,000 concepts in 50 families, common and rare ones as in a power law, and spread around their
concept with variances that fall as 1/k over 512 rotated axes, which leaves some 30 effective dimensions. Texts have another
mean direction (CLIP's gap between pictures and words) and lie nearer to their concept.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from stages.core.params import Retrieve
from stages.core.shards import ShardFiles, ShardTask
from stages.pairing.choice import Chooser
from stages.pairing.embeddings import IMAGES, Pool, Vectors, images_path, single, texts_path
from stages.pairing.index import BLOCK, INDEX, SHARDS, ImageIndex, IndexWorker
from stages.pairing.neighbours import GATHERED, SCORED, SEARCHED, CandidateWorker, mean_query, nearest, read_candidates
from stages.pairing.recall import exact_neighbours, measure_recall, sample_edits
from stages.pairing.split import Components

WIDTH = 512
SHARD = 1000  # images, each with an edit
CONCEPTS, FAMILIES = 2000, 50
TIMED = 2000  # queries


class World:
    """Draws embeddings of images, and of captions and prompts of edits, always the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._spread = np.arange(1, WIDTH + 1) ** -0.5 / np.sqrt((1 / np.arange(1, WIDTH + 1)).sum())
        self._axes = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
        self._image_mean, self._text_mean = unit(rng.standard_normal((2, WIDTH)))
        families = self._scatter(rng, FAMILIES)
        self._concepts = 0.7 * families[rng.integers(FAMILIES, size=CONCEPTS)] + 0.7 * self._scatter(rng, CONCEPTS)
        weights = np.arange(1, CONCEPTS + 1) ** -0.7
        self._weights = weights / weights.sum()

    def draw(self, seed: int, count: int) -> dict[str, NDArray[np.float16]]:
        """Return images, captions and prompts of ``count`` edits: (count, d) each."""
        rng = np.random.default_rng(seed)
        shown, wanted = (rng.choice(CONCEPTS, size=count, p=self._weights) for _ in range(2))
        images = self._image_mean + (0.8 * self._concepts[shown] + 0.6 * self._scatter(rng, count)) @ self._axes
        texts = [
            self._text_mean + 0.8 * (self._concepts[which] + 0.3 * self._scatter(rng, count)) @ self._axes
            for which in (shown, wanted)
        ]
        names = ("images", "captions", "prompts")
        return {name: unit(each).astype(np.float16) for name, each in zip(names, (images, *texts), strict=True)}

    def _scatter(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        return rng.standard_normal((count, WIDTH)) * self._spread


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors scaled to unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write_embeddings(folder: Path, images: int, seed: int = 0) -> list[str]:
    """Write embeddings as the stage retrieve does, each image with an edit; return the names of the shards."""
    folder.mkdir(parents=True)
    world, shards = World(), [f"{number:05d}" for number in range(images // SHARD)]
    for number, shard in enumerate(shards):
        drawn = world.draw(seed + number, SHARD)
        keys = np.array([list(f"{shard}{place:04d}".encode()) for place in range(SHARD)], np.uint8)
        save_file({"keys": keys, "embeddings": drawn["images"]}, images_path(folder, shard))
        places = np.arange(SHARD)
        texts = {"sources": places, "captions": places, "prompts": places + SHARD}
        embeddings = np.concatenate([drawn["captions"], drawn["prompts"]])
        save_file(texts | {"embeddings": embeddings}, texts_path(folder, shard))
    return shards


@dataclass(frozen=True)
class Trial:
    """The retrieval of one corpus of synthetic embeddings in a folder of its own, in this process."""

    folder: Path
    config: Retrieve

    @cached_property
    def shards(self) -> list[str]:
        """The names of all shards of embeddings."""
        return sorted(path.name.removesuffix(IMAGES) for path in self.embeddings.glob(f"*{IMAGES}"))

    @property
    def embeddings(self) -> Path:
        """The folder of the embeddings."""
        return self.folder / "embeddings"

    def measure(self) -> dict[str, Any]:
        """Return CPU seconds of each part, peak memory beyond the start, recall, and what the index is."""
        import faiss  # noqa: F401  # belongs to the start

        before = peak_memory()
        seconds, started = {}, time.process_time()
        for name, part in (("index", self.build), ("search", self.search), ("choice", self.choose)):
            part()
            seconds[name], started = time.process_time() - started, time.process_time()
        memory = peak_memory() - before
        index = self.open()
        sources, _, prompts = sample_edits(index.pool, TIMED, 0)
        queries = mean_query(single(index.pool.gather(sources)), prompts, self.config.text_weight)
        return {
            "images": len(index.pool),
            "index": index.factory,
            "cpu_seconds": seconds | {"all": sum(seconds.values())},
            "memory": memory,
            "memory_of_embeddings": memory / (2 * WIDTH * len(index.pool)),
            "recall": {f"at {rank}": share for rank, share in measure_recall(index, queries[:500], sources[:500]).items()},
        }

    def build(self) -> None:
        """Build the index."""
        worker = IndexWorker(embeddings=self.embeddings, index=self.config.index, memory=self.config.memory, seed=0)
        task = ShardTask(name="all", inputs=(), samples=0, settings={"shards": [[shard, SHARD, ""] for shard in self.shards]})
        worker.load()(task, ShardFiles(outputs=(self.folder / f"all{INDEX}", self.folder / f"all{SHARDS}")), ignore)

    def search(self) -> None:
        """Find the candidates of every edit."""
        (self.folder / "candidates").mkdir(exist_ok=True)
        work = CandidateWorker(embeddings=self.embeddings, indexes=self.folder, config=self.config).load()
        for shard in self.shards:
            task = ShardTask(name=shard, inputs=(), samples=SHARD, settings={"pool": "all"})
            work(task, ShardFiles(outputs=(self.candidates(shard),)), ignore)

    def choose(self) -> None:
        """Choose every edit's target, and the held-out pairs."""
        chooser = Chooser(SHARD * len(self.shards), self.config.max_uses)
        pool = Pool(self.embeddings, tuple((shard, SHARD) for shard in self.shards))
        components = Components(len(pool))
        for number, shard in enumerate(self.shards):
            candidates = read_candidates(self.candidates(shard))
            choice = chooser.choose(candidates, 0)
            components.join(SHARD * number + choice.edits, candidates.targets[choice.picks])
        components.hold_out(self.config.held_out, 0, pool.keys)

    def candidates(self, shard: str) -> Path:
        """Return the file of a shard's candidates."""
        return self.folder / f"candidates/{shard}.safetensors"

    def open(self) -> ImageIndex:
        """Open the index."""
        return ImageIndex.open(self.folder, "all", self.embeddings)

    def speed(self) -> dict[str, float]:
        """Return queries a CPU second with the index and with FAISS's flat one, both in batches, and how many times more."""
        import faiss

        index = self.open()
        sources, _, prompts = sample_edits(index.pool, TIMED, 0)
        queries = mean_query(single(index.pool.gather(sources)), prompts, self.config.text_weight)
        flat = faiss.IndexFlatIP(WIDTH)
        for block in index.pool.blocks(BLOCK):
            flat.add(block)
        count = self.config.neighbours + 1
        rates = {}
        for name, search in (("index", partial(nearest_in_batches, index)), ("flat", flat.search)):
            search(queries[:SCORED], count)  # reads the pages
            started = time.process_time()
            search(queries, count)
            rates[name] = TIMED / (time.process_time() - started)
        return rates | {"ratio": rates["index"] / rates["flat"]}


def nearest_in_batches(index: ImageIndex, queries: Vectors, count: int) -> None:
    """Search and score on the stored embeddings, as the stage does."""
    for start in range(0, len(queries), SEARCHED):
        part = queries[start : start + SEARCHED]
        rows = index.search(part, count)
        for first in range(0, len(part), GATHERED):
            vectors = index.pool.gather(rows[first : first + GATHERED])
            for place in range(0, len(vectors), SCORED):
                some = slice(first + place, first + min(place + SCORED, len(vectors)))
                nobody = np.full(some.stop - some.start, -1)
                nearest(part[some], nobody, rows[some], vectors[place : place + SCORED], count)


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes.

    Not getrusage's, which begins with that of the process that started this one.
    """
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def ignore(_: int) -> None:
    """Take a worker's progress."""


def measure_synthetic(images: int, config: Retrieve, *, speed: bool = False) -> dict[str, Any]:
    """Return the figures of a corpus of so many synthetic images, each with an edit, measured in a process of its own.

    Args:
        images: a multiple of SHARD.
        config: the section ``retrieve``; thresholds count as they stand there.
        speed: also measure queries a second against a flat index, which takes 4 bytes a dimension of memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_embeddings(Path(folder) / "embeddings", images)
        command = [sys.executable, "-m", "stages.studies.scale.synthetic", folder, config.model_dump_json(), str(int(speed))]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures


def measure_pools(images: int, config: Retrieve, pools: Sequence[int]) -> list[dict[str, float]]:
    """Return what ``retrieve.pool_shards`` costs: how near the nearest image of a pool of so many shards is, against all.

    Args:
        images: the number of images, a multiple of SHARD.
        config: the section ``retrieve``.
        pools: the sizes to try, in shards; the last one should be the whole corpus.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "embeddings"
        shards = write_embeddings(folder, images)
        first = Pool(folder, ((shards[0], SHARD),))
        sources, _, prompts = sample_edits(first, TIMED // 4, 0)
        queries = mean_query(single(first.gather(sources)), prompts, config.text_weight)
        figures = []
        for size in pools:
            pool = Pool(folder, tuple((shard, SHARD) for shard in shards[:size]))
            rows = exact_neighbours(pool, queries, 2)
            best = np.where(rows[:, 0] == sources, rows[:, 1], rows[:, 0])
            cosine = float((single(pool.gather(best)) * queries).sum(axis=1).mean())
            figures.append({"pool_shards": size, "share of the corpus": size / len(shards), "cosine with the query": cosine})
        return figures


if __name__ == "__main__":
    trial = Trial(Path(sys.argv[1]), Retrieve.model_validate_json(sys.argv[2]))
    figures = trial.measure()
    if sys.argv[3] == "1":
        figures["speed"] = trial.speed()
    print(json.dumps(figures))
