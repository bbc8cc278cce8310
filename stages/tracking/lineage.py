"""Where a model comes from: the commit of the code, the libraries, and DVC's digests of the data."""

import platform
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stages.core.files import value_digest
from stages.core.params import Params
from stages.core.paths import DVC_FILE, LOCK_FILE
from stages.core.provenance import ROOT, code_behind
from stages.core.yaml_file import read_yaml

UNKNOWN = "none"
COMMIT = "mlflow.source.git.commit"  # MLflow's own name of the tag
# Changes here do not count as code changes: what runs write, the sources of params.yaml, and the address of the data.
NO_CODE = (":!dvc.lock", ":!reports", ":!conf", ":!.dvc")
CODE = ("stages/", "flows/", "nano/")  # a new file counts as code here; elsewhere it is a picture, a note …


def git_tags() -> dict[str, str]:
    """Return tags for the checked-out commit and whether files differ from it; UNKNOWN outside of a repository."""
    commit, changes = _git("rev-parse", "HEAD"), changed_files()
    if commit is None or changes is None:
        return {COMMIT: UNKNOWN, "iedit.git_dirty": UNKNOWN}
    return {COMMIT: commit, "iedit.git_dirty": str(bool(changes)).lower()}


def changed_files() -> list[str] | None:
    """Return the files that differ from the commit, including new code files; None outside of a repository.

    dvc.lock never counts, whether a team commits it or not: it is a result of running the code.
    """
    status = _git("status", "--porcelain", "--", ".", *NO_CODE)
    if status is None:
        return None
    return [line[3:] for line in status.splitlines() if not line.startswith("??") or line[3:].startswith(CODE)]


def pipeline_digest(stage: str) -> str:
    """Return a digest of everything that DVC recorded upstream of ``stage``, or UNKNOWN if nothing is recorded.

    It covers the dvc.lock entries (command, parameters, digests of dependencies and outs) of all stages that ``stage``
    needs, directly or indirectly. The entry of ``stage`` itself is left out, because DVC writes it when the stage ends.
    """
    if not (DVC_FILE.is_file() and LOCK_FILE.is_file()):
        return UNKNOWN
    entries = _yaml(LOCK_FILE).get("stages", {})
    needed = [str(path) for path in read_stages().get(stage, {}).get("deps", [])]
    upstream: dict[str, Any] = {}
    while needed:
        path = Path(needed.pop())
        for name, entry in entries.items():
            outs = [Path(out["path"]) for out in entry.get("outs", [])]
            if name not in upstream and name != stage and any(path == out or out in path.parents for out in outs):
                upstream[name] = entry
                needed += [dep["path"] for dep in entry.get("deps", [])]
    return value_digest(upstream) if upstream else UNKNOWN


def read_stages(folder: Path = Path()) -> dict[str, dict[str, Any]]:
    """Return the stages of the dvc.yaml in ``folder``, by name."""
    stages: dict[str, dict[str, Any]] = _yaml(folder / DVC_FILE).get("stages", {})
    return stages


def outs_of(stage: Mapping[str, Any]) -> list[str]:
    """Return the paths of a stage's outs and metrics, given its entry in dvc.yaml."""
    named = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in named]


@cache  # what is installed stays as it is while a process runs, and reading it takes seconds
def libraries() -> dict[str, str]:
    """Return the versions of Python and of every distribution that the stages import, directly or indirectly."""
    stages = [path for name in Params.model_fields if (path := ROOT / "stages" / f"{name}.py").is_file()]
    waiting = list(code_behind(*stages).libraries)
    found = {"python": platform.python_version()}
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a requirement for other systems, or of an extra
            continue
        waiting += _needs(name)
    return dict(sorted(found.items()))


def _needs(name: str) -> Iterator[str]:
    for text in requires(name) or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield needed.name


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.rstrip() if result.returncode == 0 else None


def _yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(path) or {}
    return content
