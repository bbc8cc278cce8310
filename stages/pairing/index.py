"""FAISS indexes over the images of a pool: chosen by size as autofaiss does, built in blocks, and mapped by those who search.

Whatever the index, the candidates that it finds are scored on the stored embeddings, so a lossy one decides only which
images are looked at.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.seeds import derive_seed
from stages.core.errors import InputError, first_line
from stages.core.files import read_json
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.pairing.embeddings import Pool, Vectors, single

if TYPE_CHECKING:
    import faiss

INDEX, SHARDS = ".faiss", ".shards.json"

FLAT_UP_TO = 10_000  # images; below, comparing with all of them is as fast as anything
GRAPH_FROM = 10_000_000  # images; from here on the nearest lists are found by a graph over their centres
LISTS = 2.0  # times the square root of the number of images: as much work to find the lists as to read them
PROBES = 32  # lists read for a query
BYTES_PER_ID = 8
SAMPLES_PER_LIST, LEAST_SAMPLES = 40, 4096  # to train on; FAISS asks for 39 a list or more
ITERATIONS = 10  # of k-means, for the lists and the codes
BLOCK = 16_384  # vectors at a time
PLACE_IN_FAISS = re.compile(r"^Error in .* at \S+:\d+: (Error: )?")  # what its messages begin with
REFINED = 4  # candidates of a lossy index for each one wanted, to be scored on the stored embeddings


@dataclass(frozen=True, kw_only=True)
class IndexWorker:
    """Builds the index of a pool. ``task.settings["shards"]`` lists its shards: [name, images, digest of the embeddings]."""

    embeddings: Path  # the folder
    index: str  # "auto", or a string for FAISS's index factory
    memory: float  # GB
    seed: int

    def load(self) -> Work:
        """Return the work; FAISS is imported when there is some."""
        return self._build

    def _build(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        shards = task.settings["shards"]
        pool = Pool(self.embeddings, tuple((name, count) for name, count, _ in shards))
        factory = choose_index(len(pool), pool.width, self.memory) if self.index == "auto" else self.index
        index = build_index(pool, factory, memory=self.memory, seed=derive_seed(self.seed, "index", task.name), advance=advance)
        write_index(index, files.outputs[0])
        files.outputs[1].write_text(json.dumps({"index": factory, "shards": shards}) + "\n", encoding="utf-8")
        return ShardResult(done=len(pool))


@dataclass(frozen=True)
class ImageIndex:
    """An index of a pool, mapped."""

    pool: Pool
    index: "faiss.Index"
    factory: str

    @classmethod
    def open(cls, folder: Path, name: str, embeddings: Path) -> "ImageIndex":
        """Open the index ``folder/NAME.faiss``, one thread to a search."""
        import faiss

        faiss.omp_set_num_threads(1)
        facts = read_json(folder / f"{name}{SHARDS}")
        pool = Pool(embeddings, tuple((shard, count) for shard, count, _ in facts["shards"]))
        # Two ways of FAISS to map a file: the first knows inverted lists, the second everything else.
        flag = faiss.IO_FLAG_MMAP if "IVF" in facts["index"] else faiss.IO_FLAG_MMAP_IFC
        return cls(pool, faiss.read_index(str(folder / f"{name}{INDEX}"), flag), facts["index"])

    def search(self, queries: Vectors, count: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Return the rows of at least ``count`` candidates for each query, in no order: (n, k); -1 where there are fewer."""
        wanted = count if is_lossless(self.factory) else REFINED * count
        rows: np.ndarray[Any, np.dtype[np.int64]] = self.index.search(queries, min(wanted, max(1, self.index.ntotal)))[1]
        return rows


