"""Stage segment: mask what each edit changes in source and target with CLIPSeg, and write the training set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common.parquet import read_columns
from stages.core.earlier import Contents
from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.params_ingest import OpenMojiSource
from stages.core.paths import CORPUS, HELD_OUT, MASKS, PAIRS, TRAINING_SET
from stages.core.provenance import source_digest
from stages.core.shards import ShardTask, StageCounts, Worker, count_samples, list_shards, map_shards, pass_on_counts
from stages.corpus.corpus import Corpus
from stages.corpus.shard import shard_of
from stages.models.hub import identity
from stages.pairing import masking, selection
from stages.pairing.masking import MaskingWorker, hashes_of_masks
from stages.pairing.selection import SelectionWorker, Split

SUFFIX = ".parquet"
SPLITS: dict[Split, tuple[str, Path]] = {"training": ("segment", TRAINING_SET), "heldout": ("segment held out", HELD_OUT)}
"""Split of a pair → the name of its counts, and its folder."""


def segment(params: Params) -> None:
    """Write ``data/masks/NAME.parquet``, all pairs, and from these ``data/training`` and ``data/heldout``, the usable ones.

    A mask is made once for a picture and a phrase: a pair whose images and words are what they were is never masked again,
    whether or not its masks are usable, and whatever shard and whichever of the two it stands in.

    Raises:
        InputError: ``segment.targets`` is 'rendered', but the corpus has no true targets.
    """
    config, is_rendered = params.segment, params.segment.targets == "rendered"
    if is_rendered and not isinstance(params.ingest.source, OpenMojiSource):
        raise InputError("segment.targets = 'rendered': only the embedded world knows true targets; allowed is 'retrieved'")
    corpus = Corpus(CORPUS)
    decisive = {"model": identity(config.model), "batch": config.batch, "threshold": config.threshold}
    if is_rendered:
        decisive |= {"seed": params.seed, "size": params.ingest.size}
    settings = {**decisive, "targets": config.targets, "code": source_digest(masking.__file__)}
    worker = MaskingWorker(config=config, corpus=corpus, seed=params.seed, size=params.ingest.size)
    tasks = [_task(table, *(_indexes(corpus, table) if is_rendered else ())) for table in list_shards(PAIRS, SUFFIX)]
    counts = _map("masks", tasks, MASKS, settings, worker, params, hashes_of_masks)
    pass_on_counts(counts, MASKS, PAIRS)
    counts.report()
    limits = {"min_area": config.min_area, "max_area": config.max_area}
    code = source_digest(selection.__file__)
    for split, (stage, folder) in SPLITS.items():
        tasks = [_task(table) for table in list_shards(MASKS, SUFFIX)]
        settings = {"split": split, **limits, "code": code}
        counts = _map(stage, tasks, folder, settings, SelectionWorker(split=split, **limits), params)
        pass_on_counts(counts, folder, MASKS)
        counts.report()


def _indexes(corpus: Corpus, table: Path) -> list[Path]:
    """Return the indexes that say which scenes the sources of a table of pairs show."""
    keys = read_columns(table, {"key": "string"})["key"].to_pylist()
    return [corpus.inputs(shard)[1] for shard in sorted(set(map(shard_of, keys)))]


def _task(table: Path, *others: Path) -> ShardTask:
    return ShardTask(name=table.stem, inputs=(table, *others), samples=count_samples(table, SUFFIX))


def _map(
    stage: str,
    tasks: list[ShardTask],
    folder: Path,
    settings: Mapping[str, Any],
    worker: Worker,
    params: Params,
    contents: Contents | None = None,
) -> StageCounts:
    return map_shards(
        stage=stage,
        tasks=tasks,
        folder=folder,
        suffixes=(SUFFIX,),
        settings=settings,
        worker=worker,
        execution=params.execution,
        contents=contents,
    )
