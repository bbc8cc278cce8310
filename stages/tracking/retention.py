"""Which registered versions and which of their files are kept, and the removal of all others from the tracking store.

Runs keep their parameters, metrics and small files, so that histories and charts stay whole. Only what is large goes: the
files of models, and checkpoints.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.entities import PagedList
from mlflow.tracking import MlflowClient

from stages.tracking import nights
from stages.tracking.history import rollback_target
from stages.tracking.last_store import last_model
from stages.tracking.location import EXPERIMENT
from stages.tracking.registry import DIGEST, NAME, delete_model, model_id_of
from stages.tracking.runs import ROLE
from stages.tracking.start import PREFIX
from stages.tracking.training_run import CHECKPOINTS, TRAINING

DAY = 24 * 3600 * 1000  # milliseconds
SILENT = 7 * DAY  # encoding a large training set, before the first step, takes less
PAGE = 100  # entries of one answer of the store

Entity = TypeVar("Entity")


@dataclass(frozen=True, kw_only=True)
class Stock:
    """The versions of the registered model, and which of them stay whatever their age."""

    versions: list[ModelVersion]  # newest first
    needed: dict[str, list[str]]  # version → why it stays
    others: dict[str, str]  # id of a logged model → the version of another registered model that has its files

    def kept(self, keep: int) -> dict[str, list[str]]:
        """Return version → why it stays, newest first.

        Versions from which the training of one of these continued stay too, because rebuilding takes their weights.

        Args:
            keep: how many of the newest stay.
        """
        reasons: dict[str, list[str]] = {str(version.version): [] for version in self.versions}
        for number in list(reasons)[:keep]:
            reasons[number].append(f"among the newest {keep}")
        for number, why in self.needed.items():
            reasons.get(number, []).extend(why)
        starts = {str(version.version): version.tags.get(f"{PREFIX}version") for version in self.versions}
        for number in [number for number, why in reasons.items() if why]:
            if (start := starts[number]) in reasons:
                reasons[start].append(f"version {number} continues from it")
        return {version: why for version, why in reasons.items() if why}

    def split(self, keep: int) -> tuple[list[ModelVersion], list[ModelVersion]]:
        """Return the versions that stay and those that go, newest first, if the newest ``keep`` stay."""
        kept = self.kept(keep)
        staying = [version for version in self.versions if str(version.version) in kept]
        return staying, [version for version in self.versions if str(version.version) not in kept]


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What stays in the tracking store and what goes."""

    kept: dict[str, list[str]]  # version → why it stays; newest first
    staying: list[ModelVersion]  # the same
    dropped: list[str]  # versions, newest first
    models: list[LoggedModel]  # those of this project whose files belong to no version that stays
    open: list[Run]  # left RUNNING by a kill that nothing resumed
    checkpoints: list[Run]  # ended trainings, and those above, that lose theirs


def read_stock(client: MlflowClient) -> Stock:
    """Return the versions of the registered model.

    All stay that have an alias, the one to roll back to, the last one that was registered from this folder, and those that this
    project did not register or whose files a version of another registered model has too.

    Args:
        client: a client of the store.
    """
    registered = list(_pages(lambda token: client.search_model_versions(max_results=PAGE, page_token=token)))
    ours = [version for version in registered if version.name == NAME]
    versions = sorted(ours, key=lambda version: int(version.version), reverse=True)
    others = _models_of_others([version for version in registered if version.name != NAME], ours)
    needed = _in_use(client)
    latest = last_model()
    for version in versions:
        why = needed.setdefault(str(version.version), [])
        model = model_id_of(version)
        if model == latest:
            why.append("registered last from here")
        if DIGEST not in version.tags:
            why.append("registered by others")
        if model in others:
            why.append(f"{others[model]} has its files")
    return Stock(versions=versions, needed=needed, others=others)


def plan_retention(client: MlflowClient, keep: int, *, keep_checkpoints_of: int = 0) -> Retention:
    """Return what goes if the newest ``keep`` versions stay and those of :class:`Stock` that are needed.

    A model of this project stays that was logged within the last day and has no version: an evaluation may be about to register
    it. What others have logged stays, and so does what a version of another registered model has. A run that has logged
    nothing for a week was killed.

    Args:
        client: a client of the store.
        keep: at least 1.
        keep_checkpoints_of: how many of the newest ended trainings that have checkpoints keep them.
    """
    stock = read_stock(client)
    staying, dropped = stock.split(keep)
    going = {model_id_of(version) for version in dropped}
    used = {model_id_of(version) for version in staying} | stock.others.keys()
    now = time.time() * 1000
    ours = _experiments(client, EXPERIMENT)
    logged = _pages(lambda token: client.search_logged_models(ours, max_results=PAGE, page_token=token)) if ours else []
    left_open = _left_open(client, now - SILENT)
    ended = [*_runs(client, ours, "!= 'RUNNING'"), *left_open]
    trained = [run for run in ended if TRAINING in run.data.tags and client.list_artifacts(run.info.run_id, CHECKPOINTS)]
    trained.sort(key=lambda run: run.info.start_time, reverse=True)
    return Retention(
        kept=stock.kept(keep),
        staying=staying,
        dropped=[str(version.version) for version in dropped],
        models=[
            model
            for model in logged
            if model.model_id not in used
            and (model.model_id in going or (DIGEST in model.tags and model.creation_timestamp < now - DAY))
        ],
        open=left_open,
        checkpoints=trained[keep_checkpoints_of:],
    )


