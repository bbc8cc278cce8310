"""The gate: whether a version is better than the champion, by the scores of both on the same cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.common.seeds import derive_seed
from stages.core.errors import InputError
from stages.core.params import Gate
from stages.metrics.intervals import Interval, Values, paired_difference

LABELS = {"clip_score": "CLIPScore", "ssim_m_bar_frame": "SSIM-M̄"}
"""The metrics that decide, by their names in the scores of a case."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a version is fit to be champion, and why in one sentence."""

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
) -> Decision:
    """Decide by the paired bootstrap over the cases, as :class:`stages.core.params.Gate` says.

    Args:
        challenger: metric → (n,) scores, one for each case; NaN where undefined.
        champion: of the same cases in the same order.
        gate: the tolerance.
        version: the champion's, to be named.
        resamples: of the bootstrap.
        seed: of the pipeline.

    Raises:
        InputError: the scores are not of the same cases.
    """
    differences = {
        name: paired_difference(challenger[name], champion[name], resamples, derive_seed(seed, "gate", name)) for name in LABELS
    }
    if any(interval.n == 0 for interval in differences.values()):
        raise InputError("no case has a score of both versions: there is nothing to compare them by")
    clip, ssim = differences["clip_score"], differences["ssim_m_bar_frame"]
    better = [LABELS[name] for name, interval in differences.items() if interval.low > 0]
    if clip.high < 0:
        refusal = "CLIPScore is worse"
    elif ssim.low < -gate.ssim_m_bar_tolerance:
        refusal = f"SSIM-M̄ may be worse by more than {gate.ssim_m_bar_tolerance:g}"
    else:
        refusal = "" if better else "neither CLIPScore nor SSIM-M̄ is better"
    numbers = ", ".join(
        f"{LABELS[name]} {each.value:+z.2f} [{each.low:+z.2f}, {each.high:+z.2f}]" for name, each in differences.items()
    )
    return Decision(
        passes=not refusal,
        why=f"{refusal or 'better in ' + ' and '.join(better)}: {numbers} against version {version} on {clip.n} cases",
        champion=version,
        differences=differences,
    )
