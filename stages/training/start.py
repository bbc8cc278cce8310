"""Choose where the next training starts, by ``train.continue_from``: ``python -m stages.training.start``.

The champion is continued if its model differs from the base in trained weights alone, and if few pairs came or went since its
training. Otherwise the training starts from the base. Either way the reason is kept, in models/start and with the model.
"""

import filecmp
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.common.parquet import read_columns
from stages.core.errors import InputError
from stages.core.files import folder_digest, read_json
from stages.core.params import Params, Train
from stages.core.paths import TRAINING_SET
from stages.core.run import run
from stages.core.shards import list_shards
from stages.core.sidecars import Sidecar, read_sidecar, sidecar_of
from stages.models.copying import SHARDS, copied_files, copied_index, copied_shards
from stages.models.hub import describe_model, identity, locate
from stages.models.layout import INDEX, LORA
from stages.pairing.columns import PLACE_COLUMNS
from stages.pairing.training_set import ROW_COLUMNS, SUFFIX, pairs_digest
from stages.tracking.start import UNET, Start, basis, put_start, read_start
from stages.training.inputs import check_pairs, find_training_set
from stages.training.model_folder import CHANGED

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from stages.tracking.registry import Registered

BASE = "base"
PAIR = {name: kind for name, kind in ROW_COLUMNS.items() if name not in PLACE_COLUMNS}
"""The columns that decide whether a pair is the same."""

Tables = Mapping[Path, Sidecar]
"""The tables of a training set, with their sidecars."""


def start(params: Params) -> None:
    """Choose where the training starts, unless it was chosen for the same training set, base and bound before.

    So a night that is repeated continues its own training, even if the champion has changed.

    Raises:
        InputError: MLflow cannot be reached, or there are too few pairs.
    """
    if params.train.continue_from == BASE:
        print("train.continue_from = 'base': there is nothing to choose")
        return
    from stages.tracking.errors import store_errors_in_one_line

    check_pairs(params)
    dataset, _ = find_training_set()
    try:
        chosen = read_start(params.train, dataset)
    except InputError:  # nothing is chosen yet for this training
        with store_errors_in_one_line():
            chosen, model = choose(params.train, dataset)
        put_start(chosen, model)
    place = "the base" if chosen.version is None else f"version {chosen.version}"
    print(f"  training starts from {place}: {chosen.why}")


def choose(config: Train, dataset: str) -> tuple[Start, Path | None]:
    """Return where to start, and the folder of the champion's model if that is the place.

    Args:
        config: the section ``train``.
        dataset: the digest of the training set.
    """
    from stages.tracking.registry import NAME, ForeignVersionError, current_champion, fetch_trained
    from stages.tracking.store import connect

    client, chosen_for = connect(), basis(config, dataset)
    try:
        champion = current_champion()
    except ForeignVersionError as error:
        return Start(version=None, model=None, why=f"the champion {error}", basis=chosen_for), None
    if champion is None:
        return Start(version=None, model=None, why="there is no champion", basis=chosen_for), None
    model = fetch_trained(client, f"models:/{NAME}/{champion.version}")
    try:
        why = _check(config, client, champion, model)
    except InputError as error:
        return Start(version=None, model=None, why=str(error), basis=chosen_for), None
    return Start(version=champion.version, model=folder_digest(model), why=why, basis=chosen_for), model


def _check(config: Train, client: "MlflowClient", champion: "Registered", model: Path) -> str:
    """Return why the champion can be continued.

    Raises:
        InputError: it cannot.
    """
    from stages.tracking.record import RECORD, cached_files, fetch_record

    differing = differing_file(locate(config.base), model)
    if differing is not None:
        raise InputError(f"version {champion.version} has another {differing} than {config.base.name}")
    if config.parameters == "lora":
        _check_lora(config, champion.version, model)
    with tempfile.TemporaryDirectory() as folder:
        record = read_json(fetch_record(client, champion, Path(folder)) / RECORD)
    _check_weights(config, champion.version, record["weights"])
    files = cached_files(record, TRAINING_SET)
    if files is None:
        raise InputError(f"the training set of version {champion.version} is not in DVC's cache")
    tables = [name for name in files if name.endswith(SUFFIX)]
    before = {files[name]: read_sidecar(files[str(sidecar_of(Path(name), SUFFIX))]) for name in tables}
    now = {path: read_sidecar(sidecar_of(path, SUFFIX)) for path in list_shards(TRAINING_SET, SUFFIX)}
    changed = changed_share(before, now)
    why = f"{changed:.2%} of the pairs came or went since version {champion.version}"
    if changed > config.continuation.max_changed:
        raise InputError(f"{why}, more than train.continuation.max_changed = {config.continuation.max_changed:g}")
    return why


