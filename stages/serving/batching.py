"""One thread that runs the model, and edits together what waits for it."""

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from threading import Event
from typing import TypeVar

from PIL import Image

from stages.editing.editor import Editor
from stages.editing.job import EditJob, Plan, Progress, Result
from stages.editing.results import MAX_ROWS

WAIT = 0.01  # seconds that a request waits for company
Answer = TypeVar("Answer")
Previews = Callable[[], list[Image.Image]]
OnStep = Callable[[int, int, Previews], object]
"""(steps done, steps in all, what the results look like now) → anything; called in the thread of the model."""

logger = logging.getLogger(__name__)


class GivenUpError(Exception):
    """Nobody wants the work any more."""


@dataclass(frozen=True, kw_only=True)
class Edited:
    """The results of a request."""

    result: Result
    batch: int | None  # pictures made together, its company's included; None for all but one of them, so that each counts once


@dataclass(eq=False)
class Request:
    """A request to the model: its answer, and whether anybody waits for it."""

    job: EditJob
    on_step: OnStep
    answer: Future[Edited] = field(default_factory=Future)
    given_up: Event = field(default_factory=Event)

    def report(self, step: int, of: int, previews: Previews) -> None:
        """Report a step of the work to whoever waits."""
        if not self.given_up.is_set():
            self.on_step(step, of, previews)


class Batcher:
    """Runs a model in one thread of its own.

    Requests of the same sizes, settings and source of the mask are denoised in one batch: those that have come while the
    model was busy, or within WAIT seconds. The oldest request is always among them.
    """

    def __init__(self, editor: Editor, *, wait: float = WAIT, most: int = MAX_ROWS) -> None:
        """Start the thread.

        Args:
            editor: the model.
            wait: seconds that a request waits for company when the model has nothing to do.
            most: pictures in a batch; a single request may have more.
        """
        self._editor, self._wait, self._most = editor, wait, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._arrived: deque[Request] = deque()
        self._planned: list[tuple[Request, Plan]] = []  # touched by the thread alone

    def submit(self, job: EditJob, on_step: OnStep) -> Request:
        """Return at once a request that will be answered."""
        request = Request(job, on_step)
        self._arrived.append(request)
        self._thread.submit(self._edit_next)
        return request

    def call(self, function: Callable[[Editor], Answer]) -> Future[Answer]:
        """Return at once the future result of a function that uses the model."""
        return self._thread.submit(function, self._editor)

    def _edit_next(self) -> None:
        """Edit the oldest request and its company; do nothing if it was in the company of another one."""
        if not self._arrived and not self._planned:
            return
        if len(self._arrived) + len(self._planned) == 1:
            time.sleep(self._wait)
        self._plan_arrived()
        self._planned = [each for each in self._planned if not _is_left(each[0])]
        if batch := self._take_batch():
            self._edit(batch)

    def _edit(self, batch: list[tuple[Request, Plan]]) -> None:
        """Edit a batch; if it fails, edit each of its requests alone, so that one does not fail for another.

        Then the steps that their clients are shown begin again at the first.
        """
        try:
            results = self._editor.edit_many([plan for _, plan in batch], partial(_report, [request for request, _ in batch]))
        except Exception as error:  # whoever waits decides what to make of it
            if len(batch) == 1 or isinstance(error, GivenUpError):
                for request, _ in batch:
                    request.answer.set_exception(error)
                return
            logger.warning("a batch of %d requests failed: each is edited alone", len(batch), exc_info=error)
            for each in batch:
                if not _is_left(each[0]):
                    self._edit([each])
            return
        pictures = sum(len(result.images) for result in results)
        counted = next((request for request, _ in batch if not request.given_up.is_set()), None)
        for (request, _), result in zip(batch, results, strict=True):
            request.answer.set_result(Edited(result=result, batch=pictures if request is counted else None))

    def _plan_arrived(self) -> None:
        while self._arrived:
            request = self._arrived.popleft()
            if _is_left(request):
                continue
            try:
                self._planned.append((request, self._editor.plan(request.job)))
            except Exception as error:  # noqa: BLE001 - the same
                request.answer.set_exception(error)

    def _take_batch(self) -> list[tuple[Request, Plan]]:
        batch: list[tuple[Request, Plan]] = []
        rows = 0
        for request, plan in list(self._planned):
            own = len(plan.regions) * plan.job.images
            if not batch or (plan.key == batch[0][1].key and rows + own <= self._most):
                batch.append((request, plan))
                self._planned.remove((request, plan))
                rows += own
        return batch


def _is_left(request: Request) -> bool:
    """Return whether nobody waits for a request any more, whose answer then says so."""
    if request.given_up.is_set():
        request.answer.set_exception(GivenUpError())
        return True
    return False


def _report(requests: list[Request], progress: Progress) -> None:
    """Report a step to all requests of a batch.

    Raises:
        GivenUpError: nobody waits for any of them.
    """
    if all(request.given_up.is_set() for request in requests):
        raise GivenUpError
    shown = cache(progress.previews)  # one decoding for all that ask
    for number, request in enumerate(requests):
        request.report(progress.step, progress.of, partial(_one_of, shown, number))


def _one_of(previews: Callable[[], list[list[Image.Image]]], number: int) -> list[Image.Image]:
    return previews()[number]
