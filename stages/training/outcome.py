"""The outcome of a training: the model and the losses of its steps, sealed by a file that is written last."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.files import file_digest, folder_digest, value_digest, written_aside

if TYPE_CHECKING:
    from stages.training.workplace import StepLog, Workplace


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The folder of the model and the table of its losses."""

    model: Path
    losses: Path

    @property
    def seal(self) -> Path:
        """A digest of everything that decided the model, and of the model and the losses themselves."""
        return self.model.with_name(f"{self.model.name}.done")

    def is_whole(self, fingerprint: str) -> bool:
        """Return whether model and losses exist, unchanged since they were sealed with the same fingerprint."""
        exist = self.seal.exists() and self.model.exists() and self.losses.exists()
        return exist and self.seal.read_bytes() == self._digest(fingerprint).encode()

    def put_seal(self, fingerprint: str) -> None:
        """Mark model and losses as whole.

        Args:
            fingerprint: a digest of everything that decided them.
        """
        with written_aside(self.seal) as temporary:
            temporary.write_text(self._digest(fingerprint))

    def write_losses(self, workplace: "Workplace") -> None:
        """Write the losses of every step as CSV, for plots."""
        rows = [
            {"step": str(step)} | {key: f"{value:.6g}" for key, value in log.items()} for step, log in workplace.read_losses()
        ]
        with written_aside(self.losses) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def read_losses(self) -> "Iterator[tuple[int, StepLog]]":
        """Yield every step with its losses, as :meth:`write_losses` wrote them."""
        with self.losses.open(newline="") as file:
            for row in csv.DictReader(file):
                log = {name: float(value) for name, value in row.items()}
                yield int(log.pop("step")), log

    def _digest(self, fingerprint: str) -> str:
        return value_digest([fingerprint, folder_digest(self.model), file_digest(self.losses)])
