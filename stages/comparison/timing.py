"""How long one edit takes with each system."""

import statistics
import time
from collections.abc import Mapping

from tqdm import tqdm

from stages.comparison.masks import find_masks, masks_for
from stages.comparison.systems import System
from stages.core.params import Params
from stages.corpus.samples import EditSample
from stages.editing.batch_editor import BatchEditor

TIMED = 5  # edits, of which the median is taken


def time_edits(case: EditSample, systems: Mapping[str, System], finder: BatchEditor, params: Params) -> dict[str, float]:
    """Return the median seconds of one edit of one picture with each system, including finding its mask.

    The systems take turns, so that other load on the machine slows all of them alike. Bringing their models is not counted.

    Args:
        case: the edit to repeat.
        systems: name → system.
        finder: predicts the masks.
        params: the mask threshold and the seed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    rounds = [name for _ in range(TIMED) for name in systems]
    for name in tqdm(rounds, desc="time", unit="edit"):
        systems[name].prepare()
        started = time.perf_counter()
        masks = masks_for(systems[name], [case], lambda: find_masks(finder, [case], params.sampling.mask_threshold))
        systems[name].edit([case], masks, params.seed).pictures.cpu()  # waits for a GPU, which works on by itself
        seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}
