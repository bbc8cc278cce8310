"""Whose edits are compared: registered versions, or systems whose edits the stage evaluate has left.

``python -m stages.review.contenders VERSION`` makes the edits of a version, in a process of its own: models leave the memory
with it. The process ends with its standard input, which whoever started it holds open.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

import stages
from stages.common.standard_input import end_with_standard_input
from stages.comparison.cases import read_cases
from stages.comparison.edits import PICTURES, SUFFIX
from stages.comparison.standard import SERVED, edit_as_served
from stages.comparison.systems import SYSTEMS
from stages.core.errors import InputError
from stages.core.files import NoRoomError
from stages.core.params_file import ParameterError, read_params
from stages.core.paths import EDITED, EDITED_COMPARED, PREFERENCES
from stages.core.run import alone, set_threads
from stages.corpus.samples import EditSample
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.registry import NAME, Registered, find_version


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of the two that are compared."""

    name: str  # of a system, or models:/iedit/3
    identity: str  # a system's name, or the digest of a version's files
    version: Registered | None  # None for a system

    def edits(self, cases: Sequence[EditSample]) -> list[Image.Image]:
        """Return its edits of the cases; those of a version are made first, unless they are there.

        Raises:
            InputError: they cannot be made, or a system has edits of other cases.
        """
        if self.version is None:
            folder = EDITED / self.identity
        else:
            folder = _folder(self.version) / SERVED
            _make_edits(self.version)
        files = sorted(folder.glob(f"*{SUFFIX}"))
        # A file of an earlier release names its tensor otherwise, and counts as no edits.
        pictures = [picture for file in files for picture in load_file(file).get(PICTURES, ())]
        if len(pictures) != len(cases):
            raise InputError(f"{folder}: {len(pictures):,} edits of {len(cases):,} cases; run the stage evaluate")
        levels = [(picture.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0) for picture in pictures]
        return [Image.fromarray(level) for level in levels]


def find_contender(name: str) -> Contender:
    """Return a system of SYSTEMS, or the version that a number or URI names.

    Raises:
        InputError: there is neither.
    """
    if name in SYSTEMS:
        return Contender(name=name, identity=name, version=None)
    try:
        with store_errors_in_one_line():
            version = find_version(name)
    except InputError as error:
        raise InputError(f"{error}; systems are {', '.join(SYSTEMS)}") from error
    return Contender(name=f"models:/{NAME}/{version.version}", identity=version.digest, version=version)


def in_order(one: Contender, other: Contender) -> tuple[Contender, Contender]:
    """Return two contenders in the order in which their answers are kept, whichever was named first."""
    return (one, other) if one.identity <= other.identity else (other, one)


def answers_file(first: Contender, second: Contender, evaluation_set: str) -> Path:
    """Return the file of all answers about two contenders' edits of an evaluation set; other edits are asked about anew.

    Args:
        first: the first of the two :func:`in_order`.
        second: the second one.
        evaluation_set: the digest of :class:`stages.tracking.promotion.Standard`.
    """
    return PREFERENCES / evaluation_set[:16] / f"{first.identity[:16]}-{second.identity[:16]}.jsonl"


def _folder(version: Registered) -> Path:
    return EDITED_COMPARED / version.digest[:16]


def _make_edits(version: Registered) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(stages.__file__).parents[1])}
    command = [sys.executable, "-P", "-m", "stages.review.contenders", version.version]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:  # it ends with this one
        code = process.wait()
    if code:
        raise InputError(f"the edits of models:/{NAME}/{version.version} could not be made, for the reason above")


def main(number: str) -> int:
    """Make the edits of a version, and return the exit code."""
    try:
        params = read_params()
        with alone("iedit review", wait=False), store_errors_in_one_line():
            set_threads(params.threads)
            version = find_version(number)
            edit_as_served(params, read_cases(params).cases, version, _folder(version))
    except (InputError, ParameterError, NoRoomError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    end_with_standard_input()
    sys.exit(main(sys.argv[1]))