def _check_weights(config: Train, version: str, weights: Mapping[str, Mapping[str, str | None]]) -> None:
    """Raise InputError if a version was trained from another base, by its record; one that names no base says nothing of it.

    Args:
        config: the section ``train``.
        version: its number.
        weights: of its record, see :func:`stages.models.hub.describe_models`.
    """
    base = weights.get(config.base.key)
    if base is not None and base["identity"] != describe_model(config.base)["identity"]:
        raise InputError(f"version {version} was trained from other weights than those of {config.base.name}")


def _check_lora(config: Train, version: str, model: Path) -> None:
    """Raise InputError if a version has no LoRA of the same rank and base, the only one which that training can continue."""
    from stages.models.lora import read_facts

    if not (model / LORA).is_file():
        raise InputError(f"version {version} was trained without a LoRA")
    rank, base = read_facts(model)
    if rank != config.lora_rank:
        raise InputError(f"version {version} has a LoRA of rank {rank}, not train.lora_rank = {config.lora_rank}")
    if base != identity(config.base):
        raise InputError(f"version {version} has a LoRA for another base than {config.base.name}")


def differing_file(base: Path, model: Path) -> str | None:
    """Return a file in which a trained model differs from its base, apart from the U-Net; None if there is none.

    Of the U-Net its configuration is compared, but for what a training may change.
    """
    for name, copied in copied_files(base).items():
        is_trained = name.startswith(f"{UNET}/") and name != f"{UNET}/config.json"  # how weights are split is not compared
        if not (is_trained or name == INDEX or _is_copy(base / name, model / copied)):
            return copied
    is_same = (model / INDEX).is_file() and read_json(model / INDEX) == copied_index(base)
    return None if is_same else INDEX


def _is_copy(path: Path, copy: Path) -> bool:
    if not copy.is_file():
        return False
    if filecmp.cmp(path, copy, shallow=False):
        return True
    if SHARDS in path.name:
        return bool(read_json(copy) == copied_shards(path))
    return path.parent.name == UNET and _unchanged(path) == _unchanged(copy)


def _unchanged(config: Path) -> dict[str, Any]:
    """Return the part of a U-Net's configuration that a training leaves as it is."""
    return {name: value for name, value in read_json(config).items() if name not in CHANGED}


def changed_share(before: Tables, now: Tables) -> float:
    """Return the share of the pairs now that are new, or the share of those before that are gone, if that is larger.

    A pair with another picture, prompt, mask or score is another pair. Tables that both have are not read.

    Args:
        before: a training set.
        now: another one.
    """
    same = {pairs_digest(each) for each in before.values()} & {pairs_digest(each) for each in now.values()} - {None}
    old, new = _row_digests(before, same), _row_digests(now, same)
    shares = [
        np.isin(some, others, invert=True).sum() / sum(sidecar.done for sidecar in tables.values())
        for tables, some, others in ((now, new, old), (before, old, new))
        if len(some)
    ]
    return float(max(shares, default=0.0))


def _row_digests(tables: Tables, left_out: Collection[str | None]) -> NDArray[np.uint64]:
    """Return 64 bits for every row of some tables; those whose pairs have one of the digests ``left_out`` are left out."""
    from pandas.util import hash_pandas_object

    wanted = [path for path, sidecar in tables.items() if pairs_digest(sidecar) not in left_out]
    found = [hash_pandas_object(read_columns(path, PAIR).to_pandas(), index=False).to_numpy() for path in wanted]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


if __name__ == "__main__":
    run(start)
