"""The settings of a training, from nano/params.yaml, what it is made from, and where its files are."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from stages.core.files import file_digest, folder_digest, value_digest

NANO = Path(__file__).parent
MODELS = NANO / "models"
BUILD = NANO / "build"  # scenes and checkpoints: large, made anew when missing, never committed


class Training(BaseModel):
    """How one model is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: list[PositiveInt] = Field(min_length=1)  # of each round
    batch: int = Field(gt=0)
    lr: float = Field(gt=0)
    threads: int = Field(gt=0)
    precision: Literal["fp32", "bf16"]


def read_settings() -> dict[str, Any]:
    """Return the whole of nano/params.yaml."""
    settings: dict[str, Any] = yaml.safe_load((NANO / "params.yaml").read_text())
    return settings


def inputs_digest(name: str) -> str:
    """Return a digest of what a training is made from besides its settings: all that nano/dvc.yaml names for it."""
    deps = yaml.safe_load((NANO / "dvc.yaml").read_text())["stages"][name]["deps"]
    paths = {dep: NANO / dep for dep in deps}
    return value_digest({dep: folder_digest(path) if path.is_dir() else file_digest(path) for dep, path in paths.items()})


def read_training(name: str) -> Training:
    """Return the section of nano/params.yaml that belongs to one model."""
    return Training.model_validate(read_settings()[name])
