"""Stage mutate: turn captions into edit prompts."""

from dataclasses import asdict, dataclass

from stages.common.parquet import read_table, write_table
from stages.common.seeds import derive_seed
from stages.common.text import one_line
from stages.core.files import file_digest
from stages.core.params import Mutate, Params
from stages.core.paths import CAPTIONS, EDITS
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
from stages.language.rules import Rules, read_rules, vocabulary_file
from stages.language.wordnet import wordnet_digest
from stages.pairing.columns import EDITS_TABLE

SUFFIX = ".parquet"
CAPTIONS_TABLE = {"key": "string", "caption": "string"}


@dataclass(frozen=True, kw_only=True)
class MutationWorker:
    """Edits shards of captions."""

    config: Mutate
    seed: int  # the pipeline's seed

    def load(self) -> Work:
        """Read the rules and the vocabulary."""
        return _Editing(rules=read_rules(self.config), seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class _Editing:
    rules: Rules
    seed: int

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write a table of edits in the order of the captions; captions without an edit are dropped.

        An edit depends on its key and caption, so those in the earlier table are kept. The stage caption has counted images
        without a caption.
        """
        from stages.language.captions import mend_caption  # these read the dictionary, which takes seconds
        from stages.language.mutation import Mutation, mutate_caption

        result = ShardResult()
        earlier = [row for path in files.previous for row in read_table(path, EDITS_TABLE)]
        kept = {(row["key"], row["caption"]): row for row in earlier}
        rows = []
        for row in read_table(task.inputs[0], CAPTIONS_TABLE):
            advance(1)
            if not row["caption"]:
                continue
            key, caption = row["key"], mend_caption(one_line(row["caption"]))
            if (key, caption) in kept:
                rows.append(kept[key, caption])
                result.reused += 1
            else:
                edit = mutate_caption(caption, self.rules, derive_seed(self.seed, "mutate", key))
                if isinstance(edit, Mutation):
                    rows.append({"key": key, "caption": caption} | asdict(edit))
                else:
                    result.dropped[edit.value] += 1
        result.done = len(rows)
        write_table(files.output, rows, EDITS_TABLE)
        return result


def mutate(params: Params) -> None:
    """Write ``data/edits/NAME.parquet`` for every ``data/captions/NAME.parquet``."""
    settings = {
        "mutate": params.mutate.model_dump(),
        "seed": params.seed,
        "wordnet": wordnet_digest(),
        "vocabulary": file_digest(vocabulary_file(params.mutate)),
        "code": source_digest(__file__),
    }
    shards = list_shards(CAPTIONS, SUFFIX)
    tasks = [ShardTask(name=path.stem, inputs=(path,), samples=count_samples(path, SUFFIX)) for path in shards]
    counts = map_shards(
        stage="mutate",
        tasks=tasks,
        folder=EDITS,
        suffixes=(SUFFIX,),
        settings=settings,
        worker=MutationWorker(config=params.mutate, seed=params.seed),
        execution=params.execution,
    )
    pass_on_counts(counts, EDITS, CAPTIONS)
    counts.report()
