"""What the corpus holds of the images of each table of pairs, as digests: found in one pass, whatever shards they are in.

Memory is flat however many pairs and images there are: questions and answers are sorted through buckets on disk.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stages.common.parquet import read_columns
from stages.core.errors import InputError
from stages.corpus.buckets import MOST, Buckets, Numbers
from stages.corpus.corpus import Corpus, CorpusRow
from stages.corpus.parts import printable
from stages.corpus.shard import MAX_SAMPLES, PLACE_DIGITS, key_of, shard_of

KEYS = {"key": "string", "target_key": "string"}
WIDTH = 16  # bytes of an image's digest: two numbers
TABLES = 64  # in a bucket, until there are MOST buckets


def digest_images(tables: Sequence[Path], corpus: Corpus) -> list[str]:
    """Return for each table of pairs a digest of pixels, alt texts and origins of its sources and targets.

    Every table is read once, and every index of the corpus that has some of their images.

    Raises:
        InputError: a table is damaged, or the corpus lacks an image.
    """
    if not tables:
        return []
    count = min(MOST, -(-len(tables) // TABLES))
    shards = corpus.shards()
    with TemporaryDirectory() as scratch:
        questions = Buckets(Path(scratch, "questions"), count, width=2)  # an image's number, and who asks
        starts = _ask(tables, {name: number for number, name in enumerate(shards)}, questions)
        answers = Buckets(Path(scratch, "answers"), count, width=3)  # who asks, and the image's digest
        for bucket in range(count):
            for found in _answer(questions.read(bucket), corpus, shards):
                answers.add(answers.of_runs(_table_of(found[:, 0], starts), len(tables)), found)
        return [digest for bucket in range(count) for digest in _digest_tables(answers, bucket, starts)]


def _ask(tables: Sequence[Path], shards: Mapping[str, int], questions: Buckets) -> Numbers:
    """Number the keys of all tables through, sources before targets in each, and write the number of the image of each key.

    Images are numbered ``shard * MAX_SAMPLES + place``. Returns the number of the first key of each table, and that of all
    keys at the end, (tables + 1,).
    """
    starts = [0]
    for table in tables:
        columns = read_columns(table, KEYS)
        keys = (key for name in KEYS for key in columns[name].to_pylist())
        images = np.array([_number(key, shards) for key in keys], np.uint64)
        starts.append(starts[-1] + len(images))
        of_shard = images.astype(np.int64) // MAX_SAMPLES
        questions.add(
            questions.of_runs(of_shard, len(shards)), np.column_stack([images, np.arange(*starts[-2:], dtype=np.uint64)])
        )
    return np.array(starts, np.uint64)


def _number(key: str, shards: Mapping[str, int]) -> int:
    shard, digits = shards.get(shard_of(key)), key[-PLACE_DIGITS:]
    if shard is None or not digits.isdecimal():
        raise _unknown(key)
    return shard * MAX_SAMPLES + int(digits)


def _answer(questions: Numbers, corpus: Corpus, shards: Sequence[str]) -> Iterator[Numbers]:
    """Yield for each shard of the corpus that is asked for the numbers of the keys, and the digests of their images, (n, 3)."""
    questions = questions[np.argsort(questions[:, 0], kind="stable")]
    of_shard = questions[:, 0].astype(np.int64) // MAX_SAMPLES
    for part in np.split(questions, np.flatnonzero(np.diff(of_shard)) + 1):
        if not len(part):
            continue
        name = shards[int(part[0, 0]) // MAX_SAMPLES]
        digests = {row.key: _digest(row) for row in corpus.rows(name)}
        keys = [key_of(name, image % MAX_SAMPLES) for image in part[:, 0].tolist()]
        missing = next((key for key in keys if key not in digests), None)
        if missing is not None:
            raise _unknown(missing)
        found = np.frombuffer(b"".join(digests[key] for key in keys), np.uint64)
        yield np.column_stack([part[:, 1], found.reshape(len(part), -1)])


def _digest_tables(answers: Buckets, bucket: int, starts: Numbers) -> Iterator[str]:
    """Yield the digests of the tables of a bucket, in order."""
    records = answers.read(bucket)
    records = records[np.argsort(records[:, 0], kind="stable")]
    run = answers.run(bucket, len(starts) - 1)
    inner = np.searchsorted(records[:, 0], starts[run.start + 1 : run.stop])
    for part in np.split(records, inner):
        yield hashlib.sha256(part[:, 1:].tobytes()).hexdigest()


def _table_of(keys: Numbers, starts: Numbers) -> np.ndarray:
    """Return the table that each key stands in, (n,)."""
    return np.searchsorted(starts, keys, side="right") - 1


def _digest(row: CorpusRow) -> bytes:
    text = f"{row.pixels}\0{row.alt_text}\0{row.facts}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=WIDTH).digest()


def _unknown(key: str) -> InputError:
    return InputError(f"the corpus has no image {printable(key)!r}; run the stages from ingest on")
