"""What DVC knows of the project: its cache, its remote, and the order of the stages, written in dvc.yaml and nowhere else."""

from collections.abc import Sequence
from pathlib import Path

import networkx as nx
from dvc.exceptions import DvcException
from dvc.repo import Repo

PIPELINE = "dvc.yaml"  # of the project's folder; the pipelines of its subfolders are run by hand


class PipelineError(ValueError):
    """The pipeline cannot be read or has no such stage; the message is one line."""


def stages_in_order(targets: Sequence[str] = ()) -> list[str]:
    """Return the names of the stages, each after all that it needs.

    Args:
        targets: only these and what they need; none means all.

    Raises:
        PipelineError: dvc.yaml cannot be read, or has no such stage.
    """
    try:
        with Repo() as repo:
            here = {stage for stage in repo.index.stages if stage.path_in_repo == PIPELINE}
            needs = repo.index.graph.subgraph(here)  # an edge leads from a stage to one that it needs
            names = {stage: str(stage.name) for stage in here}
    except DvcException as error:
        raise PipelineError(f"{PIPELINE}: {' '.join(str(error).split())}") from error
    if not names:
        raise PipelineError(f"{PIPELINE}: no stages; run from the folder of the project")
    unknown = sorted(set(targets) - set(names.values()))
    if unknown:
        raise PipelineError(f"{unknown[0]}: no such stage; there are {', '.join(sorted(names.values()))}")
    wanted = {stage for stage in here if not targets or names[stage] in targets}
    for stage in list(wanted):
        wanted |= nx.descendants(needs, stage)
    order = nx.lexicographical_topological_sort(needs.subgraph(wanted).reverse(), key=names.__getitem__)
    return [names[stage] for stage in order]


def has_remote() -> bool:
    """Tell whether the project has a default remote to push to."""
    with Repo() as repo:
        return bool(repo.config["core"].get("remote"))


def cache_folder() -> Path:
    """Return the folder where DVC keeps the bytes of all outs."""
    with Repo() as repo:
        return Path(repo.cache.local_cache_dir)
