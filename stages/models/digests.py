"""Digests of the models that params.yaml names: ``python -m stages.models.digests`` writes those that DVC compares.

DVC sees in params.yaml which folder a stage reads, not whether its files are still the same.
"""

from pathlib import Path

from stages.core.digests import Digests
from stages.core.files import write_json
from stages.core.params import ModelName, Params, named_models
from stages.core.paths import MODELS
from stages.core.run import run
from stages.models.hub import is_local, locate


def models(params: Params, folder: Path = MODELS) -> None:
    """Write ``folder/KEY.json`` for every model: its files with their digests or, of a model of the hub, the commit.

    Raises:
        ModelError: a model cannot be located, see :func:`stages.models.hub.locate`.
    """
    with Digests() as digests:
        for model in named_models(params):
            write_json(folder / f"{model.key}.json", _content(model, digests))


def _content(model: ModelName, digests: Digests) -> dict[str, str]:
    folder = locate(model)
    if not is_local(model):
        return {model.name: folder.name}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digests.of(path) for path in files}


if __name__ == "__main__":
    run(models)
