"""``iedit models``: list the models that params.yaml names, and fetch those of the hub."""

import argparse
from itertools import groupby

from stages.core.composition import apply_choices
from stages.core.params import ModelName, named_models
from stages.core.params_file import read_params
from stages.core.paths import PARAMS_FILE
from stages.models.families import BASES, check_base
from stages.models.fetching import facts_of, fetch
from stages.models.hub import FETCH, ModelError, is_local, locate


def models(options: argparse.Namespace) -> int:
    """Fetch the models of the hub if asked, then print all models; return 2 if one is unknown or unusable.

    Raises:
        InputError: a model cannot be fetched; those before it stay fetched and pinned.
        NoRoomError: the disk or a quota is full.
    """
    if options.fetch:
        for named in _distinct_models():
            _fetch(named)
    return max(_show(named) for named in _distinct_models())


def _distinct_models() -> list[list[ModelName]]:
    """Return the models of params.yaml, each with all parameters that name it."""
    named = sorted(named_models(read_params()), key=_identifiers)
    return [list(group) for _, group in groupby(named, key=_identifiers)]


def _identifiers(model: ModelName) -> tuple[str, str]:
    return model.name, model.revision or ""


def _fetch(named: list[ModelName]) -> None:
    model = named[0]
    if is_local(model):
        return
    try:
        locate(model)
    except ModelError:
        print(f"fetching {model.name} at {model.revision}")
        commit = fetch(model).revision
        if commit != model.revision:
            for line in apply_choices([f'{each.key}.revision="{commit}"' for each in named]):
                print(f"{PARAMS_FILE}: {line}")


def _show(named: list[ModelName]) -> int:
    """Print a model and its facts, and return the exit code."""
    model = named[0]
    print(f"{model.name}  ({', '.join(each.key for each in named)})")
    try:
        facts = facts_of(model)
        for each in named:
            if facts.is_here and each.key in BASES:
                check_base(each)
    except ModelError as error:
        print(f"  {error}")
        return 2
    where = "a folder" if facts.commit is None else f"revision {model.revision}"
    state = "on this machine" if facts.is_here else f"not on this machine; {FETCH} downloads it"
    print(f"  {where}, {facts.bytes / 1e9:.3g} GB, licence {facts.licence}, {state}")
    return 0
