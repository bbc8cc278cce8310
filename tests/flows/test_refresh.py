"""The nightly flow, called as a function; tests/ops runs it on servers."""

from pathlib import Path

import pytest

from flows import refresh
from stages.core import composition
from stages.core.errors import InputError
from tests.support.composed import copy_conf

DATA = ["ingest", "segment"]


@pytest.fixture
def done(monkeypatch) -> list[tuple[object, ...]]:
    """The steps of the flow, in their order."""
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(refresh, "check_composed", lambda: None)
    monkeypatch.setattr(refresh, "put_aside_damaged_record", lambda: None)
    monkeypatch.setattr(refresh, "grow_corpus", lambda images: done.append(("grow", images)))
    monkeypatch.setattr(refresh, "check_upkeep", lambda return_state: done.append(("upkeep",)))
    monkeypatch.setattr(refresh, "champion_version", lambda: "3")
    monkeypatch.setattr(refresh, "download_pictures", lambda: done.append(("download",)))
    monkeypatch.setattr(refresh, "stages_in_order", lambda targets=(): DATA if targets == ["describe"] else [*DATA, "train"])
    monkeypatch.setattr(refresh, "check_data", lambda accept: done.append(("check", accept)))
    monkeypatch.setattr(refresh, "log_speeds", lambda return_state: done.append(("speeds",)))
    monkeypatch.setattr(refresh, "publish_decision", lambda before: done.append(("decision against", before)))
    monkeypatch.setattr(refresh, "push_data", lambda: done.append(("push",)))
    monkeypatch.setattr(refresh, "prune", lambda return_state=False: done.append(("prune",)))
    monkeypatch.setattr(refresh, "run_stages", lambda names, forced: done.append(("run", names, forced)))
    monkeypatch.setattr(refresh, "publish_results", lambda: done.append(("publish",)))
    return done


@pytest.mark.parametrize("images", [None, 7000])
def test_it_grows_checks_trains_decides_pushes_and_prunes(done, images):
    refresh.refresh.fn(images)
    ran = [("upkeep",), ("prune",), ("download",), ("run", DATA, ["ingest"]), ("check", False), ("run", ["train"], ["ingest"])]
    ended = [("publish",), ("decision against", "3"), ("push",), ("speeds",), ("prune",)]
    assert done == ([] if images is None else [("grow", 7000)]) + ran + ended


def test_nothing_is_trained_on_data_that_have_drifted(done, monkeypatch):
    def refuse(accept: bool) -> None:
        raise InputError("drift.max_ratio = 2.0: words/p50 is 13, the median of 3 nights is 6")

    monkeypatch.setattr(refresh, "check_data", refuse)
    with pytest.raises(InputError, match="words/p50"):
        refresh.refresh.fn()
    assert done[1:] == [("prune",), ("download",), ("run", DATA, ["ingest"])]


def test_without_a_champion_the_model_is_registered(done, monkeypatch):
    monkeypatch.setattr(refresh, "champion_version", lambda: None)
    refresh.refresh.fn()
    assert ("run", ["train"], ["ingest", "evaluate"]) in done


def test_nothing_runs_if_the_corpus_cannot_grow(done, monkeypatch):
    def refuse(images: int) -> None:
        raise InputError(f"images = {images}: the corpus has 6000, a refresh only adds to it")

    monkeypatch.setattr(refresh, "grow_corpus", refuse)
    with pytest.raises(InputError, match="images = 5"):
        refresh.refresh.fn(5)
    assert done == []


def test_nothing_runs_with_values_that_conf_does_not_hold(done, monkeypatch, tmp_path):
    """As after an upgrade that was killed; nor is a value discarded that was written into params.yaml alone."""
    monkeypatch.setattr(refresh, "check_composed", composition.check_composed)
    monkeypatch.chdir(tmp_path)
    copy_conf(tmp_path)
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("steps: 400", "steps: 700"))
    with pytest.raises(InputError, match=r"^params\.yaml: train\.steps = 700, but conf composes to 400"):
        refresh.refresh.fn(7000)
    assert done == []
