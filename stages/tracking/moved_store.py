"""Mending the project's own store after its folder was moved or copied.

MLflow stores the absolute path of every artifact. In a folder that has moved they lead nowhere, and in a copy to the files
of the original, which a pruned copy would remove.
"""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import sqlalchemy
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from mlflow.tracking import MlflowClient

from stages.tracking.location import ARTIFACTS, EXPERIMENT, own_uri, project

PLACES = (
    SqlExperiment.artifact_location,
    SqlRun.artifact_uri,
    SqlLoggedModel.artifact_location,
    SqlModelVersion.storage_location,
    SqlModelVersion.source,
)
"""The columns that hold paths of artifacts."""


def mend_paths(client: MlflowClient) -> None:
    """Point all paths below the folder of artifacts that the store names to the one beside the store, if they differ.

    Artifacts that were put elsewhere by hand stay there: nothing changes if the named folder exists and the project has none.

    Args:
        client: a client of the project's own store.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return
    parts = urlsplit(str(experiment.artifact_location))
    named, own = Path(url2pathname(parts.path)).parent, project() / ARTIFACTS
    if parts.scheme != "file" or named == own or (named.is_dir() and not own.is_dir()):
        return
    engine = create_sqlalchemy_engine(own_uri())
    with engine.begin() as connection:
        for old, new in ((f"{named.as_uri()}/", f"{own.as_uri()}/"), (f"{named}/", f"{own}/")):
            for place in PLACES:
                rest = sqlalchemy.func.substr(place, len(old) + 1)
                below = sqlalchemy.func.substr(place, 1, len(old)) == old
                change = sqlalchemy.update(place.class_).where(below)
                connection.execute(change.values({place.key: sqlalchemy.literal(new).concat(rest)}))
    engine.dispose()
