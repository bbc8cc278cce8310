"""What a night's data look like, as numbers: how much was dropped and why, scores, masks, words, targets, and speed.

Only the records beside the shards and columns of their tables are read, no pictures. Memory holds one column at a time. Of a
large corpus it holds about a million values, from rows at equal distances, and the quantiles are of these.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.common.parquet import read_columns
from stages.core.files import read_json, value_digest
from stages.core.paths import CAPTIONS, CORPUS, EDITS, LOGS, MASKS, PAIRS, TRAINING_SET
from stages.core.shards import count_samples, list_shards, read_counts, shard_totals
from stages.corpus.duplicates import REASONS as DUPLICATES
from stages.corpus.filters import PREFIX as FILTERS
from stages.corpus.shard import PLACE_DIGITS
from stages.pairing.columns import SCORES

SUFFIX = ".parquet"
FOLDERS = {"caption": CAPTIONS, "mutate": EDITS, "retrieve": PAIRS, "masks": MASKS, "segment": TRAINING_SET}
"""The name of a stage's counts → the folder of what it has made, for every stage after ingest."""
LATER = ("train", "instruct", "evaluate")  # stages after the training set
HELD = 1_000_000  # values in memory
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
NOT_ALLOWED = re.compile(r"[^\w. -]")  # in a part of a metric's name in MLflow

Night = dict[str, float]
"""Name → value. The part before the first slash is the kind: counts, shares, relations, scores, areas, words, uses or speed."""


def measure_night() -> Night:
    """Return what the data of all stages up to the training set look like now, and how fast they were made.

    A share is of the samples that reached the stage, that of a relation of the edits.

    Raises:
        InputError: a stage has not run to its end, or what it wrote is damaged.
    """
    night = _of_source()
    for stage, folder in FOLDERS.items():
        night |= _of_stage(stage, *shard_totals(folder))
    for name, values in read_values():
        night |= quantiles(name, values)
    relations = read_column(EDITS, "relation", "string")
    found = ((str(each["values"]), each["counts"].as_py()) for each in pc.value_counts(relations))
    night |= {f"relations/{NOT_ALLOWED.sub('_', relation)}": count / len(relations) for relation, count in found}
    return night | measure_speeds()


def read_values() -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the values whose distributions are watched, one kind at a time, by the name of their numbers."""
    for score in SCORES:
        yield f"scores/{score}", read_column(PAIRS, score, "float32").to_numpy()
    for picture in ("source", "target"):
        yield f"areas/{picture}", read_column(TRAINING_SET, f"{picture}_mask_area", "float64").to_numpy()
    words = pc.list_value_length(pc.utf8_split_whitespace(read_column(CAPTIONS, "caption", "string")))
    yield "words", words.to_numpy()
    yield "uses", _count_uses()


def data_digest(night: Night) -> str:
    """Return a digest of what data look like: of all numbers but the speeds."""
    return value_digest({name: value for name, value in night.items() if not name.startswith("speed/")})


def _of_source() -> Night:
    """Return how many samples the filters let through, and which shares of them were refused and are duplicates.

    As for ``ingest.max_refused``, what a filter leaves out is not the source's fault. It is a share of all samples.
    """
    written, _ = shard_totals(CORPUS)
    dropped = read_counts(CORPUS)["ingest"]
    duplicates = sum(dropped.get(reason, 0) for reason in DUPLICATES)
    filtered = sum(count for reason, count in dropped.items() if reason.startswith(FILTERS))
    refused = sum(dropped.values()) - duplicates - filtered
    samples = written + refused
    return {
        "counts/source": samples,
        "counts/refused": refused,
        "shares/ingest/refused": refused / samples,
        "shares/ingest/duplicates": duplicates / samples,
    } | ({"shares/ingest/filtered": filtered / (samples + filtered)} if filtered else {})


def _of_stage(stage: str, written: int, dropped: Counter[str]) -> Night:
    reached = max(written + dropped.total(), 1)
    reasons = {f"shares/{stage}/{NOT_ALLOWED.sub('_', reason)}": count / reached for reason, count in dropped.items()}
    return {f"counts/{stage}": written, f"shares/{stage}/dropped": dropped.total() / reached} | reasons


def read_column(folder: Path, name: str, kind: str) -> pa.ChunkedArray:
    """Return a column of all tables of a folder: every row, or as many at equal distances as are at most HELD."""
    shards = list_shards(folder, SUFFIX)
    stride = max(1, math.ceil(sum(count_samples(path, SUFFIX) for path in shards) / HELD))
    chunks, rows = [], 0
    for path in shards:
        column = read_columns(path, {name: kind})[name]
        chunks += column.take(pa.array(range(-rows % stride, len(column), stride), "int64")).chunks
        rows += len(column)
    return pa.chunked_array(chunks, kind)


def _count_uses() -> NDArray[np.int64]:
    """Return how often each picture that is a target is one, (targets,)."""
    uses: NDArray[np.int64] = pc.value_counts(_target_keys()).field("counts").to_numpy()
    return uses


def _target_keys() -> pa.ChunkedArray:
    """Return the target's key of every pair; of more than HELD, of those whose target has a place divisible by 10, 100 or more.

    Rows at equal distances would not show how often a target is used.
    """
    shards = list_shards(PAIRS, SUFFIX)
    zeros = max(0, math.ceil(math.log10(max(1, sum(count_samples(path, SUFFIX) for path in shards)) / HELD)))
    chunks = []
    for path in shards:
        keys = read_columns(path, {"target_key": "string"})["target_key"]
        chunks += keys.filter(pc.ends_with(keys, "0" * min(zeros, PLACE_DIGITS))).chunks
    return pa.chunked_array(chunks, "string")


def quantiles(name: str, values: NDArray[Any]) -> Night:
    """Return the QUANTILES of values (n,), each under the name and its own; none of no values."""
    if not len(values):
        return {}
    found = np.quantile(values, list(QUANTILES.values()))
    return {f"{name}/{label}": float(value) for label, value in zip(QUANTILES, found, strict=True)}


def measure_speeds() -> Night:
    """Return the speed of every stage that has made samples since ingest ended, from the counts that stages leave in logs/.

    It is in samples a second with the loading of models: of a training in pairs, of the evaluation in edits.
    """
    found = {}
    night = (LOGS / "ingest.json").stat().st_mtime
    for stage in ("ingest", *FOLDERS, *LATER):
        path = LOGS / f"{stage}.json"
        if path.is_file() and path.stat().st_mtime >= night:
            counts = read_json(path)
            if counts["done"] and counts.get("seconds"):
                found[f"speed/{stage}"] = counts["done"] / counts["seconds"]
    return found
