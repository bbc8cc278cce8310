"""``iedit configure``: choose preset, source and values, and compose params.yaml from them."""

import argparse

from stages.core.choices import Choices
from stages.core.composition import check_composed, configure
from stages.core.paths import PARAMS_FILE


def run(options: argparse.Namespace) -> None:
    """Compose params.yaml from the choices of conf/config.yaml and those given, and print them; without any, only print.

    Raises:
        InputError: a choice is refused, and nothing is written; or, without any, params.yaml is not what conf/ composes to.
    """
    changed = configure(options.choices) if options.choices else None
    print("\n".join(Choices.read().words()))
    if changed is None:
        check_composed()
    else:
        print("", *[f"{PARAMS_FILE}: {line}" for line in changed or ["nothing changed"]], sep="\n")
