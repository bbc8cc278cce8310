"""Stage segment: mask what each edit changes in source and target with CLIPSeg, and write the training set."""

from stages.common.parquet import read_table
from stages.core.errors import InputError
from stages.core.params import OpenMojiSource, Params
from stages.core.paths import CORPUS, HELD_OUT, PAIRS, TRAINING_SET
from stages.core.provenance import source_digest
from stages.core.shards import ShardTask, list_shards, map_shards, pass_on_counts
from stages.corpus.samples import CorpusReader
from stages.models.hub import identity
from stages.pairing.columns import PAIR_COLUMNS
from stages.pairing.masking import MaskingWorker

SPLITS = {"training": ("segment", TRAINING_SET), "heldout": ("segment held out", HELD_OUT)}
"""Split of a pair → the name of its counts, and its folder."""


def segment(params: Params) -> None:
    """Write ``data/training/NAME.tar`` and ``data/heldout/NAME.tar``: pairs with the masks of what differs.

    Raises:
        InputError: ``segment.targets`` is 'rendered', but the corpus has no true targets.
    """
    config = params.segment
    if config.targets == "rendered" and not isinstance(params.ingest.source, OpenMojiSource):
        raise InputError("segment.targets = 'rendered': only the embedded world knows true targets; allowed is 'retrieved'")
    shards = tuple(list_shards(CORPUS, ".tar"))
    corpus = CorpusReader(shards)
    worker = MaskingWorker(config=config, shards=shards, seed=params.seed, size=params.ingest.size)
    tables = {path.stem: read_table(path, PAIR_COLUMNS) for path in list_shards(PAIRS, ".parquet")}
    code = source_digest(__file__)
    settings = {"segment": config.model_dump(), "model": identity(config.model), "code": code, "seed": params.seed}
    for split, (stage, folder) in SPLITS.items():
        pairs = {name: [row for row in table if row["split"] == split] for name, table in tables.items()}
        tasks = [
            ShardTask(
                name=name,
                inputs=(CORPUS / f"{name}.tar", *sorted({corpus.shard(row["target_key"]) for row in rows})),
                samples=len(rows),
                settings={"pairs": rows},
            )
            for name, rows in pairs.items()
        ]
        counts = map_shards(
            stage=stage,
            tasks=tasks,
            folder=folder,
            suffixes=(".tar",),
            settings=settings,
            worker=worker,
            execution=params.execution,
        )
        pass_on_counts(counts, folder, PAIRS)
        counts.report()
