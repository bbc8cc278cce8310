"""The training set as a whole."""

from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import value_digest
from stages.core.paths import TRAINING_SET
from stages.core.shards import list_shards
from stages.core.sidecars import read_sidecar, sidecar_of
from stages.pairing.training_set import SUFFIX, pairs_digest


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
        raise InputError(f"{TRAINING_SET}: no pair to train on; see what retrieve and segment dropped, and why")
    return value_digest(found), count
