"""Stage mutate: captions become edit prompts, one Parquet of edits for each of captions."""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

from stages.common.parquet import read_table, write_table
from stages.common.seeds import derive_seed
from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.files import file_digest
from stages.core.params import Mutate, Params
from stages.core.provenance import source_digest
from stages.core.shards import ShardResult, ShardTask, count_samples, list_shards, map_shards
from stages.language.mutation import Mutation, mutate_caption
from stages.language.replacements import Rules
from stages.language.wordnet import wordnet_digest

CAPTIONS = Path("data/captions")
EDITS = Path("data/edits")
SUFFIX = ".parquet"
THINGS = Path(__file__).parent / "language" / "things.txt"
COLUMNS = dict.fromkeys(("key", "caption", *(field.name for field in fields(Mutation))), "string")


def mutate(params: Params) -> None:
    """Write ``data/edits/NAME.parquet`` for every ``data/captions/NAME.parquet``."""
    settings = {
        "mutate": params.mutate.model_dump(),
        "seed": params.seed,
        "wordnet": wordnet_digest(),
        "vocabulary": file_digest(_vocabulary(params.mutate)),
        "code": source_digest(__file__),
    }
    shards = list_shards(CAPTIONS, SUFFIX)
    tasks = [ShardTask(name=path.stem, inputs=(path,), samples=count_samples(path, SUFFIX)) for path in shards]
    work = partial(_write_edits, rules=read_rules(params.mutate), seed=params.seed)
    counts = map_shards(stage="mutate", tasks=tasks, folder=EDITS, suffix=SUFFIX, settings=settings, work=work)
    counts.report()


def read_rules(section: Mutate) -> Rules:
    """Return the rules of the section ``mutate``, with the words of its vocabulary.

    Raises:
        InputError: the vocabulary is not there, is empty, or a line of it is not one word in small letters.
    """
    path = _vocabulary(section)
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8", "replace").splitlines()]
    wrong = next((number for number, line in enumerate(lines, 1) if line and not (line.isalpha() and line.islower())), None)
    if wrong is not None:
        raise InputError(f"{path}:{wrong}: {lines[wrong - 1]!r}: one word in small letters on a line, comments after #")
    vocabulary = frozenset(line for line in lines if line)
    if not vocabulary:
        raise InputError(f"{path}: holds no word")
    return Rules(vocabulary=vocabulary, levels=section.levels, adjective_share=section.adjective_share)


def _write_edits(task: ShardTask, output: Path, advance: Callable[[int], object], *, rules: Rules, seed: int) -> ShardResult:
    """Write the edits of one shard of captions, in its order."""
    result = ShardResult()
    rows = []
    for row in read_table(task.inputs[0], {"key": "string", "caption": "string"}):
        caption = one_line(row["caption"])
        edit = mutate_caption(caption, rules, derive_seed(seed, "mutate", row["key"]))
        if isinstance(edit, Mutation):
            rows.append({"key": row["key"], "caption": caption} | asdict(edit))
            result.done += 1
        else:
            result.dropped[edit.value] += 1
        advance(1)
    write_table(output, rows, COLUMNS)
    return result


def _vocabulary(section: Mutate) -> Path:
    path = THINGS if section.vocabulary is None else Path(section.vocabulary)
    if not path.is_file():
        raise InputError(f"mutate.vocabulary = {str(path)!r}: no such file; a list of words, or null for {THINGS.name}")
    return path
