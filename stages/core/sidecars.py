"""The record beside every whole shard. It is written last, so a shard without one never counts as whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from stages.core.files import read_written

SIDECAR_SUFFIX = ".done.json"


class Sidecar(BaseModel):
    """How a shard was made, and what came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    fingerprint: str  # digest of the inputs and settings
    settings: str  # digest of the settings that all shards of the stage share
    digests: list[str]  # of the outputs' bytes, one a suffix
    done: NonNegativeInt
    dropped: dict[str, NonNegativeInt]
    notes: list[dict[str, Any]]


def sidecar_of(shard: Path, suffix: str) -> Path:
    """Return the path of the sidecar of a shard's output."""
    return shard.with_name(shard.name.removesuffix(suffix) + SIDECAR_SUFFIX)


def find_sidecar(path: Path, outputs: Sequence[Path]) -> Sidecar | None:
    """Return a shard's sidecar, or None if it or an output is missing, or it is damaged and so proves nothing."""
    if not all(output.exists() for output in outputs):
        return None
    try:
        record = Sidecar.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return record if len(record.digests) == len(outputs) else None


def read_sidecar(path: Path) -> Sidecar:
    """Return the sidecar of a shard that an earlier stage wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_written(path, Sidecar.model_validate_json)
