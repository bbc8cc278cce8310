"""Where a model comes from: the commit of the code, and what DVC recorded of the data."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from stages.files import value_digest

UNKNOWN = "none"
DVC_FILE, LOCK_FILE = Path("dvc.yaml"), Path("dvc.lock")
WRITTEN_BY_RUNS = (":!dvc.lock", ":!reports")  # change with every run, and say nothing about the code


def git_tags() -> dict[str, str]:
    """Return the commit that is checked out and whether files differ from it, or UNKNOWN outside of a repository."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", *WRITTEN_BY_RUNS)
    if commit is None or changes is None:
        return {"mlflow.source.git.commit": UNKNOWN, "iedit.git_dirty": UNKNOWN}
    return {"mlflow.source.git.commit": commit, "iedit.git_dirty": str(bool(changes)).lower()}


def pipeline_digest(stage: str) -> str:
    """Return a digest of everything that DVC recorded upstream of ``stage``, or UNKNOWN where nothing is recorded.

    It covers the dvc.lock entries (command, parameters, digests of dependencies and outs) of all stages that ``stage``
    needs, directly or through others. The entry of ``stage`` itself is written when it ends, so it is not among them.
    """
    if not (DVC_FILE.is_file() and LOCK_FILE.is_file()):
        return UNKNOWN
    entries = _yaml(LOCK_FILE).get("stages", {})
    needed = [str(path) for path in _yaml(DVC_FILE).get("stages", {}).get(stage, {}).get("deps", [])]
    upstream: dict[str, Any] = {}
    while needed:
        path = Path(needed.pop())
        for name, entry in entries.items():
            outs = [Path(out["path"]) for out in entry.get("outs", [])]
            if name not in upstream and name != stage and any(path == out or out in path.parents for out in outs):
                upstream[name] = entry
                needed += [dep["path"] for dep in entry.get("deps", [])]
    return value_digest(upstream) if upstream else UNKNOWN


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return content
