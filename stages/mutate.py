"""Stage mutate: turn captions into edit prompts."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.common.parquet import read_columns, read_table, write_table
from stages.common.seeds import derive_seed
from stages.core.earlier import Hashes, hashes_of_texts
from stages.core.files import file_digest
from stages.core.params import Caption, LanguageModel, Mutate, Params
from stages.core.paths import CAPTIONS, EDITS, PROPOSALS
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

if TYPE_CHECKING:
    from stages.language.language_model import Refused
    from stages.language.mutation import Dropped, Mutation

SUFFIX = ".parquet"
CAPTIONS_TABLE = {"key": "string", "caption": "string"}


@dataclass(frozen=True, kw_only=True)
class MutationWorker:
    """Edits shards of captions."""

    config: Mutate
    caption: Caption
    seed: int  # the pipeline's seed

    def load(self) -> Work:
        """Read the rules and the vocabulary."""
        model = self.config.llm if self.config.mutator == "llm" else None
        return _Editing(rules=read_rules(self.config), caption=self.caption, seed=self.seed, model=model)


@dataclass(frozen=True, kw_only=True)
class _Editing:
    rules: Rules
    caption: Caption
    seed: int
    model: LanguageModel | None  # chooses the edits; None: chance does

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write a table of edits in the order of the captions; captions without an edit are dropped.

        An edit depends on its key and caption, so those in earlier tables are kept. The stage caption has counted images
        without a caption.
        """
        from stages.language.captions import text_to_edit  # these read the dictionary, which takes seconds
        from stages.language.mutation import Mutation

        edit_caption = self._mutator()
        result = ShardResult()
        captions = read_table(task.inputs[0], CAPTIONS_TABLE)
        wanted = [(row["key"], text_to_edit(row["caption"], self.caption)) for row in captions if row["caption"]]
        kept: dict[tuple[str, str], dict[str, Any]] = {}
        for (path,) in files.earlier.holding(_hashes(wanted)):
            kept |= {(row["key"], row["caption"]): row for row in read_table(path, EDITS_TABLE)}
        rows = []
        for key, caption in wanted:
            advance(1)
            if (key, caption) in kept:
                rows.append(kept[key, caption])
                result.reused += 1
            else:
                edit = edit_caption(caption, derive_seed(self.seed, "mutate", key))
                if isinstance(edit, Mutation):
                    rows.append({"key": key, "caption": caption} | asdict(edit))
                else:
                    result.dropped[edit.value] += 1
        result.done = len(rows)
        write_table(files.output, rows, EDITS_TABLE)
        return result

    def _mutator(self) -> Callable[[str, int], "Mutation | Dropped | Refused"]:
        """Return what makes an edit of a caption by a seed."""
        if self.model is None:
            from stages.language.mutation import mutate_caption

            return lambda caption, seed: mutate_caption(caption, self.rules, seed)
        from stages.language.language_model import Proposer

        return Proposer(config=self.model, rules=self.rules, folder=PROPOSALS).edit


def _hashes(edits: Iterable[tuple[str, str]]) -> Hashes:
    """Return the hashes of edits, given by their key and caption."""
    return hashes_of_texts(f"{key}\0{caption}" for key, caption in edits)


def _contents(outputs: tuple[Path, ...]) -> Hashes:
    """Return the hashes of the edits that a shard holds."""
    edits = read_columns(outputs[0], CAPTIONS_TABLE)
    return _hashes(zip(edits["key"].to_pylist(), edits["caption"].to_pylist(), strict=True))


def _decisive(config: Mutate) -> dict[str, Any]:
    """Return what decides the edits: of a language model its name, but not where and how patiently it is asked."""
    model = {"model": config.llm.model} if config.mutator == "llm" else {}
    return config.model_dump(exclude={"mutator", "llm"}) | model


def mutate(params: Params) -> None:
    """Write ``data/edits/NAME.parquet`` for every ``data/captions/NAME.parquet``."""
    settings = {
        "mutate": _decisive(params.mutate),
        "caption.use": params.caption.use,
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
        worker=MutationWorker(config=params.mutate, caption=params.caption, seed=params.seed),
        execution=params.execution,
        contents=_contents,
    )
    pass_on_counts(counts, EDITS, CAPTIONS)
    counts.report()
