"""Stage caption: describe every image of the corpus with BLIP."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stages.common.ahead import call_ahead
from stages.common.batches import padded_batches
from stages.common.parquet import read_columns, read_table, write_table
from stages.common.text import one_line
from stages.core.earlier import Hashes, hashes_of
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
from stages.corpus.corpus import Corpus, CorpusRow
from stages.models.hub import identity

if TYPE_CHECKING:
    from torch import Tensor

    from stages.models.captioner import Captioner

BATCHES_AHEAD = 2  # are prepared while the model is busy
COLUMNS = {"key": "string", "pixels": "string", "caption": "string"}


@dataclass(frozen=True, kw_only=True)
class CaptionWorker:
    """Captions shards of the corpus."""

    modules: ClassVar = ("stages.models.captioner",)
    config: Caption

    def load(self) -> Work:
        """Load BLIP."""
        from stages.models.captioner import load_captioner

        return _Captioning(captioner=load_captioner(self.config.model), config=self.config, corpus=Corpus(CORPUS))


@dataclass(frozen=True, kw_only=True)
class _Captioning:
    captioner: "Captioner"
    config: Caption
    corpus: Corpus

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write a table of captions in the order of the shard, and keep earlier captions of the same pixels.

        Images whose caption is empty count as dropped; their rows stay, so that they are not captioned again.
        """
        rows = self.corpus.rows(task.name)
        wanted, known = {row.pixels for row in rows}, dict[str, str]()
        for (path,) in files.earlier.holding(hashes_of([row.pixels for row in rows])):
            known |= {row["pixels"]: row["caption"] for row in read_table(path, COLUMNS) if row["pixels"] in wanted}
        new = [row for row in rows if row.pixels not in known]
        captions = self._captions(new, advance)
        advance(len(rows) - len(new))
        result = ShardResult()
        table = []
        for row in rows:
            text = known[row.pixels] if row.pixels in known else next(captions)
            table.append({"key": row.key, "pixels": row.pixels, "caption": text})
            if text:
                result.done += 1
                result.reused += row.pixels in known
            else:
                result.dropped["empty caption"] += 1
        write_table(files.output, table, COLUMNS)
        return result

    def _captions(self, rows: list[CorpusRow], advance: Advance) -> Iterator[str]:
        """Yield a caption for each image."""
        calls = (partial(self._prepare, *batch) for batch in padded_batches(rows, self.config.batch))
        for pictures, count in call_ahead(calls, BATCHES_AHEAD):
            captions = self.captioner.describe(pictures, self.config.max_tokens)
            advance(count)
            yield from map(one_line, captions[:count])

    def _prepare(self, rows: list[CorpusRow], count: int) -> tuple["Tensor", int]:
        """Return a batch of pictures as BLIP reads them, and how many of them are not padding."""
        pictures = [self.corpus.picture_of(row) for row in rows[:count]]
        return self.captioner.prepare(pictures + pictures[-1:] * (len(rows) - count)), count


def _contents(outputs: tuple[Path, ...]) -> Hashes:
    """Return the hashes of the pictures whose captions a shard holds."""
    return hashes_of(read_columns(outputs[0], {"pixels": "string"})["pixels"].to_pylist())


def caption(params: Params) -> None:
    """Write ``data/captions/NAME.parquet`` (key, pixels, caption) for every shard of the corpus."""
    config, corpus = params.caption, Corpus(CORPUS)
    settings = {"caption": config.model_dump(), "model": identity(config.model), "code": source_digest(__file__)}
    paths = list_shards(CORPUS, ".tar")
    tasks = [ShardTask(name=path.stem, inputs=corpus.inputs(path.stem), samples=count_samples(path, ".tar")) for path in paths]
    counts = map_shards(
        stage="caption",
        tasks=tasks,
        folder=CAPTIONS,
        suffixes=(".parquet",),
        settings=settings,
        worker=CaptionWorker(config=config),
        execution=params.execution,
        contents=_contents,
    )
    pass_on_counts(counts, CAPTIONS, CORPUS)
    counts.report()
