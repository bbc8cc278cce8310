"""The table of figures that are wanted: what was measured, and whether it is reached."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from stages.studies.scale.figures import exponent

Figures = Mapping[str, Any]  # the content of reports/scale.json


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure that is wanted."""

    text: str  # what is measured
    part: str  # of reports/scale.json
    value: Callable[[Any], float]  # the figure in that part
    limit: float
    at_least: bool = False  # otherwise at most
    unit: str = ""

    def row(self, figures: Figures) -> str | None:
        """Return a line of the table in Markdown, or None if the part was not measured."""
        if self.part not in figures:
            return None
        value = self.value(figures[self.part])
        met = value >= self.limit if self.at_least else value <= self.limit
        wanted = f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"
        return f"| {self.text} | {value:.3g}{self.unit} | {wanted} | {'yes' if met else 'no'} |"


def table(figures: Figures) -> str:
    """Return the table of all measured bars in Markdown."""
    rows = [row for bar in BARS if (row := bar.row(figures)) is not None]
    return "\n".join(["| Measured | Figure | Wanted | Met |", "|---|---:|---:|---|", *rows, ""])


def _largest_exponent(growth: Figures) -> float:
    return max(stage["exponent"] for stage in growth["stages"].values())


def _largest_last_exponent(growth: Figures) -> float:
    """Return the largest exponent of a stage between the two largest corpora, where a start hardly counts."""
    sizes = growth["images"][-2:]
    seconds = [[stage["runs"][str(size)]["cpu"] - stage["start"] for size in sizes] for stage in growth["stages"].values()]
    return max(exponent(sizes, each) for each in seconds)


def _slowest_rerun(growth: Figures) -> float:
    """Return the CPU seconds of the slowest rerun of the largest corpus, beyond a run of the smallest with nothing to do."""
    return max(growth["rerun"][name]["cpu"] - stage["idle"] for name, stage in growth["stages"].items())


def _slowest_start(growth: Figures) -> float:
    return max(stage["idle"] for stage in growth["stages"].values())


def _rate_of(stage: str, stages: Figures) -> float:
    return float(stages[stage]["ratio"]["median"])


BARS = (
    Bar(text="CPU time against images, largest exponent of a stage", part="growth", value=_largest_exponent, limit=1.05),
    Bar(text="the same between the two largest corpora", part="growth", value=_largest_last_exponent, limit=1.05),
    Bar(
        text="rerun with nothing changed, slowest stage beyond its start",
        part="growth",
        value=_slowest_rerun,
        limit=3,
        unit=" s",
    ),
    Bar(text="start of a stage with nothing to do, slowest", part="growth", value=_slowest_start, limit=2, unit=" s"),
    Bar(
        text="one shard more among 100, share of the whole cost",
        part="growth",
        value=lambda growth: growth["increment"]["share"],
        limit=0.03,
    ),
    Bar(
        text="the same bytes after shrinking and growing back (1: yes)",
        part="growth",
        value=lambda growth: float(growth["increment"]["same_bytes"]),
        limit=1,
        at_least=True,
    ),
    Bar(text="retrieval: exponent of CPU time", part="retrieval", value=lambda part: part["exponent"], limit=1.15),
    Bar(text="retrieval: exponent of memory", part="retrieval", value=lambda part: part["memory_exponent"], limit=1.15),
    Bar(
        text="retrieval: memory as a multiple of the embeddings, 300,000 vectors",
        part="retrieval",
        value=lambda part: part["runs"][-1]["memory_of_embeddings"],
        limit=2,
    ),
    Bar(
        text="retrieval: recall@1 at a million vectors",
        part="retrieval",
        value=lambda part: part["million"]["recall"]["at 1"],
        limit=0.95,
        at_least=True,
    ),
    Bar(
        text="retrieval: queries a second against a flat index, a million vectors",
        part="retrieval",
        value=lambda part: part["million"]["speed"]["ratio"],
        limit=20,
        at_least=True,
        unit=" ×",
    ),
    *(
        Bar(
            text=f"{stage}: images a second against the bare network",
            part="stages",
            value=partial(_rate_of, stage),
            limit=0.9,
            at_least=True,
        )
        for stage in ("caption", "embed", "segment")
    ),
    Bar(
        text="encoder: pictures a second against the bare autoencoder",
        part="training",
        value=lambda part: part["encoder"]["ratio"]["median"],
        limit=0.9,
        at_least=True,
    ),
    Bar(
        text="training: samples a second against the bare step",
        part="training",
        value=lambda part: part["training"]["ratio"]["median"],
        limit=0.95,
        at_least=True,
    ),
    Bar(
        text="two processes against one",
        part="engines",
        value=lambda part: part["processes_to_serial"]["median"],
        limit=1.8,
        at_least=True,
        unit=" ×",
    ),
    Bar(
        text="Ray with two workers against two processes",
        part="engines",
        value=lambda part: part["ray_to_processes"]["median"],
        limit=0.9,
        at_least=True,
        unit=" ×",
    ),
    Bar(
        text="ingest of photographs against img2dataset's resizer",
        part="photographs",
        value=lambda part: part["to_img2dataset"]["median"],
        limit=1,
        at_least=True,
        unit=" ×",
    ),
    Bar(
        text="disk of a photograph of 384 × 384",
        part="photographs",
        value=lambda part: part["bytes_per_image"] / 1000,
        limit=90,
        unit=" kB",
    ),
    Bar(
        text="disk of a pair of 384 × 384, in all tables",
        part="photographs",
        value=lambda part: sum(part["pairs"]["bytes_per_pair"].values()) / 1000,
        limit=10,
        unit=" kB",
    ),
    Bar(
        text="disk of the encoder's cache, a drawn pair of 384 × 384",
        part="photographs",
        value=lambda part: part["pairs"]["encoded_bytes_per_drawn_pair"] / 1000,
        limit=160,
        unit=" kB",
    ),
)
