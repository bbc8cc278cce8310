"""What a training continues from: a registered version, whose U-Net is put into ``models/start``, or the base.

No stage looks into the registry: a flow or a person chooses before (:mod:`stages.training.start`), and the stage train reads
what was chosen. So the same commit, parameters and starting weights give the same bytes.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from stages.core.errors import InputError
from stages.core.files import folder_digest, read_written, value_digest, write_text, written_aside
from stages.core.params import Train
from stages.core.paths import START
from stages.models.hub import identity
from stages.models.layout import LORA

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

FILE, UNET = "start.json", "unet"  # in START
CHOOSE = "python -m stages.training.start"
PREFIX = "iedit.start."  # of the tags of a run and of a version


class Start(BaseModel):
    """Where a training starts, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str | None  # of the registered model; None: the base
    model: str | None  # the digest of that version's model
    why: str
    basis: str | None  # :func:`basis` of the training that it was chosen for; None: of any

    def tags(self) -> dict[str, str]:
        """Return the tags of a run that starts here."""
        facts = {"version": self.version, "model": self.model, "why": self.why}
        return {f"{PREFIX}{name}": text for name, text in facts.items() if text is not None}


def basis(config: Train, dataset: str) -> str:
    """Return a digest of what a choice is made for, apart from the champion: training set, base, bound, and rank of a LoRA.

    Args:
        config: the section ``train``.
        dataset: the digest of the training set.
    """
    rank = [config.lora_rank] if config.parameters == "lora" else []
    return value_digest([dataset, identity(config.base), config.continuation.max_changed, *rank])


def read_start(config: Train, dataset: str) -> Start:
    """Return what was chosen.

    Args:
        config: the section ``train``.
        dataset: the digest of the training set.

    Raises:
        InputError: nothing was chosen, or for another training set, base, bound or LoRA, or the file is damaged.
    """
    path = START / FILE
    if not path.is_file():
        raise InputError(f"train.continue_from = 'champion': {path}: no such file; {CHOOSE} writes it, as flows do")
    start = read_written(path, Start.model_validate_json)
    if start.basis not in (None, basis(config, dataset)):
        asked = "another training set, train.base, train.continuation.max_changed or LoRA"
        raise InputError(f"{path}: was chosen for {asked}; {CHOOSE} chooses again, as flows do")
    return start


def put_start(start: Start, model: Path | None, project: Path = Path()) -> None:
    """Put a choice in place of the last one.

    Args:
        start: the choice.
        model: the folder of the model to start from; None: the base, which the stage finds itself.
        project: the folder of the project.
    """
    with written_aside(project / START) as folder:
        folder.mkdir()
        if model is not None:
            shutil.copytree(model / UNET, folder / UNET, ignore=shutil.ignore_patterns("*.bin"))
            if (model / LORA).is_file():  # a training of a LoRA continues this, and not the U-Net
                shutil.copyfile(model / LORA, folder / UNET / LORA)
        write_text(folder / FILE, start.model_dump_json(indent=2) + "\n")


def put_recorded_start(client: "MlflowClient", recorded: dict[str, str], project: Path) -> None:
    """Put what a version started from into a clone, to rebuild that version there.

    Args:
        client: a client of the store.
        recorded: the entry ``start`` of the version's record.
        project: the folder of the clone.

    Raises:
        InputError: the registry has no such version, or it has another model.
    """
    from stages.tracking.registry import NAME, fetch_trained

    start = Start(version=recorded.get("version"), model=recorded.get("model"), why=recorded["why"], basis=None)
    model = None
    if start.version is not None:
        uri = f"models:/{NAME}/{start.version}"
        model = fetch_trained(client, uri)
        if folder_digest(model) != start.model:
            raise InputError(f"{uri}: is not the model from which the version was trained")
    put_start(start, model, project)
