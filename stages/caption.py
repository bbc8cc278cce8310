"""Stage caption: describe every image of the corpus with BLIP, or take its own caption."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stages.common.ahead import call_ahead
from stages.common.batches import padded_batches
from stages.common.parquet import read_columns, read_table, write_table
from stages.common.text import one_line
from stages.core.earlier import Hashes, hashes_of
from stages.core.errors import InputError
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

LONGEST = 1000  # characters of a caption that is given; models read some 77 tokens
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


@dataclass(frozen=True, kw_only=True)
class GivenWorker:
    """Takes the captions that shards of the corpus have themselves."""

    def load(self) -> Work:
        """Return the function that copies captions."""
        return self._copy

    def _copy(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write a table of captions in the order of the shard; a text of more than LONGEST characters is no caption."""
        table, result = [], ShardResult()
        for row in Corpus(CORPUS).rows(task.name):
            caption = row.alt_text if len(row.alt_text) <= LONGEST else ""
            table.append({"key": row.key, "pixels": row.pixels, "caption": caption})
            if caption:
                result.done += 1
            else:
                result.dropped["given caption too long" if row.alt_text else "no caption given"] += 1
            advance(1)
        write_table(files.output, table, COLUMNS)
        return result


def _contents(outputs: tuple[Path, ...]) -> Hashes:
    """Return the hashes of the pictures whose captions a shard holds."""
    return hashes_of(read_columns(outputs[0], {"pixels": "string"})["pixels"].to_pylist())


def caption(params: Params) -> None:
    """Write ``data/captions/NAME.parquet`` (key, pixels, caption) for every shard of the corpus.

    Raises:
        InputError: the captions are to be those of the corpus, which has none.
    """
    config, corpus = params.caption, Corpus(CORPUS)
    is_given = config.use == "given"
    settings: dict[str, Any] = {"use": config.use, "code": source_digest(__file__)}
    if not is_given:
        settings |= {"caption": config.model_dump(), "model": identity(config.model)}
    paths = list_shards(CORPUS, ".tar")
    tasks = [ShardTask(name=path.stem, inputs=corpus.inputs(path.stem), samples=count_samples(path, ".tar")) for path in paths]
    counts = map_shards(
        stage="caption",
        tasks=tasks,
        folder=CAPTIONS,
        suffixes=(".parquet",),
        settings=settings,
        worker=GivenWorker() if is_given else CaptionWorker(config=config),
        execution=params.execution,
        contents=_contents,
    )
    if is_given and not counts.done + counts.reused:
        raise InputError(
            "caption.use = given: no image of the corpus has a caption; set ingest.source.text, or caption.use = blip"
        )
    pass_on_counts(counts, CAPTIONS, CORPUS)
    counts.report()
