"""Stage caption: describe every image of the corpus with BLIP."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.common.parquet import batched, write_table
from stages.common.text import one_line
from stages.core.params import Caption, Params
from stages.core.paths import CAPTIONS, CORPUS
from stages.core.provenance import source_digest
from stages.core.shards import ShardResult, ShardTask, count_samples, list_shards, map_shards, pass_on_counts
from stages.corpus.samples import read_corpus
from stages.models.captioner import Captioner, load_captioner
from stages.models.hub import identity

COLUMNS = {"key": "string", "caption": "string"}


@dataclass(frozen=True, kw_only=True)
class CaptionWorker:
    """Captions one shard of the corpus."""

    captioner: Captioner
    config: Caption

    def __call__(self, task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:
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
        write_table(output, rows, COLUMNS)
        return result


def caption(params: Params) -> None:
    """Write ``data/captions/NAME.parquet`` (key, caption) for every shard of the corpus."""
    config = params.caption
    work = CaptionWorker(captioner=load_captioner(config.model), config=config)
    shards = list_shards(CORPUS, ".tar")
    tasks = [ShardTask(name=path.stem, inputs=(path,), samples=count_samples(path, ".tar")) for path in shards]
    settings = {"caption": config.model_dump(), "model": identity(config.model), "code": source_digest(__file__)}
    counts = map_shards(stage="caption", tasks=tasks, folder=CAPTIONS, suffix=".parquet", settings=settings, work=work)
    pass_on_counts(counts, CAPTIONS, CORPUS)
    counts.report()
