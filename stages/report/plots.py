"""Plots as SVG, byte for byte the same for the same input: losses, histograms, and CLIPScore against SSIM-M̄."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stages.core.errors import InputError

POINTS = 200  # at most in a loss curve; the steps of a longer run are averaged in groups


@dataclass(frozen=True, kw_only=True)
class Point:
    """A system with one setting."""

    label: str  # the setting
    x: float  # SSIM-M̄ (frame, %)
    y: float  # CLIPScore (%)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A system over a range of settings."""

    name: str
    points: Sequence[Point]


def plot_losses(rows: Sequence[Mapping[str, float]], title: str, columns: Sequence[str]) -> Markup:
    """Plot ``columns`` of the training log against "step".

    Steps of a long run are averaged in groups; a missing or undefined loss leaves a gap. The vertical axis is logarithmic
    if every value is positive.

    Args:
        rows: the training log.
        title: the title of the plot; two plots on one page need different titles, because the ids in the SVG derive from it.
        columns: one line each.

    Returns:
        An SVG element.

    Raises:
        InputError: no row has one of the columns.
    """
    figure, axes = _figure(6.4, 3.4)
    lowest = np.inf
    for column in columns:
        steps, values = _averaged(rows, title, column).T
        lowest = min([lowest, *values])
        axes.plot(steps, values, label=column, linewidth=1.4)
    axes.set_xlabel("step")
    if 0 < lowest < np.inf:
        axes.set_yscale("log")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(frameon=False, fontsize="small")
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return _inline(figure, title)


def plot_bars(edges: Sequence[float], counts: Sequence[int], title: str, label: str, limits: Mapping[str, float]) -> Markup:
    """Plot how often values lie where, with limits as vertical lines.

    Args:
        edges: where the bars begin and end, one more than there are bars.
        counts: the height of each bar.
        title: the title of the plot, for the ids in it; see :func:`plot_losses`.
        label: the label of the horizontal axis.
        limits: name of a limit → its value.

    Returns:
        An SVG element.
    """
    figure, axes = _figure(4.8, 2.6)
    axes.stairs(counts, edges, fill=True, alpha=0.7)
    for number, (name, value) in enumerate(limits.items(), start=1):
        axes.axvline(value, color=f"C{number}", linewidth=1.4, label=f"{name} = {value:g}")
    if limits:
        axes.legend(frameon=False, fontsize="small")
    axes.set_xlabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return _inline(figure, title)


def plot_tradeoff(curves: Sequence[Curve]) -> str:
    """Plot CLIPScore against SSIM-M̄, one line per system.

    Returns:
        An SVG file.
    """
    figure, axes = _figure(8, 5.5)
    for curve in curves:
        xs, ys = [point.x for point in curve.points], [point.y for point in curve.points]
        axes.plot(xs, ys, "o-", label=curve.name, markersize=4)
        for point in curve.points:
            axes.annotate(point.label, (point.x, point.y), (3, 3), textcoords="offset points", fontsize=7)
    axes.set_xlabel("SSIM-M̄ (frame, %): what should stay stays")
    axes.set_ylabel("CLIPScore (%): the edit shows what was asked")
    axes.grid(visible=True, alpha=0.2)
    axes.legend(frameon=False, fontsize="small")
    return _as_svg(figure, salt="tradeoff")


def plot_growth(images: Sequence[int], seconds: Mapping[str, Sequence[float]]) -> str:
    """Plot CPU time against the number of images, one line per stage, both axes logarithmic.

    Args:
        images: numbers of images.
        seconds: stage → CPU seconds at each number.

    Returns:
        An SVG file.
    """
    figure, axes = _figure(6.4, 4.4)
    for stage, values in seconds.items():
        axes.plot(images, values, "o-", label=stage, markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(images, [f"{count:,}" for count in images])
    axes.minorticks_off()
    axes.set_xlabel("images")
    axes.set_ylabel("CPU seconds, start subtracted")
    axes.grid(visible=True, alpha=0.2)
    axes.legend(frameon=False, fontsize="small")
    return _as_svg(figure, salt="growth")


def _averaged(rows: Sequence[Mapping[str, float]], title: str, column: str) -> NDArray[np.float64]:
    """Return the points of a loss curve, (n, 2) of step and value, n at most POINTS."""
    points = np.array([(row["step"], row[column]) for row in rows if column in row], dtype=float).reshape(-1, 2)
    if not len(points):
        raise InputError(f"plot {title!r}: the training log has no column {column!r}")
    points = points[np.isfinite(points[:, 1])]
    groups = np.array_split(points, min(POINTS, len(points)) or 1)
    return np.array([group.mean(axis=0) for group in groups if len(group)]).reshape(-1, 2)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _inline(figure: Figure, title: str) -> Markup:
    """Return the figure as an SVG element for a page."""
    svg = _as_svg(figure, salt=title)
    return Markup(re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL))  # noqa: S704 - matplotlib escapes its texts


def _as_svg(figure: Figure, salt: str) -> str:
    """Return the figure as an SVG file without a date; ids derive from the salt, so they are the same in every run."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
