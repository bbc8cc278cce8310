"""The held-out edits that systems are compared on.

A tar of edits holds a mask for each, given by whoever wrote it, and it is taken as true. The masks in a table of pairs were
predicted, by a segmenter like that of the systems, so the referee's take their place.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common.batches import padded_batches
from stages.common.parquet import read_columns
from stages.comparison.candidates import named_candidates
from stages.core.errors import InputError
from stages.core.files import file_digest, value_digest
from stages.core.params import CaseSplit, Params
from stages.core.shards import list_shards
from stages.corpus.corpus import Corpus
from stages.corpus.samples import EditSample, read_edits
from stages.models.hub import identity
from stages.models.referee import find_regions, load_referee
from stages.pairing import training_set
from stages.pairing.columns import PLACE_COLUMNS
from stages.pairing.split import held_out_pairs
from stages.pairing.training_set import PairRow, edit_sample, read_pairs

VALIDATION_PAIRS_SHARE = 1 / 3  # share of the pairs, if both splits share a folder
Masks = Literal["true", "referee"]  # whose masks cases have: their author's, or the referee's
MASK_COLUMNS = ("packed_source_mask", "packed_target_mask", "source_mask_area", "target_mask_area")  # of a PairRow
DIVIDED = 10  # pairs of a shared folder that are divided for each case; the others are not read


@dataclass(frozen=True, kw_only=True)
class Case:
    """A requested edit."""

    sample: EditSample
    shard: Path  # that holds it, for messages
    digest: str  # of everything in it; all cases of a tar have the tar's


@dataclass(frozen=True, kw_only=True)
class CaseSet:
    """The cases that systems are compared on, and whose masks they have."""

    cases: Sequence[Case]  # at least one
    masks: Masks
    left_out: int = 0  # cases that the referee could not mask

    @property
    def samples(self) -> list[EditSample]:
        """The edits that are asked for."""
        return [case.sample for case in self.cases]

    @property
    def digest(self) -> str:
        """A digest of the cases in their order, and of what made their masks."""
        return value_digest(list(dict.fromkeys(case.digest for case in self.cases)))


def read_cases(params: Params, split: CaseSplit = "evaluation") -> CaseSet:
    """Return the first cases of a split, at most ``evaluate.max_cases``; no others are decoded.

    Those of a table of pairs are masked by the referee. What it cannot mask is left out, which is printed.

    If params.yaml names one folder for both splits, a third of its first pairs go to validation, in whole connected components
    so that no image is in both.

    Args:
        params: the folders of both splits, the number of cases, the seed, and the referee.
        split: the cases to report on, or those to choose settings on.

    Raises:
        InputError: the split has no case, a case lacks the relation that its candidates are chosen by, it names candidates that
            cannot be used, or the referee cannot be loaded, has the weights of a segmenter that it must not have, or masks none
            of the pairs.
    """
    config = params.evaluate
    name, folder = ("cases", config.cases) if split == "evaluation" else ("validation", config.validation)
    shards = _list_shards(Path(folder))
    wanted: Iterable[bool] = repeat(True)
    if config.cases == config.validation:
        shards, keys = _first_pairs(shards, DIVIDED * config.max_cases)
        wanted = held_out_pairs(keys, VALIDATION_PAIRS_SHARE, params.seed) == (split == "validation")
    places = iter(wanted)
    cases = list(islice((case for shard in shards for case in read_shard(shard, places)), config.max_cases))
    if not cases:
        raise InputError(f"evaluate.{name} = {folder!r}: holds no case; raise retrieve.held_out, or name another folder")
    for case in cases:
        if not isinstance(case.sample.metadata.get("relation"), str):
            raise InputError(f"{case.shard}: sample {case.sample.key}: metadata has no relation")
        try:
            named_candidates(case.sample)
        except InputError as error:
            raise InputError(f"{case.shard}: {error}") from error
    is_of_pairs = cases[0].shard.suffix == training_set.SUFFIX
    return _refereed(cases, folder, params) if is_of_pairs else CaseSet(cases=cases, masks="true")


def masked_by_referee(sample: EditSample, source: Image.Image, mask: Image.Image) -> EditSample:
    """Return an edit of a source within the referee's mask; the source stands in for the target, which no comparison reads."""
    metadata = {name: fact for name, fact in sample.metadata.items() if not name.endswith("mask_area")}  # of other masks
    return replace(sample, source=source, target=source, source_mask=mask, target_mask=mask, metadata=metadata)


