"""Ingest: decode, check, crop and hash the images of a source, and write the corpus with its duplicates named.

Reads a source: the embedded world, a folder, or tar files. Writes data/corpus and, for the embedded world, held-out edits
with true masks: data/validation to choose settings on, data/evaluation to compare systems on.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import InputError
from stages.core.params import CaseSplit, Params
from stages.core.params_ingest import Ingest, OpenMojiSource
from stages.core.paths import CORPUS, EVALUATION, HELD_OUT, VALIDATION
from stages.core.provenance import source_digest
from stages.core.shards import (
    Advance,
    ShardFiles,
    ShardResult,
    ShardTask,
    StageCounts,
    Work,
    map_shards,
    pass_on_counts,
)
from stages.corpus import filters, images, sources
from stages.corpus.duplicates import write_duplicates
from stages.corpus.held_out import render_case
from stages.corpus.images import Refused
from stages.corpus.lists import REFUSED, write_refused, write_repeats
from stages.corpus.parts import Part, RawSample, meaningful
from stages.corpus.samples import EditSample, write_edits
from stages.corpus.shard import MAX_SAMPLES, CorpusSample, Encoding, key_of, write_corpus

CASES: dict[CaseSplit, Path] = {"evaluation": EVALUATION, "validation": VALIDATION}

DECIDING = {"filters", "size", "min_side", "max_pixels", "format", "quality"}  # the parameters that decide every shard
NO_CASES = (
    "This source has no held-out cases. Set retrieve.held_out above 0, and evaluate.cases and evaluate.validation to "
    f"{HELD_OUT}; if both name that folder, its pairs are divided between them.\n"
)


def ingest(params: Params) -> None:
    """Write the corpus, the table and the list of duplicates, the list of refused samples, and the held-out cases.

    Raises:
        InputError: the source cannot be read, has no usable sample, or has a larger share of refused samples than
            ``ingest.max_refused``.
    """
    parts = sources.list_parts(params)
    counts = _write_corpus(params, parts)
    duplicates = write_duplicates(CORPUS, [part.shard for part in parts], params.ingest.near_duplicates)
    write_repeats(CORPUS, [part.shard for part in parts])
    write_refused(CORPUS)
    _check_share(counts, duplicates, params.ingest.max_refused)
    counts.dropped.update(duplicates)
    counts.left_out = duplicates.total()
    counts.report()
    pass_on_counts(counts, CORPUS)
    _write_cases(params)


@dataclass(frozen=True, kw_only=True)
class IngestWorker:
    """Makes a shard of the corpus from a part of the source, which is the task's ``source``."""

    section: Ingest

    def load(self) -> Work:
        """Return the function that makes shards."""
        return self._make

    def _make(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        tar, index = files.outputs
        result = ShardResult()
        samples = self._samples(task.source, result, advance)
        result.done = write_corpus(tar, index, samples, _encoding(self.section))
        return result

    def _samples(self, part: Part, result: ShardResult, advance: Advance) -> Iterator[CorpusSample]:
        """Yield the samples to keep, and count the others in ``result``."""
        for place, raw in enumerate(part.read()):
            if place >= MAX_SAMPLES:
                raise InputError(f"{part.name}: more than {MAX_SAMPLES} samples in one part; split it")
            try:
                sample = self._admit(raw, key_of(part.shard, place))
            except Refused as refused:
                result.dropped[refused.reason] += 1
                if not refused.reason.startswith(filters.PREFIX):
                    result.notes.append({"origin": raw.origin, "reason": str(refused), "digest": raw.digest})
            else:
                yield sample
            advance(1)

    def _admit(self, raw: RawSample, key: str) -> CorpusSample:
        """Return the sample as it goes into the corpus.

        Raises:
            Refused: a filter leaves it out, or its picture cannot be used.
        """
        if isinstance(raw.picture, Refused):
            raise raw.picture
        filters.check_metadata(self.section.filters, raw.columns)
        whole = images.load(raw.picture, max_pixels=self.section.max_pixels) if isinstance(raw.picture, bytes) else raw.picture
        filters.check_sides(self.section.filters, raw.columns, whole.size)
        image = images.fit(whole, size=self.section.size, min_side=self.section.min_side)
        origin = {"name": raw.origin} | raw.facts
        return CorpusSample(key=key, image=image, alt_text=meaningful(raw.alt_text), origin=origin, original_size=whole.size)


def _write_corpus(params: Params, parts: Sequence[Part]) -> StageCounts:
    section = params.ingest
    tasks = [
        ShardTask(name=part.shard, inputs=part.inputs, samples=part.samples, settings=part.settings, source=part)
        for part in parts
    ]
    settings = {
        **section.model_dump(include=DECIDING),
        "source": section.source.kind,
        "formats": images.FORMATS,
        "code": source_digest(__file__),
    }
    return map_shards(
        stage="ingest",
        tasks=tasks,
        folder=CORPUS,
        suffixes=(".tar", ".parquet"),
        settings=settings,
        worker=IngestWorker(section=section),
        execution=params.execution,
    )


def _encoding(section: Ingest) -> Encoding:
    return Encoding(format=section.format, quality=section.quality)


def _check_share(counts: StageCounts, duplicates: Counter[str], limit: float) -> None:
    """Complain about a source without samples, or with too many that were refused.

    What a filter leaves out, and a duplicate, is not the source's fault.
    """
    faults = Counter({reason: n for reason, n in counts.dropped.items() if not reason.startswith(filters.PREFIX)})
    written, refused = counts.done + counts.reused, faults.total()
    total = written + refused
    if not total and counts.dropped:
        reason, count = _commonest(counts.dropped)
        raise InputError(f"ingest.filters: leave out all {counts.dropped.total()} samples, {count} of them for: {reason}")
    if not total:
        raise InputError("ingest.source: has no samples")
    if written == duplicates.total() or refused / total > limit:
        reason, count = _commonest(faults)
        raise InputError(
            f"ingest.max_refused = {limit}: {refused} of {total} samples were refused ({refused / total:.1%}), "
            f"{count} of them for: {reason}; all are listed in {CORPUS / REFUSED}"
        )


def _commonest(reasons: Counter[str]) -> tuple[str, int]:
    return min(reasons.items(), key=lambda item: (-item[1], item[0]))


def _write_cases(params: Params) -> None:
    """Write the held-out edits of the embedded world; for other sources, a note on how to get some."""
    source = params.ingest.source
    for split, folder in CASES.items():
        if isinstance(source, OpenMojiSource):
            (folder / "README.txt").unlink(missing_ok=True)
            count = source.cases if split == "evaluation" else source.cases // 2  # half suffices to choose settings
            _write_world_cases(split, count, folder, params)
        else:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            (folder / "README.txt").write_text(NO_CASES, encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class CaseWorker:
    """Draws held-out edits of the embedded world."""

    seed: int
    split: CaseSplit
    size: int  # side of the pictures in pixels

    def load(self) -> Work:
        """Return the function that makes shards."""
        return self._make

    def _make(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        return ShardResult(done=write_edits(files.output, self._samples(range(*task.settings["cases"]), advance)))

    def _samples(self, cases: range, advance: Advance) -> Iterator[EditSample]:
        for index in cases:
            yield render_case(self.seed, index, self.split, self.size)
            advance(1)


def _write_world_cases(split: CaseSplit, count: int, folder: Path, params: Params) -> None:
    shards = [(start, min(start + params.ingest.shard_size, count)) for start in range(0, count, params.ingest.shard_size)]
    tasks = [
        ShardTask(name=f"{number:05d}", inputs=(), samples=end - start, settings={"cases": [start, end]})
        for number, (start, end) in enumerate(shards)
    ]
    worker = CaseWorker(seed=params.seed, split=split, size=params.ingest.size)
    map_shards(
        stage=f"ingest-{split}",
        tasks=tasks,
        folder=folder,
        suffixes=(".tar",),
        settings={"split": split, "seed": params.seed, "size": params.ingest.size, "code": source_digest(__file__)},
        worker=worker,
        execution=params.execution,
    ).report()
