"""``iedit configure``: choose preset, source and values, and compose params.yaml from them."""

import argparse

from stages.core import composition
from stages.core.choices import Choices
from stages.core.paths import PARAMS_FILE


def configure(options: argparse.Namespace) -> None:
    """Make the given choices and print all of them with the values that changed; without any, only print them.

    Raises:
        InputError: a choice is refused, and nothing is written; or, without any, params.yaml is not what conf/ composes to.
    """
    composes = options.choices or options.compose
    changed = composition.apply_choices(options.choices) if composes else None
    print("\n".join(Choices.read().words()))
    if changed is None:
        composition.check_composed()
    else:
        print("", *[f"{PARAMS_FILE}: {line}" for line in changed or ["nothing changed"]], sep="\n")
