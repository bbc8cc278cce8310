"""The benchmarks by name: how each is read, which columns it has, and what others have published on it."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stages.benchmarks.case import BenchmarkCase
from stages.benchmarks.edit_bench import read_edit_bench
from stages.benchmarks.magic_brush import read_multi_turn, read_single_turn
from stages.benchmarks.measures import EDIT_BENCH, MAGIC_BRUSH, MAGIC_BRUSH_GLOBAL, PIE_BENCH, PIE_BENCH_MENDED, Measure
from stages.benchmarks.own_folder import read_own_folder
from stages.benchmarks.pie_bench import read_pie_bench

PIE_BENCH_NOTE = (
    "As the authors' code has them, structure distance sees pictures in [0, 255] where DINO expects [0, 1], resized without"
    " antialiasing; PSNR, LPIPS, MSE and SSIM are means over the whole frame with the edited part black in both pictures, so"
    " that they rise or fall with the size of the mask; and the outermost pixels always count as edited."
)
PIE_BENCH_MENDED_NOTE = "The same in the range that DINO was trained on, and over the background alone."
MAGIC_BRUSH_NOTE = (
    "L2 is the mean squared error, as in the authors' code, not its root. The models here are conditioned on descriptions"
    " (global_descriptions.json), not on instructions; only a released InstructPix2Pix gets the instructions. CLIP-T is the"
    " likeness to the description of what changes (local_descriptions.json), as in the paper."
)
MAGIC_BRUSH_GLOBAL_NOTE = (
    "Likeness to the description of the whole picture, which the authors' code takes if it is given no other."
)
MAGIC_BRUSH_SOURCE = "Zhang et al., MagicBrush, NeurIPS 2023, Table 2: mask-free editing of the 535 sessions of the test split"
EDIT_BENCH_NOTE = (
    "EditBench publishes no evaluation code. CLIPScore is 2.5 · max(cos, 0) · 100 (Hessel et al. 2021, without their prefix);"
    " CLIP-R-Precision (Park et al. 2021) is the share of edits that are closer to their own prompt than to every other prompt"
    " of the benchmark."
)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark."""

    title: str
    read: Callable[[Path], list[BenchmarkCase]]
    measures: tuple[Measure, ...]  # the columns of its table
    note: str  # what a reader of the table must know
    others: tuple[Measure, ...] = ()  # other forms of some of them, in a table of their own
    others_title: str = ""  # of that table
    others_note: str = ""  # what it has
    published: str = ""  # the CSV file with published rows, beside this module
    source: str = ""  # of the published rows

    def published_rows(self) -> list[tuple[str, list[float]]]:
        """Return (system, its values in the order of the columns, as published) for each published row."""
        if not self.published:
            return []
        with (Path(__file__).parent / self.published).open(encoding="utf-8", newline="") as file:
            return [(row["system"], [float(row[measure.key]) for measure in self.measures]) for row in csv.DictReader(file)]


_by_pie_bench = partial(
    Benchmark,
    measures=PIE_BENCH,
    note=PIE_BENCH_NOTE,
    others=PIE_BENCH_MENDED,
    others_title="Without these faults",
    others_note=PIE_BENCH_MENDED_NOTE,
)
_magic_brush = partial(
    Benchmark,
    measures=MAGIC_BRUSH,
    note=MAGIC_BRUSH_NOTE,
    others=MAGIC_BRUSH_GLOBAL,
    others_title="Against descriptions of the whole picture",
    others_note=MAGIC_BRUSH_GLOBAL_NOTE,
    source=MAGIC_BRUSH_SOURCE,
)
BENCHMARKS = {
    "pie-bench": _by_pie_bench(
        title="PIE-Bench",
        read=read_pie_bench,
        published="pie_bench_published.csv",
        source="Ju et al., PnP Inversion, ICLR 2024, Table 1: 700 cases at 512 × 512, Stable Diffusion v1.4 (PnP: v1.5)",
    ),
    "magic-brush": _magic_brush(title="MagicBrush, single-turn", read=read_single_turn, published="magic_brush_published.csv"),
    "magic-brush-multi": _magic_brush(
        title="MagicBrush, multi-turn", read=read_multi_turn, published="magic_brush_multi_published.csv"
    ),
    "edit-bench": Benchmark(title="EditBench", read=read_edit_bench, measures=EDIT_BENCH, note=EDIT_BENCH_NOTE),
    "made": _by_pie_bench(title="The embedded world in PIE-Bench's format", read=read_pie_bench),
    "folder": _by_pie_bench(title="Own cases, by PIE-Bench's metrics", read=read_own_folder),
}
"""Name → benchmark."""
