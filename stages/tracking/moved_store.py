"""Mending the project's own store after its folder was moved or copied.

MLflow stores the absolute path of every artifact. In a folder that has moved they lead nowhere, and in a copy to the files
of the original, which a pruned copy would remove.
"""

from pathlib import Path

import sqlalchemy
from mlflow.entities import Experiment
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import get_local_path_or_none

from stages.tracking.location import ARTIFACTS, EXPERIMENT, own_uri, project

FOLDER = "iedit.project"  # tag of the experiment: the project's folder, to which the paths in the store belong

PLACES = (
    SqlExperiment.artifact_location,
    SqlRun.artifact_uri,
    SqlLoggedModel.artifact_location,
    SqlModelVersion.storage_location,
    SqlModelVersion.source,
)
"""The columns that hold paths of artifacts."""


def mend_paths(client: MlflowClient) -> None:
    """Point all paths below the artifacts of the project's former folder to those of its folder now, if it has moved.

    Artifacts that were put elsewhere by hand stay there.

    Args:
        client: a client of the project's own store.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return
    former, now = experiment.tags.get(FOLDER), str(project())
    if former == now:
        return
    former = former or _untagged_folder(client, experiment)
    if former is not None:
        _replace(Path(former) / ARTIFACTS, project() / ARTIFACTS)
    client.set_experiment_tag(experiment.experiment_id, FOLDER, now)


def _untagged_folder(client: MlflowClient, experiment: Experiment) -> str | None:
    """Return the former folder of a project whose store is older than the tag, or None if its artifacts lie elsewhere.

    Artifacts of the same ids in the project's folder show that those in the store are these, or that these are copies.
    """
    place = Path(get_local_path_or_none(experiment.artifact_location) or "")
    if place.parts[-2:] != (ARTIFACTS.name, EXPERIMENT):
        return None
    ours = [experiment.experiment_id]
    names = [f"models/{model.model_id}" for model in client.search_logged_models(ours)]
    names += [run.info.run_id for run in client.search_runs(ours)]
    is_here = any((project() / ARTIFACTS / EXPERIMENT / name).is_dir() for name in names)
    return str(place.parents[1]) if is_here else None


def _replace(former: Path, now: Path) -> None:
    """Replace a folder by another one in all paths of the store, which are addresses or plain paths."""
    engine = create_sqlalchemy_engine(own_uri())
    with engine.begin() as connection:
        for old, new in ((f"{former.as_uri()}/", f"{now.as_uri()}/"), (f"{former}/", f"{now}/")):
            for place in PLACES:
                rest = sqlalchemy.func.substr(place, len(old) + 1)
                below = sqlalchemy.func.substr(place, 1, len(old)) == old
                change = sqlalchemy.update(place.class_).where(below)
                connection.execute(change.values({place.key: sqlalchemy.literal(new).concat(rest)}))
    engine.dispose()
