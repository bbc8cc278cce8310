"""The search: what it finds on surfaces whose best is known, where it stops, and that systems are treated alike."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from stages.studies.search import Ladder, best_point, is_inside, next_point, search, search_all, settings_at

PLANE = {"x": Ladder(values=tuple(range(9))), "y": Ladder(values=tuple(range(11)))}
SPACE = {"x": Ladder(values=tuple(range(6))), "y": Ladder(values=tuple(range(7))), "z": Ladder(values=tuple(range(5)))}
LINE = {"x": Ladder(values=(1.0,)), "y": Ladder(values=tuple(range(11)))}


def points(ladders):
    return list(product(*(range(len(ladder.values)) for ladder in ladders.values())))


def hill(top):
    """A criterion that is highest at ``top`` and falls from there."""
    return lambda settings: -float(np.square(np.subtract(list(settings.values()), top)).sum())


def neighbours(ladders, point):
    return [other for other in points(ladders) if np.abs(np.subtract(other, point)).sum() == 1]


@pytest.mark.parametrize("ladders", [PLANE, SPACE], ids=["plane", "space"])
def test_the_top_is_found_wherever_it_is(ladders):
    for top in points(ladders):
        tried = {}
        search(ladders, hill(top), 1, tried)
        assert best_point(tried) == top
        assert set(neighbours(ladders, top)) <= tried.keys()


def test_only_a_best_with_all_neighbours_tried_satisfies():
    rng = np.random.default_rng(0)
    every, found = points(PLANE), Counter()
    for _ in range(500):
        tried = {point: rng.random() for point in every if rng.random() < 0.8}
        inside = all(other in tried for other in neighbours(PLANE, max(tried, key=tried.get)))
        assert is_inside(PLANE, tried) == inside
        found[inside] += 1
    assert min(found[True], found[False]) > 50


def test_a_rising_surface_is_followed_to_the_ends():
    tried = {}
    search(PLANE, lambda settings: settings["x"] + settings["y"], 1, tried)
    best = settings_at(PLANE, best_point(tried))
    assert best == {"x": 8, "y": 10}
    assert all(ladder.end(best[name]) for name, ladder in PLANE.items())
    del tried[7, 10]
    assert not is_inside(PLANE, tried)


def test_ends_are_named_unless_a_value_is_the_only_one():
    ladder = Ladder(values=(0.0, 0.5, 1.0), low="none", high="all")
    assert [ladder.end(value) for value in ladder.values] == ["none", "", "all"]
    assert Ladder(values=(1.0,), low="none", high="all").end(1.0) == ""


def test_the_next_is_the_nearest_to_the_best():
    assert next_point(PLANE, {}) == (4, 5)
    rng = np.random.default_rng(1)
    tried = {point: rng.random() for point in points(PLANE) if rng.random() < 0.5}
    best = max(tried, key=tried.get)
    distances = {point: np.linalg.norm(np.subtract(point, best)) for point in points(PLANE) if point not in tried}
    assert distances[next_point(PLANE, tried)] == min(distances.values())
    assert next_point(PLANE, dict.fromkeys(points(PLANE), 0.0)) is None


def test_all_systems_get_as_many_trials_as_one_needs():
    tops = {"near": (4, 5), "far": (8, 10), "line": (1, 10), "space": (0, 0, 0)}
    ladders = {"near": PLANE, "far": PLANE, "line": LINE, "space": SPACE}
    calls = Counter()

    def criterion(system, settings):
        calls[system, *settings.values()] += 1
        return hill(tops[system])(settings)

    alone = {system: {} for system in ladders}
    for system, tried in alone.items():
        search(ladders[system], hill(tops[system]), 9, tried)
    most = max(map(len, alone.values()))
    assert len(alone["near"]) == 9 < most
    counts = {system: len(tried) for system, tried in search_all(ladders, criterion, 9).items()}
    assert counts == {"near": most, "far": most, "line": 11, "space": most}
    assert set(calls.values()) == {1}


def test_surfaces_without_form_end_with_equal_counts():
    rng = np.random.default_rng(2)
    for _ in range(20):
        found = search_all({"one": PLANE, "other": SPACE, "line": LINE}, lambda *_: rng.random(), 20)
        assert len(found["one"]) == len(found["other"]) >= 20
        assert len(found["line"]) == 11
        assert is_inside(PLANE, found["one"])
        assert is_inside(SPACE, found["other"])


def test_no_more_is_asked_than_the_ladders_have():
    assert {len(tried) for tried in search_all({"line": LINE}, lambda *_: 0.0, 20).values()} == {11}
