"""The settings of a training from nano/params.yaml, the digest of its inputs, and its folders."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from stages.core.files import file_digest, folder_digest, value_digest

NANO = Path(__file__).parent
MODELS = NANO / "models"
BUILD = NANO / "build"  # scenes and checkpoints: large, rebuilt when missing, never committed


class Training(BaseModel):
    """The settings of one model's training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: list[PositiveInt] = Field(min_length=1)  # in each round
    batch: int = Field(gt=0)
    lr: float = Field(gt=0)
    threads: int = Field(gt=0)
    precision: Literal["fp32", "bf16"]


def read_settings() -> dict[str, Any]:
    """Return the whole of nano/params.yaml."""
    settings: dict[str, Any] = yaml.safe_load((NANO / "params.yaml").read_text())
    return settings


def inputs_digest(name: str) -> str:
    """Return a digest of a training's inputs besides its settings: the deps of its stage in nano/dvc.yaml."""
    deps = yaml.safe_load((NANO / "dvc.yaml").read_text())["stages"][name]["deps"]
    paths = {dep: NANO / dep for dep in deps}
    return value_digest({dep: folder_digest(path) if path.is_dir() else file_digest(path) for dep, path in paths.items()})


def read_training(name: str) -> Training:
    """Return one model's section of nano/params.yaml."""
    return Training.model_validate(read_settings()[name])
