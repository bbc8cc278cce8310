"""Whether an evaluation is done already, found out without torch and MLflow.

The seal is written when a model's evaluation is reported and registered. It holds while everything that the evaluation reads,
what it wrote, and the tracking store are as they were.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.core.counts import StageCounts
from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import read_json, value_digest, write_json
from stages.core.params import Params, named_models
from stages.core.paths import CORPUS, EVALUATION_SEAL, HELD_OUT, IEDIT, IEDIT_LOSSES, INSTRUCT_PIX2PIX, REPORTS, TRAINING_SET
from stages.core.provenance import ROOT, source_digest
from stages.core.sidecars import SIDECAR_SUFFIX
from stages.models.hub import identity
from stages.tracking.location import dvc_experiment, store_identity

STAGE = ROOT / "stages/evaluate.py"
UNDECISIVE = {"execution", "threads", "drift", "upkeep"}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An evaluation that is done."""

    edits: int  # pictures that it compared
    outcome: str  # what became of the model, in one line

    def report(self) -> None:
        """Print and log the counts of a run with nothing to do."""
        StageCounts(stage="evaluate", reused=self.edits).report()
        print(f"  {self.outcome}")


def inputs_digest(params: Params) -> str:
    """Return a digest of everything that an evaluation depends on.

    Raises:
        InputError: a model is missing.
    """
    return value_digest(
        {
            "params": params.model_dump(mode="json", exclude=UNDECISIVE),
            "models": [identity(model) for model in named_models(params.evaluate)],
            "files": _digest(_inputs(params)),
            "code": source_digest(str(STAGE)),
            "store": store_identity(),
            "experiment": dvc_experiment(),
        }
    )


def find_finished(params: Params) -> Finished | None:
    """Return the evaluation that these parameters ask for, if it is done."""
    try:
        seal = read_json(EVALUATION_SEAL)
        if seal["inputs"] == inputs_digest(params) and seal["reports"] == _digest([REPORTS]):
            return Finished(edits=int(seal["edits"]), outcome=str(seal["outcome"]))
    except (OSError, ValueError, LookupError, TypeError, InputError):  # the evaluation itself says what is missing
        pass
    return None


def put_seal(inputs: str, finished: Finished) -> None:
    """Mark an evaluation as done.

    Args:
        inputs: the digest of its inputs when it began.
        finished: the evaluation.
    """
    write_json(EVALUATION_SEAL, {"inputs": inputs, "reports": _digest([REPORTS]), **vars(finished)})


def _inputs(params: Params) -> list[Path]:
    """Return files and folders; those of the corpus are known by the sidecars of its shards."""
    config = params.evaluate
    folders = {TRAINING_SET, HELD_OUT, Path(config.cases), Path(config.validation)}
    return [*sorted(CORPUS.glob(f"*{SIDECAR_SUFFIX}")), *sorted(folders), IEDIT, IEDIT_LOSSES, INSTRUCT_PIX2PIX]


def _digest(places: Iterable[Path]) -> str:
    """Return a digest of files and of all files in folders, as far as they exist."""
    files = [file for place in places for file in [place, *sorted(place.rglob("*"))] if file.is_file()]
    with Digests() as digests:
        return value_digest([[file.as_posix(), digests.of(file)] for file in files])
