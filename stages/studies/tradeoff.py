"""CLIPScore against SSIM-M̄ over a range of settings, which one operating point can hide. ``python -m stages.studies.tradeoff``.

There is one line per system: over strengths, or over the image guidance for InstructPix2Pix, which has no strength.
Inpainting starts from the noised source here, at any strength below 1. Every other setting comes from params.yaml. The
study resumes after an interruption.
"""

from collections.abc import Sequence

from stages.common.seeds import derive_seed
from stages.comparison.trials import Settings, Trial, run_trials
from stages.core.files import write_text
from stages.core.params import Params
from stages.core.paths import EDITED_TRADEOFF, REPORTS
from stages.core.run import run, set_threads
from stages.metrics.intervals import bootstrap, mean
from stages.report.captions import NAMES, names_for
from stages.report.formats import csv_text
from stages.report.plots import Curve, Point, plot_tradeoff

STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
IMAGE_GUIDANCE = (3.0, 2.2, 1.8, 1.5, 1.2, 1.0)
SCORED = ("clip_score", "ssim_m_bar_frame", "edit_success")


def tradeoff(params: Params) -> None:
    """Write SYSTEM.csv for each system and curves.svg with all into ``reports/latest/tradeoff``, on the cases of Table 1."""
    set_threads(params.threads)
    trials = list(run_trials(params, "evaluation", settings_of_lines(params), EDITED_TRADEOFF))
    lines = {system: [trial for trial in trials if trial.system == system] for system in NAMES}
    for system, line in lines.items():
        write_text(REPORTS / "tradeoff" / f"{system}.csv", curve_table(line, params))
    curves = [_curve(names_for(line[0].masks)[system], line) for system, line in lines.items()]
    write_text(REPORTS / "tradeoff" / "curves.svg", plot_tradeoff(curves))


def settings_of_lines(params: Params) -> dict[str, list[Settings]]:
    """Return the settings of each system's line; the guidance scale is the one in params.yaml."""
    chosen = params.evaluate.systems
    guidance = {
        "sdedit": chosen.sdedit.guidance_scale,
        "inpainting": chosen.inpainting.guidance_scale,
        "iedit": chosen.iedit.guidance_scale,
        "iedit_m": params.sampling.guidance_scale,
    }
    lines: dict[str, list[Settings]] = {
        system: [{"strength": strength, "guidance_scale": scale} for strength in STRENGTHS]
        for system, scale in guidance.items()
    }
    scale = chosen.instruct_pix2pix.guidance_scale
    lines["instruct_pix2pix"] = [{"image_guidance_scale": image, "guidance_scale": scale} for image in IMAGE_GUIDANCE]
    return lines


def curve_table(trials: Sequence[Trial], params: Params) -> str:
    """Return one system's line as CSV: the varied setting, its value, and each score with its 95 % interval and its n."""
    rows = []
    for trial in trials:
        row: list[object] = [*_varied(trial)]
        for name in SCORED:
            seed = derive_seed(params.seed, "bootstrap", name)
            found = bootstrap(trial.scores.per_case[name], params.evaluate.bootstrap, seed)
            row += [*(f"{value:.6g}" for value in (found.value, found.low, found.high)), found.n]
        rows.append([*row, len(trial.scores)])
    scores = [column for name in SCORED for column in (name, f"{name}_low", f"{name}_high", f"{name}_n")]
    return csv_text(["varied", "value", *scores, "cases"], rows)


def _curve(name: str, line: Sequence[Trial]) -> Curve:
    def point(trial: Trial) -> Point:
        clip, kept = (mean(trial.scores.per_case[metric]) for metric in ("clip_score", "ssim_m_bar_frame"))
        return Point(label=f"{_varied(trial)[1]:g}", x=kept, y=clip)

    return Curve(name=f"{name} ({_varied(line[0])[0].replace('_', ' ')})", points=[point(trial) for trial in line])


def _varied(trial: Trial) -> tuple[str, float]:
    """Return the name and the value of the setting that varies along a line."""
    name = "image_guidance_scale" if "image_guidance_scale" in trial.settings else "strength"
    return name, trial.settings[name]


if __name__ == "__main__":
    run(tradeoff)
