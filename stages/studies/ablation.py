"""Score a model of the ablation: ``python -m stages.studies.ablation --model FOLDER FILE SYSTEM...``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from stages.comparison.trials import Settings, run_trials
from stages.core.files import write_json
from stages.core.params import Params
from stages.core.paths import EDITED_ABLATION
from stages.core.run import run, set_threads
from stages.models.inception import load_inception


def score_model(params: Params, model: Path, file: Path, systems: Sequence[str]) -> None:
    """Score a model with or without predicted masks, or both, and write the scores.

    Both sample as iEdit-M does in Table 1, so that they differ in the masks alone.

    Args:
        params: the sampling, the cases and the models that score.
        model: the model's folder.
        file: JSON file for the means and counts over the cases of Table 1, by system.
        systems: "iedit", "iedit_m" or both.

    Raises:
        InputError: a model or a case is missing or damaged.
    """
    set_threads(params.threads)
    named = params.evaluate.inception
    inception = load_inception(named) if named else None
    as_configured: dict[str, list[Settings]] = {system: [{}] for system in systems}
    scores = {
        trial.system: trial.means_and_counts()
        for trial in run_trials(params, "evaluation", as_configured, EDITED_ABLATION, model, inception)
    }
    write_json(file, scores)


def main() -> None:
    """Score the model that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.studies.ablation", description="Score a model without masks, with predicted masks, or both."
    )
    parser.add_argument("--model", type=_folder, required=True, metavar="FOLDER", help="the model's folder (diffusers)")
    parser.add_argument("file", type=Path, metavar="FILE", help="JSON file to write the scores to")
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
