"""Small corpora as ingest leaves them: tars with their indexes, sidecars, and the table of duplicates."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from stages.core.shards import ShardFiles, ShardResult, ShardTask, StageCounts
from stages.corpus.corpus import CorpusRow
from stages.corpus.duplicates import write_duplicates
from stages.corpus.shard import CorpusSample, Encoding, key_of, write_corpus
from stages.pairing.training_set import PairRow
from tests.support.shards import map_in_process

PNG = Encoding(format="png")


def corpus_sample(shard: str, place: int, picture: Image.Image, alt_text: str | None = None, **origin: object) -> CorpusSample:
    """A sample whose text and origin name its place, unless others are given."""
    return CorpusSample(
        key=key_of(shard, place),
        image=picture,
        alt_text=f"text {place}" if alt_text is None else alt_text,
        origin={"name": f"{shard}/{place}"} | origin,
        original_size=picture.size,
    )


def corpus_samples(shard: str, pictures: Sequence[Image.Image]) -> list[CorpusSample]:
    return [corpus_sample(shard, place, picture) for place, picture in enumerate(pictures)]


def write_shards_of(
    folder: Path, shards: Mapping[str, Sequence[CorpusSample]], near: int | None = None, encoding: Encoding = PNG
) -> StageCounts:
    """Write a whole corpus of these samples, and return the counts with the duplicates."""

    def work(task: ShardTask, files: ShardFiles, _: object) -> ShardResult:
        return ShardResult(done=write_corpus(*files.outputs, shards[task.name], encoding))

    tasks = [
        ShardTask(name=name, inputs=(), samples=len(samples), settings={"samples": list(map(_facts, samples))})
        for name, samples in shards.items()
    ]
    folder = folder.absolute()
    with TemporaryDirectory() as elsewhere, chdir(elsewhere):  # whose logs/ no test in another process clears up
        counts = map_in_process(work, tasks, folder, (".tar", ".parquet"))
        counts.dropped.update(write_duplicates(folder, sorted(shards), near))
    return counts


def _facts(sample: CorpusSample) -> list[object]:
    return [sample.key, sample.image.tobytes().hex(), sample.alt_text, sample.origin]


def write_corpus_of(
    folder: Path, shards: Mapping[str, Sequence[Image.Image]], near: int | None = None, encoding: Encoding = PNG
) -> dict[str, int]:
    """Write a corpus of the pictures in each shard, and return the numbers of its duplicates by reason."""
    samples = {shard: corpus_samples(shard, pictures) for shard, pictures in shards.items()}
    return dict(write_shards_of(folder, samples, near, encoding).dropped)


def located(row: PairRow, pictures: Iterable[CorpusRow]) -> PairRow:
    """Return a row of a training set with the places of its pictures, which are among ``pictures``."""
    found = {picture.key: picture for picture in pictures}
    source, target = found[row.key], found[row.target_key]
    places = {"source_offset": source.offset, "source_length": source.length}
    return replace(row, **places, target_offset=target.offset, target_length=target.length)
