"""The made benchmark: in PIE-Bench's format, from held-out combinations, the same every time."""

import numpy as np
import pytest

from stages.benchmarks import made
from stages.benchmarks.made import DRAWS, write_made_benchmark
from stages.benchmarks.pie_bench import KINDS, read_pie_bench
from stages.core.files import folder_digest
from stages.corpus import world
from stages.corpus.scenery import SCENERIES

PLACES = {phrase: name for name, (phrase, _) in SCENERIES.items()}
HELD_OUT = world.combinations(held_out=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "benchmark"
    write_made_benchmark(path, 24, size=64, seed=0)
    return path


@pytest.fixture(scope="module")
def cases(folder):
    return read_pie_bench(folder)


def combination(prompt: str) -> tuple[str, str] | None:
    """The (noun, scenery) that a prompt names; None if it names a place alone."""
    place = next(phrase for phrase in PLACES if prompt.endswith(phrase))
    words = prompt.removesuffix(place).split()
    return (words[-1], PLACES[place]) if words else None


def test_equal_arguments_give_equal_bytes_and_other_seeds_do_not(folder, tmp_path):
    for name, seed in (("again", 0), ("other", 1)):
        write_made_benchmark(tmp_path / name, 24, size=64, seed=seed)
    assert folder_digest(tmp_path / "again") == folder_digest(folder)
    assert folder_digest(tmp_path / "other") != folder_digest(folder)


def test_kinds_take_turns_and_a_longer_benchmark_begins_alike(folder, cases, tmp_path):
    assert [case.kind for case in cases] == [KINDS[kind] for kind in DRAWS] * 4
    write_made_benchmark(tmp_path / "short", 6, size=64, seed=0)
    for short, case in zip(read_pie_bench(tmp_path / "short"), cases, strict=False):
        assert (short.key, short.prompt, short.source().tobytes()) == (case.key, case.prompt, case.source().tobytes())


def test_no_training_sees_a_combination_of_source_or_target(cases):
    found = {combination(prompt) for case in cases for prompt in (case.source_prompt, case.prompt)} - {None}
    assert len(found) > 10
    assert found <= set(HELD_OUT)


def test_splits_share_no_combination(cases, tmp_path):
    write_made_benchmark(tmp_path / "validation", 24, size=64, seed=0, split="validation")
    theirs = {combination(each.prompt) for each in read_pie_bench(tmp_path / "validation")} - {None}
    assert theirs
    assert theirs.isdisjoint({combination(case.prompt) for case in cases})


@pytest.mark.parametrize("kind", [KINDS[kind] for kind in DRAWS])
def test_prompts_say_what_the_kind_changes(cases, kind):
    for case in (case for case in cases if case.kind == kind):
        before, after = combination(case.source_prompt), combination(case.prompt)
        match kind:
            case "change object":
                assert before[1] == after[1]
                assert (before[0], after[0]) == (case.source_term, case.term)
            case "add object":
                assert before is None
                assert after is not None
            case "delete object":
                assert (after, case.term) == (None, "")
            case "change content" | "change colour":
                assert before == after
                assert case.source_term != case.term
            case "change background":
                assert before[0] == after[0]
                assert (PLACES[case.source_term], PLACES[case.term]) == (before[1], after[1])


@pytest.mark.parametrize("kind", DRAWS)
def test_true_target_differs_from_the_source_inside_the_mask_alone(kind):
    for index in range(3):
        edit, shown = made._draw(kind, index, 0, "evaluation")
        source, mask = made._picture_and_mask(kind, edit, shown, 64)
        differs = np.abs(np.asarray(source, int) - np.asarray(made._render(edit.target, shown, 64), int)).max(axis=-1)
        edge = 128 if KINDS[kind] == "change background" else 0  # where the thing covers at least half of a pixel
        assert (differs[~mask] <= edge).all()
        assert (differs[mask] > 0).any()
        assert 0.02 < mask.mean() < 0.98
