"""The thread that runs the model: what is edited together, and what is given up."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from threading import Event

import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.editing.job import EditJob, Plan, Result
from stages.editing.request import MaskMode
from stages.serving.batching import Batcher, GivenUpError, Request
from tests.support.editing_inputs import SAMPLING, half, photo, request
from tests.support.harness import PATIENCE

JOB = EditJob(request=request(), mask_mode=MaskMode.NONE, sampling=SAMPLING)


def ignore(*_: object) -> None:
    pass


@pytest.fixture
def batcher(editor) -> Batcher:
    return Batcher(editor, wait=0)


@pytest.fixture
def busy(batcher) -> Iterator[Event]:
    """The model has something to do until the event is set."""
    free = Event()
    batcher.call(lambda _: free.wait(PATIENCE))
    yield free
    free.set()


def pictures(asked: Request) -> list[bytes]:
    return [image.tobytes() for image in asked.answer.result(PATIENCE).result.images]


def company(*asked: Request) -> list[int | None]:
    return [each.answer.result(PATIENCE).batch for each in asked]


def test_what_waits_is_edited_together(batcher, busy, editor):
    jobs = [replace(JOB, seed=seed, request=request(image=photo(seed=seed))) for seed in range(3)]
    asked = [batcher.submit(job, ignore) for job in jobs]
    busy.set()
    assert company(*asked) == [3, None, None]
    assert len({pictures(each)[0] for each in asked}) == 3
    assert company(batcher.submit(JOB, ignore)) == [1]


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, sampling=SAMPLING.model_copy(update={"steps": 5})),
        replace(JOB, request=request(image=photo(64, 32))),
        replace(JOB, request=request(mask=half()), mask_mode=MaskMode.GIVEN),
    ],
    ids=["steps", "size", "mask"],
)
def test_what_does_not_fit_waits_for_its_turn(batcher, busy, other):
    asked = [batcher.submit(job, ignore) for job in (JOB, other, replace(JOB, seed=1))]
    busy.set()
    assert company(*asked) == [2, 1, None]


def test_a_batch_is_bounded(editor, monkeypatch):
    batcher = Batcher(editor, wait=0, most=4)
    free = Event()
    batcher.call(lambda _: free.wait(PATIENCE))
    asked = [batcher.submit(replace(JOB, images=images), ignore) for images in (2, 3, 2, 5)]
    free.set()
    assert company(*asked) == [4, 3, None, 5]
    assert [len(pictures(each)) for each in asked] == [2, 3, 2, 5]


def test_steps_are_reported_with_pictures(batcher):
    seen: list[tuple[int, int, list[Image.Image]]] = []
    asked = batcher.submit(replace(JOB, images=2), lambda step, of, previews: seen.append((step, of, previews())))
    pictures(asked)
    assert [each[:2] for each in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [[image.size for image in each[2]] for each in seen] == [[(32, 32)] * 2] * 3


def test_work_that_nobody_wants_ends_at_the_next_step(batcher):
    steps: list[int] = []

    def leave(step: int, *_: object) -> None:
        steps.append(step)
        asked.given_up.set()

    asked = batcher.submit(JOB, leave)
    with pytest.raises(GivenUpError):
        asked.answer.result(PATIENCE)
    assert steps == [1]
    assert pictures(batcher.submit(JOB, ignore))


def test_company_that_leaves_disturbs_nobody(batcher, busy):
    leaving = batcher.submit(JOB, lambda *_: leaving.given_up.set())
    staying = batcher.submit(JOB, ignore)
    gone = batcher.submit(JOB, ignore)
    gone.given_up.set()
    busy.set()
    assert company(staying) == [2]
    assert pictures(staying) == pictures(leaving)
    with pytest.raises(GivenUpError):
        gone.answer.result(PATIENCE)


def test_a_mistake_costs_its_own_request_alone(batcher, busy):
    wrong = batcher.submit(replace(JOB, request=request(prompt="a dog " * 100)), ignore)
    right = batcher.submit(JOB, ignore)
    busy.set()
    with pytest.raises(InputError, match="prompt: longer than the model reads"):
        wrong.answer.result(PATIENCE)
    assert company(right) == [1]


def test_a_failure_is_not_its_companys(batcher, busy, editor, monkeypatch):
    edit_many = type(editor).edit_many

    def edit(self, plans: list[Plan], *rest: object) -> list[Result]:
        if any(plan.job.seed == 13 for plan in plans):
            gone.given_up.set()
            raise OSError(5, "Input/output error")
        return edit_many(self, plans, *rest)

    monkeypatch.setattr(type(editor), "edit_many", edit)
    first, failing, gone, last = [batcher.submit(replace(JOB, seed=seed), ignore) for seed in (1, 13, 2, 3)]
    busy.set()
    with pytest.raises(OSError, match="Input/output error"):
        failing.answer.result(PATIENCE)
    with pytest.raises(GivenUpError):
        gone.answer.result(PATIENCE)
    assert company(first, last) == [1, 1]
    assert pictures(last) == pictures(batcher.submit(replace(JOB, seed=3), ignore))


def test_other_work_takes_its_turn(batcher, editor):
    found: Future[object] = batcher.call(lambda given: given)
    assert found.result(PATIENCE) is editor