def _refereed(pairs: Sequence[Case], folder: str, params: Params) -> CaseSet:
    """Return pairs with the referee's masks of their sources.

    Batches are filled up, so that a mask does not depend on how many pairs there are.
    """
    config, threshold = params.evaluate, params.segment.threshold
    referee, made_by = load_referee(params), [identity(config.referee), threshold]
    kept: list[Case] = []
    for batch, count in padded_batches(pairs, config.batch):
        pictures, phrases = [pair.sample.source for pair in batch], [pair.sample.source_diff for pair in batch]
        for pair, mask in zip(batch[:count], find_regions(referee, pictures, phrases, threshold), strict=False):
            if mask is not None:
                sample = masked_by_referee(pair.sample, pair.sample.source, mask)
                kept.append(replace(pair, sample=sample, digest=value_digest([pair.digest, *made_by])))
    left_out = len(pairs) - len(kept)
    if not kept:
        raise InputError(
            f"evaluate.referee.name = {config.referee.name!r}: finds nothing, or the whole picture, in the sources of all "
            f"{left_out:,} pairs of {folder}; change segment.threshold = {threshold:g}, or name another CLIPSeg"
        )
    if left_out:
        print(f"{left_out:,} of {len(pairs):,} pairs of {folder} left out: the referee finds nothing, or the whole picture")
    return CaseSet(cases=kept, masks="referee", left_out=left_out)


def read_shard(shard: Path, wanted: Iterable[bool] = repeat(True)) -> Iterator[Case]:
    """Yield the cases of a tar of edits, or of a table of pairs whose pictures are in the corpus, with the masks that it has.

    Args:
        shard: the file.
        wanted: for each case of the shard whether to yield it.

    Raises:
        InputError: the file, or a picture, is damaged.
    """
    places = iter(wanted)
    if shard.suffix == training_set.SUFFIX:
        corpus = Corpus()
        for row in read_pairs(shard):
            if next(places):
                yield Case(sample=edit_sample(row, corpus), shard=shard, digest=_digest(row))
    else:
        digest = file_digest(shard)
        for sample in read_edits(shard):
            if next(places):
                yield Case(sample=sample, shard=shard, digest=digest)


def _digest(row: PairRow) -> str:
    """Return a digest of a pair without its masks, which the referee's replace."""
    facts = {name: each for name, each in asdict(row).items() if name not in (*PLACE_COLUMNS, *MASK_COLUMNS)}
    return value_digest({name: each.hex() if isinstance(each, bytes) else each for name, each in facts.items()})


def _list_shards(folder: Path) -> list[Path]:
    """Return the shards of a folder: tables of pairs, if there are any, else tars."""
    has_tables = any(folder.glob(f"*{training_set.SUFFIX}"))
    return list_shards(folder, training_set.SUFFIX if has_tables else ".tar")


def _first_pairs(shards: Sequence[Path], enough: int) -> tuple[list[Path], NDArray[np.bytes_]]:
    """Return the first shards that together have enough pairs, or all, and their keys as :func:`_read_keys` does."""
    found: list[NDArray[np.bytes_]] = []
    for shard in shards:
        found.append(_read_keys(shard))
        if sum(map(len, found)) >= enough:
            break
    return list(shards[: len(found)]), np.concatenate(found)


def _read_keys(shard: Path) -> NDArray[np.bytes_]:
    """Return the keys of source and target of every case in a shard, in UTF-8, (n, 2)."""
    pairs: Iterable[tuple[str, str]]
    if shard.suffix == training_set.SUFFIX:
        table = read_columns(shard, {"key": "string", "target_key": "string"})
        pairs = zip(table["key"].to_pylist(), table["target_key"].to_pylist(), strict=True)
    else:
        pairs = ((case.key, str(case.metadata.get("target_key"))) for case in read_edits(shard))
    return np.array([[key.encode() for key in pair] for pair in pairs], np.bytes_).reshape(-1, 2)
