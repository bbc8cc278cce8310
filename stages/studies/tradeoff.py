"""CLIPScore against SSIM-M̄ over a range of settings: what one operating point can hide. ``python -m stages.studies.tradeoff``.

It has one line a system, over strengths; over the image guidance for InstructPix2Pix, which has no strength. Inpainting
starts from the noised source here, at any strength below 1. All else is as params.yaml says. Interrupted, it goes on.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from stages.common.seeds import derive_seed
from stages.comparison.trials import Settings, Trial, run_trials
from stages.core.files import write_text
from stages.core.params import Params
from stages.core.run import run, set_threads
from stages.metrics.intervals import bootstrap
from stages.report.captions import NAMES
from stages.report.plots import Curve, Point, plot_tradeoff
from stages.studies.tune import STRENGTHS

DRAWN = Path("data/tradeoff")  # the edits of every point
REPORTS = Path("reports/tradeoff")
IMAGE_GUIDANCE = (3.0, 2.2, 1.8, 1.5, 1.2, 1.0)
AXES = ("clip_score", "ssim_m_bar_frame", "edit_success")


def tradeoff(params: Params) -> None:
    """Write ``reports/tradeoff``: SYSTEM.csv of each, and all in curves.svg; on the cases of Table 1."""
    set_threads(params.threads)
    trials = list(run_trials(params, "evaluation", _wanted(params), DRAWN))
    for system in NAMES:
        line = [trial for trial in trials if trial.system == system]
        write_text(REPORTS / f"{system}.csv", curve_table(line, params))
    write_text(REPORTS / "curves.svg", plot_tradeoff(_curves(trials)))


def curve_table(trials: Sequence[Trial], params: Params) -> str:
    """Return the points of one system as CSV: what is varied, its value, and each score with its 95 % interval."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(
        ["varied", "value", *(column for name in AXES for column in (name, f"{name}_low", f"{name}_high")), "cases"]
    )
    for trial in trials:
        row: list[object] = [*_varied(trial)]
        for name in AXES:
            seed = derive_seed(params.seed, "bootstrap", name)
            found = bootstrap(trial.scores.per_case[name], params.evaluate.bootstrap, seed)
            row += [f"{value:.6g}" for value in (found.value, found.low, found.high)]
        writer.writerow([*row, len(trial.scores)])
    return lines.getvalue()


def _wanted(params: Params) -> dict[str, list[Settings]]:
    """Return the settings of each system's line: its guidance is the chosen one."""
    chosen = params.evaluate.systems
    guidance = {
        "sdedit": chosen.sdedit.guidance_scale,
        "inpainting": chosen.inpainting.guidance_scale,
        "iedit": chosen.iedit.guidance_scale,
        "iedit_m": params.sampling.guidance_scale,
    }
    wanted: dict[str, list[Settings]] = {
        system: [{"strength": strength, "guidance_scale": scale} for strength in STRENGTHS]
        for system, scale in guidance.items()
    }
    scale = chosen.instruct_pix2pix.guidance_scale
    wanted["instruct_pix2pix"] = [{"image_guidance_scale": each, "guidance_scale": scale} for each in IMAGE_GUIDANCE]
    return wanted


def _varied(trial: Trial) -> tuple[str, float]:
    name = "image_guidance_scale" if "image_guidance_scale" in trial.settings else "strength"
    return name, trial.settings[name]


def _curves(trials: Sequence[Trial]) -> list[Curve]:
    def point(trial: Trial) -> Point:
        clip, kept = (float(trial.scores.per_case[name].mean()) for name in ("clip_score", "ssim_m_bar_frame"))
        return Point(label=f"{_varied(trial)[1]:g}", x=kept, y=clip)

    found = {system: [trial for trial in trials if trial.system == system] for system in NAMES}
    return [
        Curve(name=f"{NAMES[system]} ({_varied(line[0])[0].replace('_', ' ')})", points=[point(trial) for trial in line])
        for system, line in found.items()
    ]


if __name__ == "__main__":
    run(tradeoff)
