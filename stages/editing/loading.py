"""The editor of a model folder that is no registered version."""

import sys
from pathlib import Path

from stages.core.params import ModelName, Sampling
from stages.core.params_file import read_params
from stages.editing.editor import Editor
from stages.editing.settings import SETTINGS_FILE, read_precision, read_sampling


def load_folder(folder: Path) -> tuple[Editor, Sampling]:
    """Return the editor of a model's folder, with the segmenter of params.yaml, and its sampling settings.

    Raises:
        ModelError: a model is missing, incomplete or damaged.
        InputError: the folder's settings are damaged.
        ParameterError: params.yaml is missing or damaged.
    """
    params = read_params()
    if (folder / SETTINGS_FILE).is_file():
        sampling, precision = read_sampling(folder), read_precision(folder)
    else:  # a base model, for example
        print(f"model {folder}: has no {SETTINGS_FILE}, so it samples as params.yaml says", file=sys.stderr)
        sampling, precision = params.sampling, params.precision
    return Editor.load(ModelName.in_folder(folder, precision), params.evaluate.segmenter), sampling
