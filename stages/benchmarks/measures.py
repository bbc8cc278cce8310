"""The columns of each benchmark's table, in its authors' order, and the forms without what is wrong in their code."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from stages.benchmarks import metrics
from stages.benchmarks.judged import Judged, Judges
from stages.metrics.table import LEFT_OUT

Model = TypeVar("Model")
Needs = Literal["", "structure", "dino", "lpips"]
LEVELS = 255  # PIE-Bench's structure distance sees pictures in [0, 255]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A column."""

    key: str  # in CSV files
    label: str  # in tables
    better: Literal["higher", "lower"]
    scale: float = 1.0  # values are shown times this, as the authors show them
    decimals: int = 2
    needs: Needs = ""  # the model that it needs besides CLIP
    of: Callable[[Judged], float]  # NaN where undefined
    when_failed: float | None = None  # the value of a failed edit; None: that of what came out

    @property
    def heading(self) -> str:
        """The label, its scale, and an arrow towards the better side."""
        scale = "" if self.scale == 1 else f" ×{self.scale:,.0f}".replace(",", "")
        return f"{self.label}{scale} {'↑' if self.better == 'higher' else '↓'}"

    def is_measured(self, judges: Judges) -> bool:
        """Whether the model that it needs is there."""
        return not self.needs or getattr(judges, self.needs) is not None


def _structure_as_published(edit: Judged) -> float:
    model = _there(edit.judges.structure)
    return metrics.structure_distance(model, LEVELS * edit.source, LEVELS * edit.edit, antialias=False)


def _structure(edit: Judged) -> float:
    return metrics.structure_distance(_there(edit.judges.structure), edit.source, edit.edit, antialias=True)


def _rank(edit: Judged) -> float:
    """1 if the edit is closer to its own prompt than to any other prompt of the benchmark, else 0."""
    own = metrics.cosine(edit.edit_embedding, edit.prompt_embedding)
    others = (text for text in edit.prompts if text != edit.prompt)
    return float(all(metrics.cosine(edit.edit_embedding, edit.judges.embed_text(text)) < own for text in others))


def _there(model: Model | None) -> Model:
    if model is None:
        raise ValueError("the measure's model is not loaded; see Measure.is_measured")
    return model


PIE_BENCH = (
    Measure(
        key="structure_distance",
        label="Structure distance",
        better="lower",
        scale=1e3,
        needs="structure",
        of=_structure_as_published,
        when_failed=LEFT_OUT,
    ),
    Measure(
        key="psnr",
        label="PSNR",
        better="higher",
        of=lambda edit: metrics.psnr(metrics.mse_frame(edit.edit, edit.source, edit.background)),
        when_failed=LEFT_OUT,
    ),
    Measure(
        key="lpips",
        label="LPIPS",
        better="lower",
        scale=1e3,
        needs="lpips",
        of=lambda edit: metrics.lpips_frame(_there(edit.judges.lpips), edit.edit, edit.source, edit.background),
        when_failed=LEFT_OUT,
    ),
    Measure(
        key="mse",
        label="MSE",
        better="lower",
        scale=1e4,
        of=lambda edit: metrics.mse_frame(edit.edit, edit.source, edit.background),
        when_failed=LEFT_OUT,
    ),
    Measure(
        key="ssim",
        label="SSIM",
        better="higher",
        scale=1e2,
        of=lambda edit: metrics.ssim_frames(edit.edit, edit.source, edit.background),
        when_failed=LEFT_OUT,
    ),
    Measure(
        key="clip_whole",
        label="CLIP whole",
        better="higher",
        of=lambda edit: metrics.clip_similarity(edit.edit_embedding, edit.prompt_embedding),
    ),
    Measure(
        key="clip_edited",
        label="CLIP edited",
        better="higher",
        of=lambda edit: metrics.clip_similarity(
            metrics.embed_for_clip(edit.judges.clip, edit.edited_region), edit.prompt_embedding
        ),
    ),
)
"""The seven metrics of PIE-Bench as its evaluation code computes them."""

STRUCTURE_DISTANCE, PSNR, LPIPS, MSE, SSIM = PIE_BENCH[:5]
PIE_BENCH_MENDED = (
    replace(STRUCTURE_DISTANCE, key="structure_distance_mended", of=_structure),
    replace(
        PSNR,
        key="psnr_background",
        of=lambda edit: metrics.psnr(metrics.mse_region(edit.edit, edit.source, edit.background)),
    ),
    replace(
        LPIPS,
        key="lpips_background",
        of=lambda edit: metrics.lpips_region(_there(edit.judges.lpips), edit.edit, edit.source, edit.background),
    ),
    replace(MSE, key="mse_background", of=lambda edit: metrics.mse_region(edit.edit, edit.source, edit.background)),
    replace(SSIM, key="ssim_background", of=lambda edit: metrics.ssim_inside(edit.edit, edit.source, edit.background)),
)
"""The same without two faults: pictures in the range that DINO was trained on, and means over the background alone."""

MAGIC_BRUSH = (
    Measure(key="l1", label="L1", better="lower", decimals=4, of=lambda edit: metrics.l1(*edit.compared)),
    Measure(key="l2", label="L2", better="lower", decimals=4, of=lambda edit: metrics.l2(*edit.compared)),
    Measure(
        key="clip_i",
        label="CLIP-I",
        better="higher",
        decimals=4,
        of=lambda edit: edit.likeness(edit.judges.clip),
    ),
    Measure(
        key="dino",
        label="DINO",
        better="higher",
        decimals=4,
        needs="dino",
        of=lambda edit: edit.likeness(_there(edit.judges.dino)),
    ),
    Measure(
        key="clip_t",
        label="CLIP-T",
        better="higher",
        decimals=4,
        of=lambda edit: metrics.cosine(edit.edit_embedding, edit.judges.embed_text(edit.local_prompt)),
    ),
)
"""The metrics of MagicBrush."""

MAGIC_BRUSH_GLOBAL = (
    replace(
        MAGIC_BRUSH[-1],
        key="clip_t_global",
        of=lambda edit: metrics.cosine(edit.edit_embedding, edit.prompt_embedding),
    ),
)
"""CLIP-T against the description of the whole picture."""

EDIT_BENCH = (
    Measure(
        key="clip_score",
        label="CLIPScore",
        better="higher",
        of=lambda edit: 2.5 * metrics.clip_similarity(edit.edit_embedding, edit.prompt_embedding),
    ),
    Measure(key="r_precision", label="CLIP-R-Precision", better="higher", scale=1e2, decimals=1, of=_rank, when_failed=0.0),
)
"""The automatic metrics of EditBench, by their own papers' definitions, because no evaluation code is published."""