def choose_index(images: int, width: int, memory: float) -> str:
    """Return the index for so many images, as a string for FAISS's index factory.

    Flat where there are few; otherwise inverted lists of 4-bit codes, as long as fit. (Lists of whole vectors, which
    autofaiss puts in between, were measured to be no faster than Flat up to 30,000 images, and several times slower than
    codes beyond.)

    Args:
        images: the number of vectors.
        width: their length.
        memory: GB that the index may take.

    Raises:
        InputError: not even the shortest codes fit.
    """
    if images <= FLAT_UP_TO:
        return "Flat"
    lists = f"IVF{int(LISTS * images**0.5)}{'_HNSW32' if images >= GRAPH_FROM else ''}"
    room = memory * 1e9 / images - BYTES_PER_ID  # bytes for each image
    parts = next((width // cut for cut in (2, 4, 8, 16) if width % cut == 0 and room >= width // cut / 2), None)
    if parts is None:
        least = (width / 32 + BYTES_PER_ID) * images / 1e9
        raise InputError(f"retrieve.memory = {memory}: an index of {images:,} images needs {least:.3g} or more")
    return f"{lists},PQ{parts}x4fs"


def is_lossless(factory: str) -> bool:
    """Return whether an index compares the stored half-precision vectors themselves."""
    return re.fullmatch(r"(IVF\d+(_HNSW\d+)?,)?(Flat|SQfp16)", factory) is not None


def build_index(pool: Pool, factory: str, *, memory: float, seed: int, advance: Advance = lambda _: None) -> "faiss.Index":
    """Return a trained index over all images of a pool.

    Args:
        pool: the images.
        factory: a string for FAISS's index factory.
        memory: GB; a quarter of it may be taken by the sample to train on.
        seed: decides the sample.
        advance: takes the number of images just added.

    Raises:
        InputError: FAISS knows no such index, or the pool has too few images to train it.
    """
    import faiss

    faiss.omp_set_num_threads(1)  # sums of another order would end in other bytes
    try:
        index = faiss.index_factory(pool.width, factory, faiss.METRIC_INNER_PRODUCT)
        lists = 0
        with suppress(RuntimeError):
            inverted = faiss.extract_index_ivf(index)
            _set_up_lists(inverted)
            lists = inverted.nlist
        if not index.is_trained:
            index.train(_sample(pool, max(SAMPLES_PER_LIST * lists, LEAST_SAMPLES), memory, seed))
    except RuntimeError as error:
        reason = first_line(PLACE_IN_FAISS.sub("", str(error)))
        raise InputError(f"retrieve.index = {factory!r}: not for {len(pool):,} images: {reason}") from error
    for block in pool.blocks(BLOCK):
        index.add(block)
        advance(len(block))
    return index


def write_index(index: "faiss.Index", path: Path) -> None:
    """Write an index piece by piece.

    Raises:
        OSError: the disk is full; FAISS's own writer may not notice.
    """
    import faiss

    failures: list[OSError] = []
    with path.open("wb") as file:

        def write(piece: bytes) -> int:
            try:
                return file.write(piece)
            except OSError as error:  # FAISS would turn it into an error without its number
                failures.append(error)
                return 0

        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write))  # type: ignore[attr-defined]
        except RuntimeError:
            if failures:
                raise failures[0] from None
            raise


def _sample(pool: Pool, size: int, memory: float, seed: int) -> Vectors:
    """Return up to ``size`` embeddings of the pool, in their order."""
    size = min(size, len(pool), int(memory * 1e9 / 4 / (4 * pool.width)))
    return single(pool.gather(np.sort(np.random.default_rng(seed).choice(len(pool), size, replace=False))))


def _set_up_lists(inverted: "faiss.IndexIVF") -> None:
    """Set how an index of inverted lists is trained and read."""
    import faiss

    inverted.nprobe = min(PROBES, inverted.nlist)
    inverted.cp.niter = ITERATIONS
    if hasattr(inverted, "pq"):
        inverted.pq.cp.niter = ITERATIONS
    quantizer = faiss.downcast_index(inverted.quantizer)
    if isinstance(quantizer, faiss.IndexHNSW):  # a graph over the lists' centres has to find as many as are read
        quantizer.hnsw.efSearch = 4 * PROBES
