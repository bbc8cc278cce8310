"""Stage retrieve: find a pseudo-target for every edit with CLIP embeddings and FAISS (section 3.1).

Shard by shard it embeds images and texts, builds an index for each pool of images, and searches the candidates of every edit.
Then one pass in the order of the corpus chooses among them, because an image may be a target only so often; what reviewers have
dropped is not chosen, and what they have mended has their prompt. Of all pairs together, memory holds a few numbers an image.
Last, the tables of pairs are written.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.arrays import read_arrays
from stages.core.files import read_json, remove, value_digest
from stages.core.params import Params
from stages.core.paths import CORPUS, DECISIONS, EDITS, EMBEDDINGS, INDEXES, PAIRS
from stages.core.provenance import source_digest
from stages.core.shards import (
    ShardTask,
    StageCounts,
    count_samples,
    list_shards,
    map_shards,
    pass_on_counts,
)
from stages.core.sidecars import read_sidecar, sidecar_of
from stages.corpus.corpus import Corpus
from stages.pairing import recall
from stages.pairing.choice import Chooser
from stages.pairing.chosen import ChosenPairs, PairRows, PairTableWorker
from stages.pairing.decisions import Decision, latest_decisions
from stages.pairing.embedding_worker import embed_shards
from stages.pairing.embeddings import IMAGES, Pool, divide, images_path, texts_path
from stages.pairing.index import INDEX, SHARDS, IndexWorker
from stages.pairing.neighbours import SUFFIX, CandidateWorker, read_candidates
from stages.pairing.recall import RecallWorker
from stages.pairing.reviewed import Review
from stages.pairing.split import Components

TABLE = 500  # images whose pairs are in one table, about, or more: each costs files and network batches of its own
RECALL = PAIRS / "recall"
CANDIDATES = PAIRS / "candidates"
CHOSEN = PAIRS / "chosen"  # pairs whose tables are not written yet, where workers on other machines see them


def retrieve(params: Params) -> None:
    """Write embeddings, indexes, candidates, and ``data/pairs/NAME.parquet``, the pairs by source.

    Pairs of small shards share a table; which do depends on the shards' names alone, so that a shard more changes one table.

    Raises:
        InputError: an input is missing or damaged, or the index cannot be built.
    """
    began = time.monotonic()
    review = Review(latest_decisions(DECISIONS))  # before anything that takes long
    embedding = embed_shards(params.retrieve, Corpus(CORPUS), EDITS, EMBEDDINGS, params.execution)
    shards = [path.stem for path in list_shards(EDITS, ".parquet")]
    pools = divide(shards, params.retrieve.pool_shards)
    _build_indexes(pools, params)
    _search(pools, params)

    images = Pool(EMBEDDINGS, tuple((shard, count_samples(images_path(EMBEDDINGS, shard), IMAGES)) for shard in shards))
    with _scratch() as scratch:
        chosen = list(_choose(pools, images, params.retrieve.max_uses, review, scratch))
        held_out = _hold_out(chosen, images, params)
        counts = _write_pairs(chosen, held_out, images, params, scratch)
        aside = sum(int(held_out[each.rows().sources].sum()) for each in chosen)
    counts.seconds = time.monotonic() - began
    counts.shards_done, counts.shards_reused = embedding.shards_done, embedding.shards_reused
    counts.figures = _recall_of(pools)
    pass_on_counts(counts, PAIRS, EDITS)
    counts.report()
    print(f"  of the pairs, {aside:,} are held out")
    _report_unseen(review.unseen())


def _build_indexes(pools: Sequence[Sequence[str]], params: Params) -> None:
    """Build an index over the images of each pool, and measure how many of the true neighbours it finds."""
    config = params.retrieve
    tasks, measurements = [], []
    for pool in pools:
        made = [(shard, read_sidecar(sidecar_of(images_path(EMBEDDINGS, shard), IMAGES))) for shard in pool]
        shards = [[shard, sidecar.done, sidecar.digests[0]] for shard, sidecar in made]
        samples = sum(sidecar.done for _, sidecar in made)
        tasks.append(ShardTask(name=pool[0], inputs=(), samples=samples, settings={"shards": shards}))
        texts = value_digest([sidecar.digests[1] for _, sidecar in made])
        inputs = _index_of(pool)
        measurements.append(ShardTask(name=pool[0], inputs=inputs, samples=recall.SAMPLED, settings={"texts": texts}))
    build = config.model_dump(include={"index", "memory"}) | {"seed": params.seed, "code": source_digest(__file__)}
    map_shards(
        stage="index",
        tasks=tasks,
        folder=INDEXES,
        suffixes=(INDEX, SHARDS),
        settings=build,
        worker=IndexWorker(embeddings=EMBEDDINGS, index=config.index, memory=config.memory, seed=params.seed),
        execution=params.execution,
    )
    worker = RecallWorker(embeddings=EMBEDDINGS, indexes=INDEXES, text_weight=config.text_weight, seed=params.seed)
    map_shards(
        stage="recall",
        tasks=measurements,
        folder=RECALL,
        suffixes=(recall.SUFFIX,),
        settings={"text_weight": config.text_weight, "seed": params.seed, "code": source_digest(__file__)},
        worker=worker,
        execution=params.execution,
    )


def _index_of(pool: Sequence[str]) -> tuple[Path, Path]:
    return INDEXES / f"{pool[0]}{INDEX}", INDEXES / f"{pool[0]}{SHARDS}"


def _search(pools: Sequence[Sequence[str]], params: Params) -> None:
    """Find the candidates of every edit in its pool."""
    tasks = []
    for pool in pools:
        for shard in pool:
            inputs = (*_index_of(pool), texts_path(EMBEDDINGS, shard))  # the list of the pool's shards has the images' digests
            edits = count_samples(_edits(shard), ".parquet")
            tasks.append(ShardTask(name=shard, inputs=inputs, samples=edits, settings={"pool": pool[0]}))
    config = params.retrieve
    names = ("text_weight", "neighbours", "near_duplicate", "min_image_image", "min_text_image", "min_directional", "text_gain")
    map_shards(
        stage="search",
        tasks=tasks,
        folder=CANDIDATES,
        suffixes=(SUFFIX,),
        settings=config.model_dump(include=set(names)) | {"code": source_digest(__file__)},
        worker=CandidateWorker(embeddings=EMBEDDINGS, indexes=INDEXES, config=config),
        execution=params.execution,
    )


def _choose(
    pools: Sequence[Sequence[str]], images: Pool, max_uses: int, review: Review, scratch: Path
) -> Iterator[ChosenPairs]:
    """Choose the target of every edit, shard by shard; the pairs go to files in the folder ``scratch``."""
    chooser = Chooser(len(images), max_uses)
    for pool in pools:
        first = images.first_row(pool[0])
        for shard in pool:
            candidates = read_candidates(_candidates(shard))
            sources = images.first_row(shard) + read_arrays(texts_path(EMBEDDINGS, shard))["sources"]
            reviewed = review.of_shard(_edits(shard), candidates, sources, first, images)
            choice = chooser.choose(candidates, first, reviewed.dropped)
            targets = first + candidates.targets[choice.picks]
            picks = enumerate(choice.picks.tolist())
            mended = {place: reviewed.mended[pick] for place, pick in picks if pick in reviewed.mended}
            rows = PairRows(edits=choice.edits, picks=choice.picks, sources=sources[choice.edits], targets=targets)
            yield ChosenPairs.keep(scratch / f"{shard}.pairs", shard, rows, choice.dropped, mended)


def _hold_out(chosen: Sequence[ChosenPairs], images: Pool, params: Params) -> NDArray[np.bool_]:
    """Return for each image whether its pairs are held out."""
    share = params.retrieve.held_out
    if not share:
        return np.zeros(len(images), np.bool_)
    components = Components(len(images))
    for each in chosen:
        rows = each.rows()
        components.join(rows.sources, rows.targets)
    return components.hold_out(share, params.seed, images.keys)


def _write_pairs(
    chosen: Sequence[ChosenPairs], held_out: NDArray[np.bool_], images: Pool, params: Params, scratch: Path
) -> StageCounts:
    """Write a table of pairs for the shards of edits of about TABLE images each; only tables that change are written again."""
    pairs = {each.shard: each for each in chosen}
    file = scratch / "held_out.npy"
    np.save(file, held_out)
    tasks = [
        ShardTask(
            name=group[0],
            inputs=tuple(path for shard in group for path in (_edits(shard), _candidates(shard))),
            samples=0,
            settings={"chosen": [pairs[shard].digest(images, held_out) for shard in group]},
            source=[pairs[shard] for shard in group],
        )
        for group in divide(list(pairs), -(-TABLE // params.ingest.shard_size))
    ]
    return map_shards(
        stage="retrieve",
        tasks=tasks,
        folder=PAIRS,
        suffixes=(".parquet",),
        settings={"code": source_digest(__file__)},
        worker=PairTableWorker(images=images, held_out=file, edits=EDITS, candidates=CANDIDATES),
        execution=params.execution,
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make the folder CHOSEN for a while, and remove what a run that was killed has left there."""
    remove(CHOSEN)
    CHOSEN.mkdir()
    try:
        yield CHOSEN
    finally:
        remove(CHOSEN)


def _edits(shard: str) -> Path:
    return EDITS / f"{shard}.parquet"


def _candidates(shard: str) -> Path:
    return CANDIDATES / f"{shard}{SUFFIX}"


def _report_unseen(decisions: Sequence[Decision]) -> None:
    """Print which decisions are about no candidate of this run, so that they changed nothing."""
    if decisions:
        first = decisions[0]
        print(
            f"  {len(decisions):,} decisions of {DECISIONS} are about pairs that are no candidates now,"
            f" such as {first.key} → {first.target_key} {first.prompt!r}"
        )


def _recall_of(pools: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the recall of all indexes, weighted by the edits that it was measured on."""
    found = [read_json(RECALL / f"{pool[0]}{recall.SUFFIX}") for pool in pools]
    edits = sum(each["edits"] for each in found)
    names = [f"recall at {rank}" for rank in recall.RANKS]
    return {name: sum(each["edits"] * each[name] for each in found) / edits for name in names} if edits else {}
