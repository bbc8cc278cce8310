"""A benchmark from its folder to its table."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from stages.benchmarks import run_length
from stages.benchmarks.case import BenchmarkCase
from stages.benchmarks.catalogue import BENCHMARKS, Benchmark
from stages.benchmarks.editing import Chunk, edit_in_chunks
from stages.benchmarks.judged import Judged, Judges, load_judges
from stages.benchmarks.made import write_made_benchmark
from stages.benchmarks.table import Scores, write_results
from stages.comparison.systems import System, chosen_systems, load_models
from stages.comparison.training_free import chosen_training_free
from stages.core.params import Params
from stages.core.paths import EDITED_BENCHMARKS, MADE_BENCHMARK
from stages.report.captions import GIVEN_NAMES, TRAINING_FREE
from stages.report.contact_sheet import SHEET_CASES, contact_sheet
from stages.report.pictures import save_picture

SHOWN = GIVEN_NAMES | TRAINING_FREE
"""System → its name in tables."""
MADE_CASES = 60  # of the made benchmark, if no other number is asked for


def run_benchmark(
    name: str,
    folder: Path | None,
    params: Params,
    *,
    systems: Sequence[str],
    limit: int | None,
    out: Path,
) -> str:
    """Edit and score the cases, write table.md, table.csv, cases.csv and sheet.png, and return the text of the first.

    Args:
        name: of BENCHMARKS.
        folder: of its data; None draws the made benchmark.
        params: the models behind the systems, their settings, and the models that measure.
        systems: names of systems.
        limit: the number of cases, the first ones; None: all.
        out: folder of the results.

    Raises:
        InputError: the data or a model is missing or damaged.
    """
    benchmark = BENCHMARKS[name]
    if folder is None:
        folder = MADE_BENCHMARK / "evaluation"
        write_made_benchmark(folder, limit or MADE_CASES, size=params.ingest.size, seed=params.seed)
    whole = benchmark.read(folder)
    cases = first_cases(whole, limit)
    judges = load_judges(params)
    models = load_models(params)
    chosen = chosen_systems(models, params) | chosen_training_free(models, params)
    sheet = _Sheet(params.ingest.size, systems)
    scorer = _Scorer(benchmark, tuple(dict.fromkeys(case.prompt for case in whole)), judges, systems)
    wanted: dict[str, System] = {system: chosen[system] for system in systems}
    edits = len(systems) * sum(case.is_scored for case in cases)
    # Edits of a chunk are scored after all of them are made: the rate is that of both.
    with tqdm(total=edits, desc="score", unit="edit", mininterval=1, smoothing=0) as bar:
        for chunk in edit_in_chunks(cases, wanted, models, params, EDITED_BENCHMARKS / name):
            sheet.add(chunk)
            scorer.add(chunk, bar.update)
    save_picture(out / "sheet.png", sheet.draw())
    return write_results(out, benchmark, scorer.scores(), SHOWN)


def first_cases(cases: Sequence[BenchmarkCase], limit: int | None) -> list[BenchmarkCase]:
    """Return the first ``limit`` cases, and those that follow the last of them."""
    end = len(cases) if limit is None else min(limit, len(cases))
    while end < len(cases) and cases[end].after:
        end += 1
    return list(cases[:end])


class _Scorer:
    """Measures the edits of one chunk after the other."""

    def __init__(self, benchmark: Benchmark, prompts: tuple[str, ...], judges: Judges, systems: Sequence[str]) -> None:
        self._measures = [each for each in (*benchmark.measures, *benchmark.others) if each.is_measured(judges)]
        self._prompts, self._judges = prompts, judges
        self._cases: list[BenchmarkCase] = []
        self._values: dict[str, dict[str, list[float]]] = {
            system: {each.key: [] for each in self._measures} for system in systems
        }
        self._failed: dict[str, list[bool]] = {system: [] for system in systems}

    def add(self, chunk: Chunk, advance: Callable[[int], object]) -> None:
        """Measure the edits of a chunk, and show each that is done by ``advance``."""
        for case in chunk.scored:
            self._cases.append(case)
            for system, values in self._values.items():
                judged = _judged(case, chunk.edits[system][case.key], self._prompts, self._judges)
                failed = case.key in chunk.failed[system]
                for each in self._measures:
                    values[each.key].append(each.when_failed if failed and each.when_failed is not None else each.of(judged))
                self._failed[system].append(failed)
                advance(1)

    def scores(self) -> Scores:
        """Return what was measured."""
        keys, kinds = [case.key for case in self._cases], [case.kind for case in self._cases]
        return Scores(keys=keys, kinds=kinds, values=self._values, failed=self._failed, models=self._judges.names)


class _Sheet:
    """Keeps the pictures of the first cases; of edits that follow others, the picture that the first of them started from."""

    def __init__(self, size: int, systems: Sequence[str]) -> None:
        self._size = size
        self._cases: list[BenchmarkCase] = []
        self._edits: dict[str, list[Image.Image]] = {system: [] for system in systems}

    def add(self, chunk: Chunk) -> None:
        """Keep what is among the first cases."""
        first = chunk.scored[: SHEET_CASES - len(self._cases)]
        self._cases += [_from_the_start(case, chunk.cases) for case in first]
        for system, edits in self._edits.items():
            edits += [chunk.edits[system][case.key] for case in first]

    def draw(self) -> Image.Image:
        """Return the sheet."""
        samples = [case.at(self._size).sample for case in self._cases]
        return contact_sheet(samples, self._edits, {system: SHOWN[system] for system in self._edits}, mask="given mask")


def _from_the_start(case: BenchmarkCase, cases: Sequence[BenchmarkCase]) -> BenchmarkCase:
    """Return a case with the source of the one that begins its turns, which every system was given."""
    by_key, start = {each.key: each for each in cases}, case
    while start.after:
        start = by_key[start.after]
    return replace(case, source=start.source, source_prompt=start.source_prompt)


def _judged(case: BenchmarkCase, edit: Image.Image, prompts: tuple[str, ...], judges: Judges) -> Judged:
    """Return an edit at the size of its source, at which benchmarks measure."""
    source = case.source()
    return Judged(
        source_image=source,
        edit_image=edit.resize(source.size, Image.Resampling.BICUBIC),
        mask=run_length.from_image(case.mask()),
        prompt=case.prompt,
        local_prompt=case.local_prompt,
        prompts=prompts,
        target_image=case.target() if case.target else None,
        judges=judges,
    )
