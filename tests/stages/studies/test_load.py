"""The study of the service under load, in short, with a tiny model; and that no hostile request is answered by 500."""

import json

import pytest
from PIL import Image

from stages.studies import load
from stages.studies.fuzz import draw_attempts
from stages.studies.load import Plan, study

PLAN = Plan(concurrency=(1, 4), edits=6, cheap=30, fuzzed=200, large=2)


def test_the_study_writes_its_figures(registered_project, tmp_path, monkeypatch):
    monkeypatch.chdir(registered_project)
    monkeypatch.setattr(load, "SIDE", 300)
    monkeypatch.setattr(load, "EDIT", {"prompt": "a red dog", "mask_mode": "none"})
    monkeypatch.setattr(load, "CHEAP", load.CHEAP | {"prompt": "a red dog"})
    study("models/iedit", PLAN, registered_project / "photo.png", tmp_path)
    found = json.loads((tmp_path / "serving.json").read_text())
    assert [(each["clients"], each["statuses"]) for each in found["rounds"]] == [(1, {"200": 6}), (4, {"200": 6})]
    assert all(0 < each["p50"] <= each["p99"] for each in found["rounds"])
    assert found["memory"]["statuses"] == {"200": 30}
    assert found["large"]["statuses"] == {"200": 2}
    assert found["fuzz"]["statuses"].get("500", 0) == 0
    assert sum(found["fuzz"]["statuses"].values()) == 200
    text = (tmp_path / "serving.md").read_text()
    assert text.startswith("| Clients | Edits | p50 | p99 | Edits/s | Errors | p99 of /health |")
    assert "200 hostile requests: 0 answers of 500" in text


def test_a_seed_draws_the_same_requests():
    first, second, other = (list(draw_attempts(seed, 50, Image.new("RGB", (8, 8)))) for seed in (0, 0, 1))
    assert first == second != other


def test_a_model_that_cannot_be_served_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["load", "--model", "nowhere"])
    with pytest.raises(SystemExit, match="error: iedit serve: it ended before it listened"):
        load.main()
