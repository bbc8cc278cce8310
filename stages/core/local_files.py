"""The files that the stages need and that no commit holds, for a copy of the project."""

import shutil
from pathlib import Path

from stages.core.paths import DVC_CONFIG, NLTK_DATA

LOCAL_FILES = (NLTK_DATA, DVC_CONFIG, DVC_CONFIG.with_suffix(".local"))  # WordNet, and the address of the DVC remote


def copy_local_files(copy: Path) -> None:
    """Copy LOCAL_FILES, those that exist, from the current folder, which is the project, to a copy of it."""
    for path in LOCAL_FILES:
        if path.is_dir():
            shutil.copytree(path, copy / path, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, copy / path)
