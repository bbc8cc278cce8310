"""What a trained model of the ablation scores: ``python -m stages.ablation FILE``, run by ``flows/ablation.py``."""

import sys
from pathlib import Path

import numpy as np

from stages.files import write_json
from stages.params import Params
from stages.run import run, set_threads
from stages.trials import Settings, run_trials

EDITED = Path("data/ablated")  # the edits of the last model


def ablation(params: Params) -> None:
    """Write to the file that the command line names what the model in models/iedit scores, without masks and with them.

    The file has, for ``iedit`` and ``iedit_m``, the mean of every metric over the cases of Table 1.
    """
    set_threads(params.threads)
    chosen = params.evaluate.systems.iedit
    wanted: dict[str, list[Settings]] = {
        "iedit": [{"strength": chosen.strength, "guidance_scale": chosen.guidance_scale}],
        "iedit_m": [{"strength": params.sampling.strength, "guidance_scale": params.sampling.guidance_scale}],
    }
    scored = {
        trial.system: {name: float(np.nanmean(values)) for name, values in trial.scores.per_case.items()}
        | {name: interval.value for name, interval in trial.scores.of_set.items()}
        for trial in run_trials(params, "evaluation", wanted, EDITED)
    }
    write_json(Path(sys.argv[1]), scored)


if __name__ == "__main__":
    run(ablation)
