"""The nightly flow, called as a function; tests/ops runs it on servers."""

import pytest

from flows import refresh
from stages.core.errors import InputError


@pytest.fixture
def done(monkeypatch) -> list[tuple[object, ...]]:
    """The steps of the flow, in their order."""
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(refresh, "grow_corpus", lambda images: done.append(("grow", images)))
    monkeypatch.setattr(refresh, "champion_version", lambda: "3")
    monkeypatch.setattr(refresh, "stages_in_order", lambda: ["ingest", "train"])
    monkeypatch.setattr(refresh, "publish_decision", lambda before: done.append(("decision against", before)))
    monkeypatch.setattr(refresh, "push_data", lambda: done.append(("push",)))
    monkeypatch.setattr(refresh, "prune", lambda keep: done.append(("prune", keep)))
    monkeypatch.setattr(refresh, "run_stages", lambda names, forced: done.append(("run", names, forced)))
    monkeypatch.setattr(refresh, "publish_results", lambda: done.append(("publish",)))
    return done


@pytest.mark.parametrize("images", [None, 7000])
def test_it_grows_runs_decides_pushes_and_prunes(done, images):
    refresh.refresh.fn(images)
    ran = [("run", ["ingest", "train"], ["ingest"]), ("publish",), ("decision against", "3"), ("push",), ("prune", 10)]
    assert done == ([] if images is None else [("grow", 7000)]) + ran


def test_without_a_champion_the_model_is_registered(done, monkeypatch):
    monkeypatch.setattr(refresh, "champion_version", lambda: None)
    refresh.refresh.fn()
    assert done[0] == ("run", ["ingest", "train"], ["ingest", "evaluate"])


def test_nothing_runs_if_the_corpus_cannot_grow(done, monkeypatch):
    def refuse(images: int) -> None:
        raise InputError(f"images = {images}: the corpus has 6000, a refresh only adds to it")

    monkeypatch.setattr(refresh, "grow_corpus", refuse)
    with pytest.raises(InputError, match="images = 5"):
        refresh.refresh.fn(5)
    assert done == []
