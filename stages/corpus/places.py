"""Where the source's path leads: by the project's folder, also from the copy of it in which a queued experiment runs."""

from pathlib import Path, PurePath

QUEUE = (".dvc", "tmp", "exps")  # DVC makes copies of the project below this folder, without files that git ignores


def resolve(path: str) -> str:
    """Return a source's path, a file name, glob or URL, as it is to be opened from the current folder."""
    if "://" in path or PurePath(path).is_absolute():
        return path
    project = _project_of_queue(Path.cwd())
    return path if project is None else str(project / path)


def missing(path: str) -> str:
    """Return what to add to a message about a source's path that leads nowhere."""
    if resolve(path) == path:
        return ""
    return f"; looked for in {resolve(path)}, because a queued experiment runs in a copy of the project without untracked files"


def _project_of_queue(folder: Path) -> Path | None:
    """Return the project whose queue ``folder`` belongs to, or None."""
    for parent in folder.parents:
        if parent.parts[-len(QUEUE) :] == QUEUE:
            return Path(*parent.parts[: -len(QUEUE)])
    return None
