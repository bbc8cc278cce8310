"""Reading YAML as DVC does, so that a stage never runs with another value than the one DVC compares and records.

That is YAML 1.2, where ``1e-4`` is a number, ``010`` is ten and ``yes`` is a text; in YAML 1.1, which PyYAML reads, the same
words are a text, eight and true.
"""

from pathlib import Path
from typing import Any

from stages.core.errors import InputError


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; an empty one is None.

    Raises:
        InputError: it cannot be read, it is not YAML, or a key is given twice.
    """
    from ruamel.yaml import YAML  # slow to import
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise InputError(f"{path}: not YAML: {line}{_in_one_line(error.problem or error)}") from error
    except (YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:  # such as an impossible date or number
        raise InputError(f"{path}: not YAML: {_in_one_line(error)}") from error


def _in_one_line(words: object) -> str:
    text = " ".join(str(words).split())
    return "".join(char if char.isprintable() else " " for char in text) or type(words).__name__
