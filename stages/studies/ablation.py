"""What a trained model of the ablation scores: ``python -m stages.studies.ablation --model FOLDER FILE SYSTEM...``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.comparison.trials import Settings, run_trials
from stages.core.files import write_json
from stages.core.params import Params
from stages.core.run import run, set_threads

EDITED = Path("data/ablated")  # the edits of the last model


def score_model(params: Params, model: Path, file: Path, systems: Sequence[str]) -> None:
    """Write what a model scores, within predicted masks and without them.

    Both as iEdit-M of Table 1 samples, so that the masks are all that differs.

    Args:
        params: say how to sample, on which cases, and by what to score.
        model: the folder of the model.
        file: gets, for each system, the mean of every metric over the cases of Table 1.
        systems: of ``iedit`` and ``iedit_m``.

    Raises:
        InputError: a model or a case is not as it must be.
    """
    set_threads(params.threads)
    wanted: dict[str, list[Settings]] = {system: [{}] for system in systems}
    scored = {
        trial.system: {name: float(np.nanmean(values)) for name, values in trial.scores.per_case.items()}
        | {name: interval.value for name, interval in trial.scores.of_set.items()}
        for trial in run_trials(params, "evaluation", wanted, EDITED, model)
    }
    write_json(file, scored)


def main() -> None:
    """Score the model that the command line names, and exit."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.studies.ablation", description="Score a model, without masks and with them."
    )
    parser.add_argument("--model", type=_folder, required=True, metavar="FOLDER", help="of the model, as diffusers has it")
    parser.add_argument("file", type=Path, metavar="FILE", help="JSON to write the scores to")
    parser.add_argument("systems", nargs="+", choices=("iedit", "iedit_m"), metavar="SYSTEM", help="iedit, iedit_m")
    options = parser.parse_args()

    def ablation(params: Params) -> None:
        score_model(params, options.model, options.file, options.systems)

    run(ablation)


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return Path(text)


if __name__ == "__main__":
    main()
