"""The benchmarks by name: how each is read, which columns it has, and what others have published on it."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stages.benchmarks.case import BenchmarkCase
from stages.benchmarks.edit_bench import read_edit_bench
from stages.benchmarks.magic_brush import read_multi_turn, read_single_turn
from stages.benchmarks.measures import EDIT_BENCH, MAGIC_BRUSH, PIE_BENCH, PIE_BENCH_MENDED, Measure
from stages.benchmarks.own_folder import read_own_folder
from stages.benchmarks.pie_bench import read_pie_bench

PIE_BENCH_NOTE = (
    "As the authors' code has them, structure distance sees pictures in [0, 255] where DINO expects [0, 1], resized without"
    " antialiasing; PSNR, LPIPS, MSE and SSIM are means over the whole frame with the edited part black in both pictures, so"
    " that they rise or fall with the size of the mask; and the outermost pixels always count as edited."
)
MENDED_NOTE = "The same in the range that DINO was trained on, and over the background alone."
MAGIC_BRUSH_NOTE = (
    "L2 is the mean squared error, as in the authors' code, not its root. The models here are conditioned on descriptions"
    " (global_descriptions.json), not on instructions; a released InstructPix2Pix alone is told the instructions."
)
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
    mended: tuple[Measure, ...] = ()  # other forms of some of them, in a table of their own
    note: str  # what a reader of the table must know
    published: str = ""  # the CSV file with published rows, beside this module
    source: str = ""  # of the published rows

    def published_rows(self) -> list[tuple[str, list[float]]]:
        """Return (system, its values in the order of the columns, as published) for each published row."""
        if not self.published:
            return []
        with (Path(__file__).parent / self.published).open(encoding="utf-8", newline="") as file:
            return [(row["system"], [float(row[measure.key]) for measure in self.measures]) for row in csv.DictReader(file)]


_by_pie_bench = partial(Benchmark, measures=PIE_BENCH, mended=PIE_BENCH_MENDED, note=PIE_BENCH_NOTE)
BENCHMARKS = {
    "pie-bench": _by_pie_bench(
        title="PIE-Bench",
        read=read_pie_bench,
        published="pie_bench_published.csv",
        source="Ju et al., PnP Inversion, ICLR 2024, Table 1: 700 cases at 512 × 512, Stable Diffusion v1.4 (PnP: v1.5)",
    ),
    "magic-brush": Benchmark(
        title="MagicBrush, single-turn", read=read_single_turn, measures=MAGIC_BRUSH, note=MAGIC_BRUSH_NOTE
    ),
    "magic-brush-multi": Benchmark(
        title="MagicBrush, multi-turn", read=read_multi_turn, measures=MAGIC_BRUSH, note=MAGIC_BRUSH_NOTE
    ),
    "edit-bench": Benchmark(title="EditBench", read=read_edit_bench, measures=EDIT_BENCH, note=EDIT_BENCH_NOTE),
    "made": _by_pie_bench(title="The embedded world in PIE-Bench's format", read=read_pie_bench),
    "folder": _by_pie_bench(title="Own cases, by PIE-Bench's metrics", read=read_own_folder),
}
"""Name → benchmark."""
