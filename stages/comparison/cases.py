"""The held-out edits that systems are compared on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from stages.core.errors import InputError
from stages.core.params import CaseSplit, Params
from stages.corpus.samples import EditSample, read_edits
from stages.pairing.split import held_out_pairs

VALIDATION_PAIRS_SHARE = 1 / 3  # share of the pairs, if both splits share a folder


@dataclass(frozen=True, kw_only=True)
class Case:
    """A requested edit, and the shard that holds it."""

    shard: Path
    sample: EditSample


def read_cases(shards: Sequence[Path], params: Params, split: CaseSplit = "evaluation") -> list[Case]:
    """Return the first cases of a split, at most ``evaluate.max_cases``.

    If params.yaml names one folder for both splits, a third of its pairs go to validation, in whole connected components so
    that no image is in both.

    Args:
        shards: tars of pairs, in order.
        params: the folders of both splits, the number of cases, and the seed.
        split: the cases to report on, or those to choose settings on.

    Raises:
        InputError: the split has no case, or a case lacks the relation that its candidates are chosen by.
    """
    config = params.evaluate
    found = (Case(shard=shard, sample=sample) for shard in shards for sample in read_edits(shard))
    if config.cases == config.validation:
        pairs = [(case.key, str(case.metadata.get("target_key"))) for shard in shards for case in read_edits(shard)]
        sources, targets = ([pair[place] for pair in pairs] for place in (0, 1))
        aside = held_out_pairs(sources, targets, VALIDATION_PAIRS_SHARE, params.seed)
        found = (case for case, is_aside in zip(found, aside, strict=True) if is_aside == (split == "validation"))
    cases = list(islice(found, config.max_cases))
    if not cases:
        name, folder = ("cases", config.cases) if split == "evaluation" else ("validation", config.validation)
        raise InputError(f"evaluate.{name} = {folder!r}: holds no case; raise retrieve.held_out, or name another folder")
    for case in cases:
        if not isinstance(case.sample.metadata.get("relation"), str):
            raise InputError(f"{case.shard}: sample {case.sample.key}: metadata has no relation")
    return cases
