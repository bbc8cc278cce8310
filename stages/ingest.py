"""Ingest: decode, check, crop and hash the images of a source, drop duplicates, and write the corpus.

Reads a source: the embedded world, a folder, or tar files. Writes data/corpus and, for the embedded world, held-out edits
with true masks: data/validation to choose settings on, data/evaluation to compare systems on.
"""

import csv
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.core.params import CaseSplit, Ingest, OpenMojiSource, Params
from stages.core.paths import CORPUS, EVALUATION, HELD_OUT, VALIDATION
from stages.core.provenance import source_digest
from stages.core.shards import (
    SERIAL,
    SIDECAR_SUFFIX,
    Advance,
    InProcess,
    ShardFiles,
    ShardResult,
    ShardTask,
    StageCounts,
    map_shards,
    pass_on_counts,
    shard_notes,
)
from stages.corpus import images, sources
from stages.corpus.held_out import render_case
from stages.corpus.images import Refused
from stages.corpus.parts import MAX_SAMPLES, Part, RawSample
from stages.corpus.samples import CorpusSample, EditSample, read_metadata, write_corpus, write_edits

CASES: dict[CaseSplit, Path] = {"evaluation": EVALUATION, "validation": VALIDATION}
REFUSED = CORPUS / "refused.csv"

MAX_SHARDS = 100_000  # a shard's name has five digits
DUPLICATE = "duplicate"
NO_CASES = (
    "This source has no held-out cases. Set retrieve.held_out above 0, and evaluate.cases and evaluate.validation to "
    f"{HELD_OUT}; if both name that folder, its pairs are divided between them.\n"
)


def ingest(params: Params) -> None:
    """Write the corpus, the list of refused samples, and the held-out cases.

    Raises:
        InputError: the source cannot be read, has no usable sample, or has a larger share of refused samples than
            ``ingest.max_refused``.
    """
    counts = _write_corpus(params)
    _write_refused()
    counts.report()
    pass_on_counts(counts, CORPUS)
    _check_share(counts, params.ingest.max_refused)
    _write_cases(params)


def _write_corpus(params: Params) -> StageCounts:
    section = params.ingest
    parts = sources.list_parts(params)
    if len(parts) > MAX_SHARDS:
        raise InputError(f"ingest.source: {len(parts)} shards; at most {MAX_SHARDS} have a name, raise ingest.shard_size")
    tasks = [
        ShardTask(
            name=_name(shard),
            # Whether an image is a duplicate depends on all shards before. The previous sidecar stands for them,
            # because its fingerprint covers its own part and, in turn, the sidecar before it.
            inputs=(*part.inputs, *([CORPUS / (_name(shard - 1) + SIDECAR_SUFFIX)] if shard else [])),
            samples=part.samples,
            settings=part.settings,
        )
        for shard, part in enumerate(parts)
    ]
    settings = {
        **section.model_dump(include={"size", "min_side", "max_pixels"}),
        "source": section.source.kind,
        "code": source_digest(__file__),
    }
    return map_shards(
        stage="ingest",
        tasks=tasks,
        folder=CORPUS,
        suffixes=(".tar",),
        settings=settings,
        worker=InProcess(_CorpusMaker(section, parts).make),
        execution=SERIAL,
    )


def _name(shard: int) -> str:
    return f"{shard:05d}"


class _CorpusMaker:
    """Makes the shards of the corpus in order; the first of several images with the same pixels is kept."""

    def __init__(self, section: Ingest, parts: Sequence[Part]) -> None:
        self._section = section
        self._parts = parts
        self._seen: set[bytes] = set()  # pixel digests
        self._known = 0  # number of leading shards whose images are in ``_seen``

    def make(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write the shard of ``task``. All shards before it must be complete."""
        shard = int(task.name)
        for earlier in range(self._known, shard):  # these were reused
            self._seen.update(bytes.fromhex(facts["pixels"]) for facts in read_metadata(CORPUS / f"{_name(earlier)}.tar"))
        self._known = shard + 1
        result = ShardResult()
        result.done = write_corpus(files.output, self._samples(shard, result, advance))
        return result

    def _samples(self, shard: int, result: ShardResult, advance: Advance) -> Iterator[CorpusSample]:
        """Yield the samples to keep, and count the others in ``result``."""
        part = self._parts[shard]
        for index, raw in enumerate(part.read()):
            if index >= MAX_SAMPLES:
                raise InputError(f"{part.name}: more than {MAX_SAMPLES} samples in one part; split it")
            try:
                sample = self._admit(raw, f"{_name(shard)}{index:04d}")
            except Refused as reason:
                result.dropped[str(reason)] += 1
                result.notes.append({"origin": raw.origin, "reason": str(reason)})
            else:
                digest = bytes.fromhex(sample.metadata["pixels"])
                if digest in self._seen:
                    result.dropped[DUPLICATE] += 1
                else:
                    self._seen.add(digest)
                    yield sample
            advance(1)

    def _admit(self, raw: RawSample, key: str) -> CorpusSample:
        """Return the sample as it goes into the corpus.

        Raises:
            Refused: it has no alt text, or its picture cannot be used.
        """
        if isinstance(raw.picture, Refused):
            raise raw.picture
        if not raw.alt_text:
            raise Refused("no alt text")
        whole = images.load(raw.picture, max_pixels=self._section.max_pixels) if isinstance(raw.picture, bytes) else raw.picture
        image = images.fit(whole, size=self._section.size, min_side=self._section.min_side)
        metadata = {
            "origin": {"name": raw.origin} | raw.facts,
            "original_size": list(whole.size),
            "pixels": images.pixel_digest(image),
        }
        return CorpusSample(key=key, image=image, alt_text=raw.alt_text, metadata=metadata)


def _write_refused() -> None:
    with written_aside(REFUSED) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["origin", "reason"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(shard_notes(CORPUS))


def _check_share(counts: StageCounts, limit: float) -> None:
    kept = counts.done + counts.reused
    reasons = counts.dropped.copy()
    del reasons[DUPLICATE]  # a duplicate is not the source's fault
    refused, total = reasons.total(), kept + counts.dropped.total()
    if not total:
        raise InputError("ingest.source: has no samples")
    if not kept or refused / total > limit:
        reason, count = reasons.most_common(1)[0]
        raise InputError(
            f"ingest.max_refused = {limit}: {refused} of {total} samples were refused ({refused / total:.1%}), "
            f"{count} of them for: {reason}; all are listed in {REFUSED}"
        )


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


def _write_world_cases(split: CaseSplit, count: int, folder: Path, params: Params) -> None:
    section = params.ingest
    shards = [range(start, min(start + section.shard_size, count)) for start in range(0, count, section.shard_size)]

    def samples(shard: int, advance: Advance) -> Iterator[EditSample]:
        for index in shards[shard]:
            yield render_case(params.seed, index, split, section.size)
            advance(1)

    def work(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        return ShardResult(done=write_edits(files.output, samples(int(task.name), advance)))

    tasks = [
        ShardTask(name=_name(shard), inputs=(), samples=len(cases), settings={"cases": [cases.start, cases.stop]})
        for shard, cases in enumerate(shards)
    ]
    settings = {"split": split, "seed": params.seed, "size": section.size, "code": source_digest(__file__)}
    stage = f"ingest-{split}"
    map_shards(
        stage=stage,
        tasks=tasks,
        folder=folder,
        suffixes=(".tar",),
        settings=settings,
        worker=InProcess(work),
        execution=SERIAL,
    ).report()
