"""Systems as curves: how much of one thing they give up for another."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Point:
    """A system with one setting."""

    label: str  # the setting
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A system over a range of settings."""

    name: str
    points: Sequence[Point]


def plot_tradeoff(curves: Sequence[Curve]) -> str:
    """Return an SVG file of CLIPScore against SSIM-M̄, a line for each system; equal input gives equal bytes."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(
            [point.x for point in curve.points], [point.y for point in curve.points], "o-", label=curve.name, markersize=4
        )
        for point in curve.points:
            axes.annotate(point.label, (point.x, point.y), (3, 3), textcoords="offset points", fontsize=7)
    axes.set_xlabel("SSIM-M̄ (frame, %): what should stay stays")
    axes.set_ylabel("CLIPScore (%): the edit shows what was asked")
    axes.grid(visible=True, alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tradeoff", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
