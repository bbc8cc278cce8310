"""The editor of a model folder that is no registered version."""

import sys
from pathlib import Path

from stages.core.params import ModelName, Sampling
from stages.core.params_file import read_params
from stages.editing.editor import Editor
from stages.editing.settings import SETTINGS_FILE, read_sampling


def load_folder(folder: Path) -> tuple[Editor, Sampling]:
    """Return the editor of a model's folder, with the segmenter of params.yaml, and its sampling settings.

    Raises:
        ModelError: a model is missing, incomplete or damaged.
        InputError: the folder's settings are damaged.
        ParameterError: params.yaml is missing or damaged.
    """
    params = read_params()
    if (folder / SETTINGS_FILE).is_file():
        sampling = read_sampling(folder)
    else:  # a base model, for example
        print(f"model {folder}: has no {SETTINGS_FILE}, so it samples as params.yaml says", file=sys.stderr)
        sampling = params.sampling
    return Editor.load(ModelName(name=str(folder)), params.evaluate.segmenter), sampling
