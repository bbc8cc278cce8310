"""Stage caption: describe every image of the corpus with BLIP."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from stages.common.parquet import batched, write_table
from stages.common.text import one_line
from stages.core.params import Caption, Params
from stages.core.paths import CAPTIONS, CORPUS
from stages.core.provenance import source_digest
from stages.core.shards import (
    Advance,
    ShardFiles,
    ShardResult,
    ShardTask,
    Work,
    count_samples,
    list_shards,
    map_shards,
    pass_on_counts,
)
from stages.corpus.samples import read_corpus
from stages.models.hub import identity

if TYPE_CHECKING:
    from stages.models.captioner import Captioner

COLUMNS = {"key": "string", "caption": "string"}


@dataclass(frozen=True, kw_only=True)
class CaptionWorker:
    """Captions shards of the corpus."""

    modules: ClassVar = ("stages.models.captioner",)
    config: Caption

    def load(self) -> Work:
        """Load BLIP."""
        from stages.models.captioner import load_captioner

        return _Captioning(captioner=load_captioner(self.config.model), config=self.config)


@dataclass(frozen=True, kw_only=True)
class _Captioning:
    captioner: "Captioner"
    config: Caption

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write a table of captions in the order of the shard; images whose caption is empty are dropped."""
        result = ShardResult()
        rows = []
        for samples in batched(read_corpus(task.inputs[0]), self.config.batch):
            captions = self.captioner.caption([sample.image for sample in samples], self.config.max_tokens)
            for sample, text in zip(samples, map(one_line, captions), strict=True):
                if text:
                    rows.append({"key": sample.key, "caption": text})
                else:
                    result.dropped["empty caption"] += 1
            advance(len(samples))
        result.done = len(rows)
        write_table(files.output, rows, COLUMNS)
        return result


def caption(params: Params) -> None:
    """Write ``data/captions/NAME.parquet`` (key, caption) for every shard of the corpus."""
    config = params.caption
    shards = list_shards(CORPUS, ".tar")
    tasks = [ShardTask(name=path.stem, inputs=(path,), samples=count_samples(path, ".tar")) for path in shards]
    settings = {"caption": config.model_dump(), "model": identity(config.model), "code": source_digest(__file__)}
    counts = map_shards(
        stage="caption",
        tasks=tasks,
        folder=CAPTIONS,
        suffixes=(".parquet",),
        settings=settings,
        worker=CaptionWorker(config=config),
        execution=params.execution,
    )
    pass_on_counts(counts, CAPTIONS, CORPUS)
    counts.report()
