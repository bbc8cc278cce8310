"""``python -m stages.studies.scale.encode``: encode the pairs that a training of the current folder draws."""

from stages.core.params import Params
from stages.core.run import run
from stages.training.encoder import encode_training_set


def encode(params: Params) -> None:
    """Encode as the stage train does before its first step, and report the counts."""
    config = params.train
    encode_training_set(config, config.steps * config.batch * config.accumulation, params.execution).report()


if __name__ == "__main__":
    run(encode)
