"""The training set, and the held-out pairs, as a whole."""

from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import value_digest
from stages.core.paths import HELD_OUT, TRAINING_SET
from stages.core.shards import list_shards, read_counts, shard_totals
from stages.core.sidecars import read_sidecar, sidecar_of
from stages.pairing.training_set import SUFFIX, pairs_digest

PARAMETERS = {
    "target is a near-duplicate of the source": "retrieve.near_duplicate",
    "target too unlike the source": "retrieve.min_image_image",
    "target does not show the edit prompt": "retrieve.min_text_image",
    "target fits the edit prompt no better than the source": "retrieve.text_gain",
    "change of the image does not follow the change of the text": "retrieve.min_directional",
    "target used too often": "retrieve.max_uses",
    "no allowed replacement for its nouns and adjectives": "mutate.vocabulary or mutate.levels",
    "source mask empty or below segment.min_area": "segment.min_area or segment.threshold",
    "source mask full or above segment.max_area": "segment.max_area or segment.threshold",
    "target mask empty or below segment.min_area": "segment.min_area or segment.threshold",
    "target mask full or above segment.max_area": "segment.max_area or segment.threshold",
}
"""Why a sample is dropped → what decides it; in words, so that no training depends on the code of the stages that drop it."""


def find_training_set() -> tuple[str, int]:
    """Return the digest of the training set's pairs, wherever their pictures lie, and the number of its samples.

    Raises:
        InputError: it has none, or a table is not what the stage segment wrote.
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
    if count == 0:
        raise InputError(f"{TRAINING_SET}: no pair to train on; {_explain()}")
    return value_digest(found), count


def _explain() -> str:
    """Return which reason cost the most samples, and what would change that."""
    counts = read_counts(TRAINING_SET)
    reasons = [(count, stage, reason) for stage, found in counts.items() for reason, count in found.items()]
    if not reasons:
        return "nothing was dropped, so add images"
    count, stage, reason = max(reasons, key=lambda each: each[0])
    remedy = f"change {PARAMETERS[reason]}, or add images" if reason in PARAMETERS else "add images"
    return f"most samples were dropped by {stage}, {count:,} because of '{reason}': {remedy}"


def check_held_out(pairs: int) -> None:
    """Raise InputError if a training is to measure its loss on held-out pairs and there are none.

    Args:
        pairs: how many pairs are asked for.
    """
    if pairs and not shard_totals(HELD_OUT)[0]:
        raise InputError(f"train.validation_pairs = {pairs}: {HELD_OUT} holds no pair; raise retrieve.held_out, or set it to 0")
