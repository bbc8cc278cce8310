"""The numbers of a night, from tables and records written by hand."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stages.__main__ import STAGES
from stages.common.parquet import write_table
from stages.core.errors import InputError
from stages.core.files import write_json
from stages.core.paths import CAPTIONS, CORPUS, EDITS, LOGS, MASKS, PAIRS, TRAINING_SET
from stages.core.sidecars import Sidecar
from stages.pairing.columns import SCORES
from stages.report import night as nights
from stages.report.night import data_digest, measure_night, measure_speeds

AREAS = ("source_mask_area", "target_mask_area")
Rows = Sequence[dict[str, object]]


def write_shard(folder: Path, name: str, rows: Rows, columns: Mapping[str, str], dropped: Mapping[str, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / f"{name}.parquet", list(rows), columns)
    sidecar = Sidecar(fingerprint="", settings="of this run", digests=[""], done=len(rows), dropped=dict(dropped), notes=[])
    write_json(folder / f"{name}.done.json", sidecar.model_dump())


def write_counts(stage: str, done: int, seconds: float, at: int) -> None:
    write_json(LOGS / f"{stage}.json", {"done": done, "seconds": seconds})
    os.utime(LOGS / f"{stage}.json", (at, at))


@pytest.fixture
def data(workplace):
    """Two shards of captions and pairs; of 10 samples 2 were refused and 1 is a duplicate."""
    key = {"key": "string"}
    write_shard(CORPUS, "a", [{"key": "0"}] * 8, key, {"not an image (PNG, …)": 2})
    write_json(CORPUS / "counts.json", {"ingest": {"not an image (PNG, …)": 2, "duplicate": 1}})
    caption = {"caption": "string"}
    write_shard(CAPTIONS, "a", [{"caption": "a cat"}] * 3, caption, {"empty caption": 1})
    write_shard(CAPTIONS, "b", [{"caption": "a  cat on\ta mat"}] * 3, caption, {})
    relations = ["colour"] * 4 + ["co-hyponym"] * 2
    write_shard(EDITS, "a", [{"relation": each} for each in relations], {"relation": "string"}, {})
    pair = {"target_key": "string"} | dict.fromkeys(SCORES, "float32")
    for name, target in (("a", "x"), ("b", "y")):
        rows = [{"target_key": target} | dict.fromkeys(SCORES, score) for score in ([0.0, 0.5, 1.0] if name == "a" else [0.5])]
        write_shard(PAIRS, name, rows, pair, {"target / too unlike (source)": 1})
    write_shard(MASKS, "a", [{"key": "0"}] * 4, key, {})
    area = dict.fromkeys(AREAS, "float64")
    write_shard(TRAINING_SET, "a", [dict.fromkeys(AREAS, each) for each in (0.1, 0.2, 0.6)], area, {"target mask empty": 1})
    write_counts("ingest", 0, 3.0, at=100)
    write_counts("caption", 6, 3.0, at=110)
    write_counts("train", 6, 3.0, at=90)
    write_counts("mutate", 6, 3.0, at=90)  # by an earlier run


def test_a_night_has_shares_quantiles_and_speeds(data):
    night = measure_night()
    assert {name: value for name, value in night.items() if name.startswith(("counts", "shares", "relations", "speed"))} == {
        "relations/colour": 2 / 3,
        "relations/co-hyponym": 1 / 3,
        "counts/source": 10,
        "counts/refused": 2,
        "shares/ingest/refused": 0.2,
        "shares/ingest/duplicates": 0.1,
        "counts/caption": 6,
        "shares/caption/dropped": 1 / 7,
        "shares/caption/empty caption": 1 / 7,
        "counts/mutate": 6,
        "shares/mutate/dropped": 0,
        "counts/retrieve": 4,
        "shares/retrieve/dropped": 1 / 3,
        "shares/retrieve/target _ too unlike _source_": 1 / 3,
        "counts/masks": 4,
        "shares/masks/dropped": 0,
        "counts/segment": 3,
        "shares/segment/dropped": 1 / 4,
        "shares/segment/target mask empty": 1 / 4,
        "speed/caption": 2.0,
    }
    medians = {"scores/directional/p50": 0.5, "areas/target/p50": 0.2, "words/p10": 2, "words/p90": 5, "uses/p50": 2}
    assert {name: night[name] for name in medians} == medians


def test_what_filters_leave_out_is_not_refused(data):
    reasons = {"not an image (PNG, …)": 44, "ingest.filters.similarity: below 0.3": 6666}
    write_shard(CORPUS, "a", [{"key": "0"}] * 4400, {"key": "string"}, reasons)
    write_json(CORPUS / "counts.json", {"ingest": reasons})
    night = measure_night()
    assert (night["counts/source"], night["counts/refused"]) == (4444, 44)
    assert night["shares/ingest/filtered"] == pytest.approx(0.6)


def test_speeds_are_of_every_stage_once_it_has_ended(data):
    counted = [stage for stage in STAGES if stage not in ("ingest", "describe")]
    for number, stage in enumerate(counted, start=1):
        write_counts(stage, 6 * number, 3.0, at=200)
    assert measure_speeds() == {f"speed/{stage}": 2.0 * number for number, stage in enumerate(counted, start=1)}


def test_a_stage_that_has_not_run_is_named(data):
    (PAIRS / "a.done.json").unlink()
    (PAIRS / "b.done.json").unlink()
    with pytest.raises(InputError, match=r"data/pairs: no \.parquet shards"):
        measure_night()


def test_speeds_do_not_decide_the_digest_of_the_data(data):
    night = measure_night()
    digest = data_digest(night)
    assert data_digest(night | {"speed/caption": 3.0}) == digest
    assert data_digest(night | {"words/p50": 3.0}) != digest


def test_of_a_large_corpus_equally_distant_rows_are_measured(data, monkeypatch):
    areas = [number / 100 for number in range(100)]
    for name, rows in (("a", areas[:37]), ("b", areas[37:])):
        write_shard(TRAINING_SET, name, [dict.fromkeys(AREAS, each) for each in rows], dict.fromkeys(AREAS, "float64"), {})
    targets = [f"a{number:04d}" for number in range(100) for _ in range(1 + (number % 10 == 0))]
    pairs = {"target_key": "string"} | dict.fromkeys(SCORES, "float32")
    for name, keys in (("a", targets[:50]), ("b", targets[50:])):
        write_shard(PAIRS, name, [{"target_key": key} | dict.fromkeys(SCORES, 0.5) for key in keys], pairs, {})
    monkeypatch.setattr(nights, "HELD", 20)
    night = measure_night()
    assert night["areas/source/p50"] == pytest.approx(0.475)  # of 0, 0.05, …, 0.95
    assert (night["uses/p10"], night["uses/p90"]) == (2, 2)
