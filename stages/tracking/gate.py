"""The gate: whether a version is better than the champion, judged by the scores of both on the same cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.common.seeds import derive_seed
from stages.core.params_evaluation import Gate
from stages.metrics.intervals import MIN_CASES, Interval, Values, paired_difference
from stages.tracking.preferences import QUESTIONS, Preferences

LABELS = {"clip_score": "CLIPScore", "ssim_m_bar_frame": "SSIM-M̄"}
"""The metrics that decide, by their names in the scores of a case."""
FAILED = "failed"
"""The name, in the scores of a case, of whether its edit failed: 1 or 0. A failed edit is its source; see ``SystemScores``."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a version becomes champion, and the reason in one sentence."""

    passes: bool
    why: str
    champion: str | None = None  # the version that it was compared with
    differences: Mapping[str, Interval] = field(default_factory=dict)  # metric → version minus champion


def decide(
    challenger: Mapping[str, Values],
    champion: Mapping[str, Values],
    gate: Gate,
    *,
    version: str,
    resamples: int,
    seed: int,
    preferences: Preferences | None = None,
) -> Decision:
    """Decide by the paired bootstrap over the cases, by the rule in :class:`stages.core.params_evaluation.Gate`.

    If more edits fail than of the champion, a version does not pass: SSIM-M̄ leaves these cases out, so it would not show what
    became of them. If one of the two metrics is defined on fewer cases than MIN_CASES, no version passes, unless that is SSIM-M̄
    and the champion fails more often: what edits so little has nothing to lose against.

    Args:
        challenger: metric, or FAILED → (n,) scores, one for each case; NaN where undefined.
        champion: the champion's scores of the same cases in the same order.
        gate: the tolerance, and whether people have to agree.
        version: the champion's version number, for the reason.
        resamples: the number of bootstrap resamples.
        seed: the pipeline's seed.
        preferences: what people say about the two; None: nobody was asked.

    Raises:
        InputError: the two versions are scored on different numbers of cases.
    """
    differences = {
        name: paired_difference(challenger[name], champion[name], resamples, derive_seed(seed, "gate", name)) for name in LABELS
    }
    failed, before = (int(each[FAILED].sum()) for each in (challenger, champion))
    failures = paired_difference(challenger[FAILED], champion[FAILED], resamples, derive_seed(seed, "gate", FAILED))
    is_surer = failures.high < 0
    if is_surer and differences["ssim_m_bar_frame"].n < MIN_CASES:
        del differences["ssim_m_bar_frame"]
    if failed > before:
        why = f"more edits find nothing to edit: {failed} of {failures.n}, where {before} of version {version} do"
        return Decision(passes=False, why=why, champion=version)
    if why := _shortage(differences):
        return Decision(passes=False, why=why, champion=version)
    better = [LABELS[name] for name, interval in differences.items() if interval.low > 0]
    better += [f"failed edits ({failed}, not {before})"] * is_surer
    refusal = _refusal(differences, gate, better) or _objection(gate, preferences)
    cases = max(interval.n for interval in differences.values())
    numbers = ", ".join(
        f"{LABELS[name]} {each.value:+z.2f} [{each.low:+z.2f}, {each.high:+z.2f}]"
        + (f" (of {each.n})" if each.n < cases else "")
        for name, each in differences.items()
    )
    return Decision(
        passes=not refusal,
        why=f"{refusal or 'better in ' + ' and '.join(better)}: {numbers} against version {version} on {cases} cases",
        champion=version,
        differences=differences,
    )


def _shortage(differences: Mapping[str, Interval]) -> str:
    """Return which metric is defined on too few cases, or an empty text."""
    few = next((name for name, interval in differences.items() if interval.n < MIN_CASES), None)
    if few is None:
        return ""
    return (
        f"{LABELS[few]} is defined on {differences[few].n} cases, fewer than the {MIN_CASES} that a comparison needs: "
        "raise retrieve.held_out, or add images"
    )


def _refusal(differences: Mapping[str, Interval], gate: Gate, better: list[str]) -> str:
    """Return the reason why a version does not pass, or an empty text."""
    if differences["clip_score"].high < 0:
        return "CLIPScore is worse"
    if "ssim_m_bar_frame" in differences and differences["ssim_m_bar_frame"].low < -gate.ssim_m_bar_tolerance:
        return f"SSIM-M̄ may be worse by more than {gate.ssim_m_bar_tolerance:g}"
    return "" if better else "neither CLIPScore nor SSIM-M̄ is better"


def _objection(gate: Gate, preferences: Preferences | None) -> str:
    """Return why people's answers are against a version, or an empty text."""
    if gate.min_preference is None:
        return ""
    if preferences is None:
        return "people have to compare the two first (iedit review --compare)"
    for question, text in QUESTIONS.items():
        if preferences[question].interval[0] < gate.min_preference:
            return f"people's answers are not enough for {gate.min_preference:.0%}: {text} {preferences[question]}"
    return ""
