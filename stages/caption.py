"""Stage caption: describe every image of the corpus with BLIP."""

from collections.abc import Callable
from pathlib import Path

from stages.common.parquet import batched, write_table
from stages.common.text import one_line
from stages.core.params import Params
from stages.core.provenance import source_digest
from stages.core.shards import ShardResult, ShardTask, count_samples, list_shards, map_shards
from stages.corpus.samples import read_corpus
from stages.models.captioner import load_captioner
from stages.models.hub import identity

CORPUS = Path("data/corpus")
CAPTIONS = Path("data/captions")


def caption(params: Params) -> None:
    """Write ``data/captions/NAME.parquet`` (key, caption) for every shard of the corpus."""
    config = params.caption
    captioner = load_captioner(config.model)
    shards = list_shards(CORPUS, ".tar")
    tasks = [ShardTask(name=path.stem, inputs=(path,), samples=count_samples(path, ".tar")) for path in shards]

    def work(task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:
        result = ShardResult()
        rows = []
        for part in batched(read_corpus(task.inputs[0]), config.batch):
            captions = captioner.caption([sample.image for sample in part], config.max_tokens)
            for sample, text in zip(part, map(one_line, captions), strict=True):
                if text:
                    rows.append({"key": sample.key, "caption": text})
                else:
                    result.dropped["empty caption"] += 1
            advance(len(part))
        result.done = len(rows)
        write_table(output, rows, {"key": "string", "caption": "string"})
        return result

    code = source_digest(__file__)
    settings = {"caption": config.model_dump(), "model": identity(config.model), "code": code}
    map_shards(stage="caption", tasks=tasks, folder=CAPTIONS, suffix=".parquet", settings=settings, work=work).report()
