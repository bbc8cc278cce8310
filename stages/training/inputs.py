"""The training set as a whole."""

from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import value_digest
from stages.core.paths import TRAINING_SET
from stages.core.shards import list_shards, read_counts
from stages.core.sidecars import read_sidecar, sidecar_of
from stages.pairing import neighbours
from stages.pairing.choice import USED
from stages.pairing.training_set import SUFFIX, pairs_digest

PARAMETERS = {
    neighbours.NEAR_DUPLICATE: "retrieve.near_duplicate",
    neighbours.UNLIKE: "retrieve.min_image_image",
    neighbours.NO_TEXT: "retrieve.min_text_image",
    neighbours.NO_GAIN: "retrieve.text_gain",
    neighbours.NO_CHANGE: "retrieve.min_directional",
    USED: "retrieve.max_uses",
    "no allowed replacement for its nouns and adjectives": "mutate.vocabulary or mutate.levels",
    "source mask empty or below segment.min_area": "segment.min_area or segment.threshold",
    "source mask full or above segment.max_area": "segment.max_area or segment.threshold",
    "target mask empty or below segment.min_area": "segment.min_area or segment.threshold",
    "target mask full or above segment.max_area": "segment.max_area or segment.threshold",
}
"""Why a sample is dropped → the parameters that decide it."""


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
