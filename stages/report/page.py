"""The report: one HTML page that loads nothing from anywhere, and a contact sheet for the README."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.corpus.samples import EditSample
from stages.metrics.scores import METRICS
from stages.report.claims import EITHER
from stages.report.results import NAMES, difference_rows, heading, result_rows

SHEET_CASES = 8  # on a contact sheet, the first
THUMBNAIL = 192  # pixels of a picture's side on the page and on the sheet
TINT = (255, 0, 96)  # of a mask laid over its picture
POINTS = 200  # of a curve; more steps are averaged in groups


def write_report(
    path: Path,
    *,
    title: str,
    metrics: Mapping[str, Any],
    cases: Sequence[EditSample],
    edits: Mapping[str, Sequence[Image.Image]],
    names: Mapping[str, str] = NAMES,
    losses: Sequence[Mapping[str, float]] = (),
    panels: Mapping[str, Sequence[str]] | None = None,
    dropped: Mapping[str, Mapping[str, int]] | None = None,
    pairs: Sequence[EditSample] = (),
    credits_line: str = "",
    claims: Sequence[tuple[str, str, str, str]] = (),
) -> None:
    """Write the page. It has no date and no chance in it: equal input gives equal bytes.

    Args:
        path: of the HTML file.
        title: its heading.
        metrics: the value of metrics.json.
        cases: what the gallery shows, all of it in this order: take the first ones, not the best ones.
        edits: system → its results, one for each case.
        names: system → how it is shown.
        losses: rows of the training log, each with "step"; a missing or undefined loss leaves a gap.
        panels: title of a plot → the columns of ``losses`` in it.
        dropped: stage → reason → how many samples it dropped.
        pairs: training pairs to show.
        credits_line: who made the pictures, where their licence wants it said.
        claims: (claim, what was wanted, what was found, whether it holds) of each.

    Raises:
        InputError: a system has more or fewer results than there are cases, or a column is missing.
    """
    _check_edits(cases, edits, names)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(
        title=title,
        cases=metrics["cases"],
        names=list(names.values()),
        definitions=[(heading(metric), metric.definition) for metric in METRICS],
        rows=result_rows(metrics, names),
        differences=difference_rows(metrics, names),
        claims=claims,
        either=EITHER,
        models=metrics["models"],
        plots=[(name, plot_losses(losses, name, columns)) for name, columns in (panels or {}).items()],
        gallery=[_row(case, [edits[system][index] for system in names]) for index, case in enumerate(cases)],
        dropped=dropped or {},
        pairs=[_row(pair, [pair.target, overlay(pair.target, pair.target_mask)]) for pair in pairs],
        credits_line=credits_line,
        thumbnail=THUMBNAIL,
    )
    with written_aside(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def plot_losses(rows: Sequence[Mapping[str, float]], title: str, columns: Sequence[str]) -> Markup:
    """Return a plot of ``columns`` against "step" as an SVG element.

    Long runs are averaged in groups of neighbouring steps. The vertical axis is logarithmic where every value allows it.

    Raises:
        InputError: no row has one of the columns.
    """
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    lowest = np.inf
    for column in columns:
        points = np.array([(row["step"], row[column]) for row in rows if column in row], dtype=float).reshape(-1, 2)
        if not len(points):
            raise InputError(f"plot {title!r}: the training log has no column {column!r}")
        points = points[np.isfinite(points[:, 1])]
        groups = [group.mean(axis=0) for group in np.array_split(points, min(POINTS, len(points)) or 1) if len(group)]
        steps, values = zip(*groups, strict=True) if groups else ((), ())
        lowest = min([lowest, *values])
        axes.plot(steps, values, label=column, linewidth=1.4)
    axes.set_xlabel("step")
    if 0 < lowest < np.inf:
        axes.set_yscale("log")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    buffer = io.StringIO()
    # The salt keeps ids equal from run to run, and those of two plots on one page apart.
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return Markup(re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL))  # noqa: S704 - matplotlib escapes its texts


def overlay(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """Return an RGB picture with its "L" mask tinted on it and outlined."""
    inside = np.asarray(mask) >= 128
    padded = np.pad(inside, 1, mode="edge")
    neighbours = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    opacity = np.where(inside, np.where(neighbours, 0.4, 1.0), 0.0)[..., None]
    pixels = np.asarray(picture.convert("RGB")) * (1 - opacity) + np.array(TINT) * opacity
    return Image.fromarray(pixels.round().astype(np.uint8))


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture as PNG, whole or not at all."""
    with written_aside(path) as temporary:
        picture.save(temporary, "png")


def contact_sheet(
    cases: Sequence[EditSample],
    edits: Mapping[str, Sequence[Image.Image]],
    names: Mapping[str, str] = NAMES,
    *,
    mask: str = "true mask",
) -> Image.Image:
    """Return one picture with a row for each case: source, mask over source, the results; its two texts above.

    Args:
        cases: shown in this order, all of them.
        edits: system → its results, one for each case.
        names: system → how it is shown.
        mask: how the mask is called.
    """
    _check_edits(cases, edits, names)
    titles = ["source", mask, *names.values()]
    margin, line = 12, 22
    width = margin + len(titles) * (THUMBNAIL + margin)
    row_height = THUMBNAIL + line + 2 * margin
    sheet = Image.new("RGB", (width, line + 2 * margin + len(cases) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    regular, bold = _font("DejaVuSans", 14), _font("DejaVuSans-Bold", 14)
    for column, title in enumerate(titles):
        draw.text((margin + column * (THUMBNAIL + margin), margin), title, "black", bold)
    for index, case in enumerate(cases):
        top = line + 2 * margin + index * row_height
        text = f"{case.source_caption}  →  {case.edit_prompt}"
        draw.text((margin, top), _shortened(text, regular, width - 2 * margin), (60, 60, 60), regular)
        pictures = [case.source, overlay(case.source, case.source_mask), *(edits[system][index] for system in names)]
        for column, picture in enumerate(pictures):
            sheet.paste(_thumbnail(picture), (margin + column * (THUMBNAIL + margin), top + line))
    return sheet


def _check_edits(cases: Sequence[EditSample], edits: Mapping[str, Sequence[Image.Image]], names: Mapping[str, str]) -> None:
    counts = {system: len(edits.get(system, ())) for system in names}
    if any(count != len(cases) for count in counts.values()):
        raise InputError(f"{len(cases)} cases to show, but results: {counts}")


def _row(sample: EditSample, pictures: Sequence[Image.Image]) -> dict[str, Any]:
    """Return what the page shows of a case or a pair: its words, its source with and without mask, and ``pictures``."""
    return {
        "key": sample.key,
        "caption": sample.source_caption,
        "prompt": sample.edit_prompt,
        "pictures": [_data_uri(x) for x in (sample.source, overlay(sample.source, sample.source_mask), *pictures)],
    }


def _data_uri(picture: Image.Image) -> str:
    """Return a picture as PNG in a URI: small ones as they are, for the browser to enlarge; large ones reduced."""
    picture = picture.convert("RGB")
    if max(picture.size) > THUMBNAIL:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=9)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _thumbnail(picture: Image.Image) -> Image.Image:
    """Return THUMBNAIL pixels square, enlarged by a whole factor without smoothing where that fits."""
    whole = all(THUMBNAIL % side == 0 for side in picture.size)
    return picture.convert("RGB").resize(
        (THUMBNAIL, THUMBNAIL), Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    )


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that comes with matplotlib: the same on every machine, with more than Latin letters."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
