"""Digests of the models that params.yaml names: ``python -m stages.models.digests`` writes those that DVC compares.

DVC sees in params.yaml which folder a stage reads, not whether its files are still the same.
"""

from pathlib import Path

from stages.core.digests import Digests
from stages.core.files import write_json
from stages.core.params import ModelName, Params, loaded_models, named_models
from stages.core.paths import HELD_OUT, MODELS
from stages.core.run import run
from stages.models.families import INSTRUCTED
from stages.models.hub import find, is_local, locate
from stages.models.referee import check_referee

OPTIONAL = (INSTRUCTED, "evaluate.inception")
"""Models that the stage evaluate may do without; it depends on their files nevertheless, which are empty then."""


def models(params: Params, folder: Path = MODELS) -> None:
    """Write ``folder/KEY.json`` for every model: its files with their digests or, of a model of the hub, the commit.

    A model that no stage loads may be absent.

    Raises:
        ModelError: a model that a stage loads cannot be located, see :func:`stages.models.hub.locate`; or the referee, which
            is to mask the held-out pairs, is refused.
    """
    if Path(params.evaluate.cases) == HELD_OUT:  # before hours of training, not after them
        check_referee(params)
    loaded = {model.key for model in loaded_models(params)}
    with Digests() as digests:
        for model in named_models(params):
            place = locate(model) if model.key in loaded else find(model)
            content = {model.name: model.revision or "absent"} if place is None else _content(model, place, digests)
            write_json(folder / f"{model.key}.json", content)
    for key in {*OPTIONAL} - {model.key for model in named_models(params)}:
        write_json(folder / f"{key}.json", {})


def _content(model: ModelName, folder: Path, digests: Digests) -> dict[str, str]:
    if not is_local(model):
        return {model.name: folder.name}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digests.of(path) for path in files}


if __name__ == "__main__":
    run(models)
