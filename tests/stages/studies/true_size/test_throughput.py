"""Throughputs with tiny models, here on a processor: every figure of every table is measured."""

import re

import pytest

from stages.core.paths import CORPUS, TRAINING_SET
from stages.studies import benchmark
from stages.studies.true_size import throughput
from stages.studies.true_size.throughput import throughput_lines
from tests.support.compared import copy_trained_models
from tests.support.tiny_corpus import params_for
from tests.support.training import write_pictures, write_training_set

HALVES = ("fp16", "bf16")


def test_every_figure_is_measured(models, workplace, monkeypatch):
    monkeypatch.setattr(throughput, "ROUNDS", 1)
    for name in ("WARMING", "TIMED"):
        monkeypatch.setattr(benchmark, name, 1)
    write_pictures(CORPUS)
    write_training_set(TRAINING_SET, {"00000": [0, 1, 2]})
    copy_trained_models(models)
    types, load = [], throughput.load_clip
    monkeypatch.setattr(throughput, "load_clip", lambda model: types.append(model.precision) or load(model))
    tables = "\n".join(throughput_lines(params_for(models, train={"accumulation": 1}))).split("\n\n")
    networks, steps, edits = ([line.strip("| ").split(" | ") for line in table.splitlines()[2:]] for table in tables)
    assert [row[:2] for row in networks] == [
        [stage, precision] for precision in ("fp32", *HALVES) for stage in ("caption", "embed", "segment")
    ]
    assert [row[0] for row in steps] == ["no", "tf32", *HALVES]
    assert [row[:2] for row in edits] == [[precision, images] for precision in ("fp32", *HALVES) for images in ("1", "4")]
    assert types == ["fp32", *HALVES, "fp32"]  # the last for the steps
    figures = [*(row[2] for row in networks), *(row[1] for row in steps), *(row[4] for row in edits)]
    assert min(map(float, figures)) > 0
    assert all(re.fullmatch(r"\d+\.\d\d s", cell) for row in edits for cell in row[2:4])


def test_a_rate_is_pictures_by_seconds(monkeypatch):
    seen = []
    monkeypatch.setattr(throughput, "_seconds", lambda work: work() or 0.5)
    assert throughput._rate(["one", "two", "three"], 5, seen.append) == pytest.approx(10)
    assert seen == [["one", "two", "three", "one", "two"]] * (throughput.ROUNDS + 1)
