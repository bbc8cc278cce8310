"""The training set, and the held-out pairs, as a whole."""

from collections import Counter
from operator import attrgetter
from pathlib import Path

import numpy as np

from stages.common.parquet import read_table
from stages.core.choices import shown
from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import value_digest
from stages.core.params import Params
from stages.core.paths import DATASET_PAGE, HELD_OUT, PAIRS, TRAINING_SET
from stages.core.shards import list_shards, read_counts, shard_totals
from stages.core.sidecars import read_sidecar, sidecar_of
from stages.pairing.split import least_share
from stages.pairing.training_set import SUFFIX, pairs_digest

REASONS = 3  # that are named, those that dropped the most
EXAMPLES = f"`python -m stages describe` writes examples to {DATASET_PAGE}"

PARAMETERS = {
    "target is a near-duplicate of the source": ("retrieve.near_duplicate",),
    "target too unlike the source": ("retrieve.min_image_image",),
    "target does not show the edit prompt": ("retrieve.min_text_image",),
    "target fits the edit prompt no better than the source": ("retrieve.text_gain",),
    "change of the image does not follow the change of the text": ("retrieve.min_directional",),
    "target used too often": ("retrieve.max_uses",),
    "no allowed replacement for its nouns and adjectives": ("mutate.vocabulary", "mutate.levels"),
    "source mask empty or below segment.min_area": ("segment.min_area", "segment.threshold"),
    "source mask full or above segment.max_area": ("segment.max_area", "segment.threshold"),
    "target mask empty or below segment.min_area": ("segment.min_area", "segment.threshold"),
    "target mask full or above segment.max_area": ("segment.max_area", "segment.threshold"),
}
"""Why a sample is dropped → what decides it; in words, so that no training depends on the code of the stages that drop it."""


def find_training_set() -> tuple[str, int]:
    """Return the digest of the training set's pairs, wherever their pictures lie, and the number of its samples.

    Raises:
        InputError: a table is not what the stage segment wrote.
    """
    found, count = [], 0
    with Digests() as digests:
        for shard in list_shards(TRAINING_SET, SUFFIX):
            sidecar = read_sidecar(sidecar_of(shard, SUFFIX))
            pairs = pairs_digest(sidecar)
            if pairs is None or digests.of(shard) != sidecar.digests[0]:
                raise InputError(f"{shard}: is not what the stage segment wrote; run it again")
            found.append(pairs)
            count += sidecar.done
    return value_digest(found), count


def check_pairs(params: Params) -> None:
    """Check that there are pairs to train on and, where the evaluation reads them, held-out ones; before anything is trained.

    Raises:
        InputError: there are none. The line says how many pairs are usable and what dropped the others, or which share of
            them to hold out; that one was tried on these very pairs.
    """
    training, held_out = shard_totals(TRAINING_SET)[0], shard_totals(HELD_OUT)[0]
    if training and (held_out or params.evaluate.cases != str(HELD_OUT)):
        _check_validation(params.train.validation_pairs, held_out)
        return
    if not training and not held_out:
        raise InputError(f"{TRAINING_SET}: no pair to train on; {_explain(params)}; {EXAMPLES}")
    needy = f"evaluate.cases = '{HELD_OUT}'" if training else "the training"
    lack = f"usable pairs to train on: {training:,}, held out: {held_out:,}, but {needy} needs some"
    share = _least_share(params)
    remedy = f"no share gives both, because they share images or there is only one; {_explain(params)}"
    if share is not None:
        remedy = f"set it to {share}, which gives both"
    raise InputError(f"retrieve.held_out = {params.retrieve.held_out}: {lack}; {remedy}")


def _least_share(params: Params) -> float | None:
    """Return the least share of the pairs to hold out with which some usable ones are on both sides, if there is one."""
    pairs = _read_keys(PAIRS)
    usable = {key for folder in (TRAINING_SET, HELD_OUT) for key, _ in _read_keys(folder)}  # of the source, which has one edit
    return least_share(pairs, np.array([key in usable for key, _ in pairs], np.bool_), params.seed)


def _read_keys(folder: Path) -> list[tuple[str, str]]:
    """Return the keys of source and target of every pair in the tables of a folder."""
    columns = {"key": "string", "target_key": "string"}
    rows = (row for table in list_shards(folder, SUFFIX) for row in read_table(table, columns))
    return [(row["key"], row["target_key"]) for row in rows]


def _explain(params: Params) -> str:
    """Return the reasons that dropped the most samples, by which values, and what would help."""
    counts = {stage: Counter(dropped) for stage, dropped in read_counts(TRAINING_SET).items()}
    counts["segment"] = counts.get("segment", Counter()) + shard_totals(HELD_OUT)[1]
    found = sorted((-count, stage, reason) for stage, dropped in counts.items() for reason, count in dropped.items())
    if not found:
        return "nothing was dropped, so add images"
    shown = found[:REASONS]
    lost = "; ".join(f"{stage}, {-count:,} because of '{reason}'{_values(reason, params)}" for count, stage, reason in shown)
    remedy = "change these values, or add images" if any(reason in PARAMETERS for _, _, reason in shown) else "add images"
    return f"most samples were dropped by {lost}: {remedy}"


def _values(reason: str, params: Params) -> str:
    """Return the values that decide about a reason, in brackets."""
    values = ", ".join(f"{key} = {shown(attrgetter(key)(params))}" for key in PARAMETERS.get(reason, ()))
    return f" ({values})" if values else ""


def _check_validation(pairs: int, held_out: int) -> None:
    """Raise InputError if a training is to measure its loss on so many held-out pairs and there are none."""
    if pairs and not held_out:
        raise InputError(f"train.validation_pairs = {pairs}: {HELD_OUT} holds no pair; raise retrieve.held_out, or set it to 0")
