"""Versions that exist in the registry only, with scores made up for them."""

import json
from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from stages.core.params_evaluation import Gate
from stages.core.params_file import read_params
from stages.tracking import record, registry, store
from stages.tracking.promotion import Standard

GATE = Gate(ssim_m_bar_tolerance=1.0, min_preference=None)
N = 200
KEYS = [str(number) for number in range(N)]
NOISE = np.random.default_rng(0).normal(size=N)
NOISE -= NOISE.mean()


def scores(clip=0.0, ssim=0.0, spread=0.0, failing=0) -> dict:
    """Scores with exactly the given mean; ``spread`` is the standard deviation between cases.

    The first ``failing`` edits fail: they have no SSIM-M̄, and are outside these means.
    """
    failed = np.arange(N) < failing
    ssims = np.where(failed, np.nan, 80 + ssim + spread * NOISE)
    return {"clip_score": 60 + clip + spread * NOISE, "ssim_m_bar_frame": ssims, "failed": failed.astype(float)}


def register(client) -> registry.Registered:
    """Add the next version to the registry, without any files."""
    model = client.create_logged_model(store.experiment_id(client), name="iedit", tags={"iedit.digest": "of no files"})
    tags = {"iedit.digest": model.model_id, "iedit.cases_digest": "c" * 64}
    tags |= {"metric.iedit_m/clip_score": "61.5", "metric.iedit_m/ssim_m_bar": "92.6"}
    made = client.create_model_version("iedit", f"models:/{model.model_id}", model_id=model.model_id, tags=tags)
    return registry.find_version(str(made.version))


def register_foreign(client) -> str:
    """Make a version as others do, with the files of the first one, and return its number."""
    source = client.get_model_version("iedit", "1").source
    return str(client.create_model_version("iedit", source).version)


class Judge:
    """Gives each version the CLIPScore that it was made with, and remembers which versions it scored."""

    def __init__(self, **clip: float) -> None:
        self.clip = {name.removeprefix("v"): value for name, value in clip.items()}
        self.scored: list[str] = []

    def standard(self, evaluation_set: str = "a" * 64) -> Standard:
        return Standard(evaluation_set=evaluation_set, cases=KEYS, score=self.score, gate=GATE, resamples=50, seed=0)

    def score(self, version: registry.Registered) -> dict:
        self.scored.append(version.version)
        return scores(clip=self.clip[version.version])


def fail(*_: object, **__: object) -> None:
    """Fail as a store does."""
    raise MlflowException("gone", error_code=INTERNAL_ERROR)


def stop(*_: object, **__: object) -> None:
    """Interrupt, as Ctrl-C or a kill would."""
    raise KeyboardInterrupt


def champion_number() -> str | None:
    found = registry.current_champion()
    return None if found is None else found.version


def decision_of(client, version) -> tuple[str, dict[str, str]]:
    """Return a version's description and its decision tags, without their common prefix."""
    made = client.get_model_version("iedit", version.version)
    tags = {name.removeprefix("iedit.decision"): text for name, text in made.tags.items() if "decision" in name}
    return made.description, tags


def keep_record(version: registry.Registered) -> dict:
    """Record how a version was made in the current folder, and return the record as the registry has it."""
    weights = {"train.clip": {"name": "a/clip", "revision": "main", "identity": "c" * 40}}
    record.save_record(store.connect(), version, read_params(), weights)
    Path("kept").mkdir(exist_ok=True)
    folder = record.fetch_record(store.connect(), version, Path("kept").absolute())
    return json.loads((folder / "lineage.json").read_text())
