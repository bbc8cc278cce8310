"""Facts that DVC knows: the order of the stages, which only dvc.yaml holds, and its remote."""

from collections.abc import Sequence
from pathlib import Path

import networkx as nx
from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.core.paths import DVC_FILE


class PipelineError(ValueError):
    """The pipeline cannot be read or has no such stage; the message is one line."""


def stages_in_order(targets: Sequence[str] = ()) -> list[str]:
    """Return the names of the stages in the project's dvc.yaml, each after those that it needs.

    Pipelines in subfolders are left out: they are run by hand.

    Args:
        targets: return only these and those that they need; empty means all.

    Raises:
        PipelineError: dvc.yaml cannot be read, or has no such stage.
    """
    try:
        with Repo() as repo:
            here = {stage for stage in repo.index.stages if stage.path_in_repo == str(DVC_FILE)}
            needs = repo.index.graph.subgraph(here)  # an edge leads from a stage to one that it needs
            names = {stage: str(stage.name) for stage in here}
    except DvcException as error:
        raise PipelineError(f"{DVC_FILE}: {' '.join(str(error).split())}") from error
    if not names:
        raise PipelineError(f"{DVC_FILE}: no stages; run from the folder of the project")
    unknown = sorted(set(targets) - set(names.values()))
    if unknown:
        raise PipelineError(f"{unknown[0]}: no such stage; there are {', '.join(sorted(names.values()))}")
    wanted = {stage for stage in here if not targets or names[stage] in targets}
    for stage in list(wanted):
        wanted |= nx.descendants(needs, stage)
    order = nx.lexicographical_topological_sort(needs.subgraph(wanted).reverse(), key=names.__getitem__)
    return [names[stage] for stage in order]


def has_remote() -> bool:
    """Return whether the project has a default remote to push to."""
    with Repo() as repo:
        return bool(repo.config["core"].get("remote"))


def local_remote() -> Path | None:
    """Return the folder of the default remote; None if there is no remote, or it is no folder of this machine."""
    with Repo() as repo:
        name = repo.config["core"].get("remote")
        url = repo.config["remote"].get(name, {}).get("url", "")
    return Path(url) if Path(url).is_absolute() else None
