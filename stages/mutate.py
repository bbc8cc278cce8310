"""Stage mutate: captions become edit prompts, one Parquet of edits for each of captions."""

import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages import seeds
from stages.files import file_digest
from stages.language import captions, mutation, replacements, senses
from stages.language.mutation import Mutation, mutate_caption
from stages.language.replacements import Rules
from stages.language.wordnet import wordnet_digest
from stages.params import Mutate, Params
from stages.run import InputError, run
from stages.seeds import derive_seed
from stages.shards import ShardResult, ShardTask, count_samples, list_shards, map_shards, source_digest

CAPTIONS = Path("data/captions")
EDITS = Path("data/edits")
SUFFIX = ".parquet"
SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "caption", *(field.name for field in fields(Mutation)))])


def mutate(params: Params) -> None:
    """Write ``data/edits/NAME.parquet`` for every ``data/captions/NAME.parquet``."""
    settings = {
        "mutate": params.mutate.model_dump(),
        "seed": params.seed,
        "wordnet": wordnet_digest(),
        "vocabulary": None if params.mutate.vocabulary is None else file_digest(_existing(Path(params.mutate.vocabulary))),
        "code": source_digest(sys.modules[__name__], captions, mutation, replacements, senses, seeds),
    }
    shards = list_shards(CAPTIONS, SUFFIX)
    tasks = [ShardTask(name=path.stem, inputs=(path,), samples=count_samples(path, SUFFIX)) for path in shards]
    work = partial(_write_edits, rules=read_rules(params.mutate), seed=params.seed)
    counts = map_shards(stage="mutate", tasks=tasks, folder=EDITS, suffix=SUFFIX, settings=settings, work=work)
    counts.report()


def read_rules(section: Mutate) -> Rules:
    """Return the rules of the section ``mutate``, with the words of its vocabulary.

    Raises:
        InputError: the vocabulary is not there, or a line of it is not one word in small letters.
    """
    vocabulary = None
    if section.vocabulary is not None:
        path = _existing(Path(section.vocabulary))
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        wrong = next((number for number, line in enumerate(lines, 1) if line and not (line.isalpha() and line.islower())), None)
        if wrong is not None:
            raise InputError(f"{path}:{wrong}: {lines[wrong - 1]!r}: one word in small letters on a line, comments after #")
        vocabulary = frozenset(line for line in lines if line)
    return Rules(
        vocabulary=vocabulary,
        min_count=section.min_count,
        levels=section.levels,
        adjective_share=section.adjective_share,
    )


def _write_edits(task: ShardTask, output: Path, advance: Callable[[int], object], *, rules: Rules, seed: int) -> ShardResult:
    """Write the edits of one shard of captions, in its order."""
    result = ShardResult()
    rows = []
    for row in pq.read_table(task.inputs[0], columns=["key", "caption"]).to_pylist():
        edit = mutate_caption(row["caption"], rules, derive_seed(seed, "mutate", row["key"]))
        if isinstance(edit, Mutation):
            rows.append(row | asdict(edit))
            result.done += 1
        else:
            result.dropped[edit.value] += 1
        advance(1)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), output, compression="zstd")
    return result


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"mutate.vocabulary = {str(path)!r}: no such file; a list of words, or null for any common word")
    return path


if __name__ == "__main__":
    run(mutate)
