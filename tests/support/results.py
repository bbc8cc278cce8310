"""Cases, scores and trials made up for tests of tables, pages and claims."""

import numpy as np
from PIL import Image

from stages.comparison.trials import Trial
from stages.corpus.samples import EditSample
from stages.metrics.intervals import Interval
from stages.metrics.scores import SystemScores
from stages.metrics.table import METRICS, SET_METRICS
from tests.support.samples import noise

OF_SET = tuple(metric.key for metric in SET_METRICS)
MODELS = {
    "judge": {"name": "nano/models/judge", "identity": "0123abcd"},
    "vgg": {"name": "nano/models/vgg", "identity": "4567"},
}


def case(seed: int, prompt: str = "a blue car on the beach", size: int = 64) -> EditSample:
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 4, size // 4, size // 2, size // 2))
    return EditSample(
        key=f"{seed:06d}",
        source=noise(seed, size),
        target=noise(seed + 1, size),
        source_mask=mask,
        target_mask=mask,
        source_caption="a red car on the beach",
        edit_prompt=prompt,
        source_diff="red car",
        target_diff="blue car",
        target_alt_text="",
        metadata={},
    )


def system_scores(seed: int, n: int = 20, shift: float = 0.0) -> SystemScores:
    """Random scores around 50, two cases without a directional score, and distances around 9."""
    rng = np.random.default_rng(seed)
    per_case = {metric.key: 50 + shift + rng.normal(0, 5, n) for metric in METRICS if metric.key not in OF_SET}
    per_case["clip_directional"][:2] = np.nan
    of_set = {name: Interval(value=9 - shift, low=8 - shift, high=10 - shift, n=n) for name in OF_SET}
    return SystemScores(per_case=per_case, of_set=of_set, failed=np.zeros(n, np.bool_))


SCORES = {
    "sdedit": system_scores(0),
    "inpainting": system_scores(3),
    "instruct_pix2pix": system_scores(4),
    "iedit": system_scores(1, shift=1),
    "iedit_m": system_scores(2, shift=8),
}
"""iEdit-M is best where there is a better."""


def trial(system: str, success: float, kept: float, **settings: float) -> Trial:
    """A trial on four cases, one of which has no edit success."""
    per_case = {metric.key: np.full(4, 50.0) for metric in METRICS if metric.key not in OF_SET}
    per_case |= {"edit_success": np.array([success - 1, success + 1, success, np.nan]), "ssim_m_bar_frame": np.full(4, kept)}
    of_set = {name: Interval(value=1, low=0, high=2, n=4) for name in OF_SET}
    scores = SystemScores(per_case=per_case, of_set=of_set, failed=np.zeros(4, np.bool_))
    return Trial(system=system, settings=settings, masks="true", scores=scores)
