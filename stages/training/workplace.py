"""Where a training keeps its checkpoints and losses, from which it resumes after a kill."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import InputError
from stages.core.files import writing, written_aside
from stages.models.layout import LORA
from stages.training.checkpoints import read_step

StepLog = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """The folder of one unfinished training."""

    folder: Path
    stage: str = "train"  # names the learning rate in messages
    fingerprint: str  # a digest of everything that decides the weights; checkpoints of another training are not resumed

    @property
    def losses(self) -> Path:
        """The losses of every step so far, one JSON object per line."""
        return self.folder / f"{self.fingerprint[:16]}.losses.jsonl"

    def checkpoint(self, step: int) -> Path:
        """The state after ``step`` steps."""
        return self.folder / f"{self.fingerprint[:16]}.{step:08d}.safetensors"

    def lora(self, step: int) -> Path:
        """The LoRA after ``step`` steps, with averaged weights, if one is trained."""
        return self.folder / f"{self.fingerprint[:16]}.{step:08d}.lora" / LORA

    def checkpoints(self) -> list[Path]:
        """All checkpoints of this training, oldest first."""
        return sorted(self.folder.glob(f"{self.fingerprint[:16]}.*.safetensors"))

    def append_losses(self, step: int, log: StepLog) -> None:
        """Add the losses of a step."""
        with writing(self.losses), self.losses.open("a") as file:
            file.write(json.dumps({"step": step, **log}) + "\n")

    def read_losses(self) -> Iterator[tuple[int, StepLog]]:
        """Yield every step so far with its losses.

        Raises:
            InputError: a line is damaged or missing.
        """
        for step, line in enumerate(self.losses.read_bytes().splitlines()):
            try:
                log = {name: float(value) for name, value in json.loads(line).items()}
            except (ValueError, TypeError, AttributeError):
                log = {}
            if log.pop("step", None) != step:
                raise InputError(f"{self.losses}: line {step + 1} is damaged; remove {self.folder} to start over")
            yield step, log

    def rewind(self, steps: int) -> None:
        """Remove checkpoints beyond ``steps`` steps, and cut the losses back to the newest one that is left.

        The steps after it are repeated. Checkpoints beyond ``steps`` exist if the number of steps was lowered.

        Raises:
            InputError: the checkpoint is damaged, or the losses are damaged or lack a step.
        """
        for path in self.checkpoints():
            if path > self.checkpoint(steps):
                path.unlink()
        checkpoints = self.checkpoints()
        done = read_step(checkpoints[-1]) if checkpoints else 0
        lines = self.losses.read_bytes().splitlines(keepends=True) if self.losses.exists() else []
        with written_aside(self.losses) as temporary:
            temporary.write_bytes(b"".join(lines[:done]))
        logged = sum(1 for _ in self.read_losses())
        if logged < done:
            raise InputError(f"{self.losses}: has {logged} of {done} steps; remove {self.folder} to start over")
