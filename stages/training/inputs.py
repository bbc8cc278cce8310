"""The training set as a whole."""

from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import value_digest
from stages.core.paths import TRAINING_SET
from stages.core.shards import count_samples, list_shards
from stages.pairing.training_set import SUFFIX


def find_training_set() -> tuple[str, int]:
    """Return the digest of the training set and the number of its samples.

    Raises:
        InputError: it has none.
    """
    shards = list_shards(TRAINING_SET, SUFFIX)
    count = sum(count_samples(shard, SUFFIX) for shard in shards)
    if count == 0:
        raise InputError(f"{TRAINING_SET}: no pair to train on; see what retrieve and segment dropped, and why")
    with Digests() as digests:
        return value_digest([digests.of(shard) for shard in shards]), count