def apply_retention(client: MlflowClient, retention: Retention) -> int:
    """Remove what a plan drops, and return how many versions, models, checkpoints and open runs that were.

    A version goes before its files, so that no version is ever without them. A kill in between leaves files of a model
    without a version, which a later plan finds. What has come into use since the plan stays: nothing keeps a person from
    promoting or rolling back meanwhile.
    """
    gone = 0
    for version in retention.dropped:
        if not read_stock(client).needed.get(version):
            client.delete_model_version(NAME, version)
            gone += 1
    left = read_stock(client)
    staying = {model_id_of(version) for version in left.versions} | left.others.keys()
    for model in [model for model in retention.models if model.model_id not in staying]:
        delete_model(client, model)
        gone += 1
    for run in retention.open:
        client.set_terminated(run.info.run_id, "KILLED")
    for run in retention.checkpoints:
        get_artifact_repository(str(run.info.artifact_uri)).delete_artifacts(CHECKPOINTS)
    return gone + len(retention.open) + len(retention.checkpoints)


def artifact_bytes(location: str, path: str | None = None) -> int:
    """Return how many bytes the files of a run or a logged model take.

    Args:
        location: where its artifacts lie.
        path: a folder there; None: all of them.
    """
    repository = get_artifact_repository(location)
    folders, total = [path], 0
    while folders:
        for found in repository.list_artifacts(folders.pop()):
            if found.is_dir:
                folders.append(found.path)
            else:
                total += found.file_size or 0
    return total


def _in_use(client: MlflowClient) -> dict[str, list[str]]:
    """Return version → its aliases, and whether it is the one to roll back to."""
    used: dict[str, list[str]] = {}
    for alias, number in _aliases(client).items():
        used.setdefault(number, []).append(alias)
    if (target := rollback_target(client)) is not None:
        used.setdefault(target.version, []).append("to roll back to")
    return used


def _models_of_others(others: Iterable[ModelVersion], ours: Iterable[ModelVersion]) -> dict[str, str]:
    """Return the ids of the logged models whose files a version of another registered model has, and that version.

    Its source is a logged model, a version of ours that it was copied from, or the place of a model's files. All other parts of
    such places are among the ids too, where they do no harm.
    """
    copied = {f"models:/{NAME}/{version.version}": model_id_of(version) for version in ours}
    found = {}
    for version in others:
        source = str(version.source)
        for part in (copied.get(source, ""), *source.split("/")):
            found[part] = f"models:/{version.name}/{version.version}"
    return found


def _left_open(client: MlflowClient, limit: float) -> list[Run]:
    """Return this project's open runs that began before a time, in milliseconds, and have logged nothing since."""
    running = _runs(client, _experiments(client, EXPERIMENT, nights.EXPERIMENT), "= 'RUNNING'")
    ours = [run for run in running if ROLE in run.data.tags or nights.DATA in run.data.tags]
    return [run for run in ours if run.info.start_time < limit and _last_metric(client, run) < limit]


def _last_metric(client: MlflowClient, run: Run) -> int:
    histories = (client.get_metric_history(run.info.run_id, key) for key in run.data.metrics)
    return max((metric.timestamp for history in histories for metric in history), default=0)


def _experiments(client: MlflowClient, *names: str) -> list[str]:
    """Return the ids of those experiments that there are."""
    found = map(client.get_experiment_by_name, names)
    return [str(experiment.experiment_id) for experiment in found if experiment is not None]


def _runs(client: MlflowClient, experiments: list[str], status: str) -> Iterator[Run]:
    condition = f"attributes.status {status}"
    search = partial(client.search_runs, experiments, condition, max_results=PAGE)
    return _pages(lambda token: search(page_token=token)) if experiments else iter(())


def _aliases(client: MlflowClient) -> dict[str, str]:
    try:
        return {alias: str(version) for alias, version in client.get_registered_model(NAME).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _pages(search: Callable[[str | None], "PagedList[Entity]"]) -> Iterator[Entity]:
    """Yield the entries of all pages of an answer; ``search`` is called with the token of each page."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page
