"""A run that is cancelled ends, also where Prefect misses it, and the next run begins when it has ended.

Prefect's worker ends a cancelled run within half a minute, but not if the server was away for that long before: then it has
given up looking. The server lets the next run begin before the cancelled one has ended. And an automation may act so late on
a crash that it starts a run again which was cancelled since.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from time import sleep
from typing import Any, NoReturn

from httpx import HTTPError
from prefect import get_client, get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkQueueFilter,
    WorkQueueFilterId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, PrefectException, TerminationSignal
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled

from flows.support.automations import AGAIN, NOT_BEGUN, RESUMES

WAITING = ("Late", "AwaitingConcurrencySlot")  # states that a run gets on its way, of the same type as a new start
LOOK_SECONDS = 60.0  # from one look at the state to the next: longer than Prefect takes to end a run
WAIT_SECONDS = 5.0


@contextmanager
def cancellable() -> Iterator[None]:
    """Run the block, all of a flow, unless the run had ended before it was started again; end it if it is cancelled.

    It begins when no other run of the same queue is being cancelled, which takes five minutes at most: then the server counts
    it as cancelled. Nothing is done for a flow that is called as a function, or that has no deployment.

    Raises:
        Abort: the run has ended.
    """
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if run is None or run.deployment_id is None:
        yield
        return
    client = get_client(sync_client=True)
    if (end := end_before_repeat(client.read_flow_run_states(run.id))) is not None:
        _end(client, run, end)
    ended, cancelled = Event(), Event()
    in_context = copy_context().run  # to which Prefect's settings belong
    Thread(target=in_context, args=[_watch, client, run, ended, cancelled], daemon=True).start()
    try:
        _wait_for_cancelled(client, run)
        yield
    except TerminationSignal:
        if not cancelled.is_set():
            raise
        _end(client, run, Cancelled(message="The run was cancelled, and had not been ended within a minute"))
    finally:
        ended.set()


def end_before_repeat(states: Sequence[State[Any]]) -> State[Any] | None:
    """Return the state in which a run had ended before an automation of ours started it again; None: it may run.

    A run that crashed may run again, and so may one that a person started again.

    Args:
        states: all states that the run has had.
    """
    ordered = sorted(states, key=lambda state: state.timestamp)
    starts = [place for place, state in enumerate(ordered) if _is_start(state)]
    if not starts or not _is_repeat(ordered[starts[-1]]):
        return None
    for state in reversed(ordered[: starts[-1]]):
        if state.is_running() or (_is_start(state) and not _is_repeat(state)):
            return None
        if state.is_cancelling():
            return Cancelled(message="The run was cancelled before it was started again")
        if state.is_final() and not state.is_crashed():
            return state
    return None


def _is_start(state: State[Any]) -> bool:
    return state.is_scheduled() and state.name not in WAITING


def _is_repeat(state: State[Any]) -> bool:
    return state.name == AGAIN and (state.message or "").startswith((RESUMES, NOT_BEGUN))


def _end(client: SyncPrefectClient, run: FlowRun, end: State[Any]) -> NoReturn:
    again: State[Any] = State(type=end.type, name=end.name, message=end.message)
    client.set_flow_run_state(run.id, again, force=True)
    raise Abort(f"{end.name}: {end.message}")


def _watch(client: SyncPrefectClient, run: FlowRun, ended: Event, cancelled: Event) -> None:
    """Interrupt this process if the run is cancelled and Prefect does not end it, until ``ended`` is set."""
    was_cancelled = False
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # a server that is away is asked again in the next look
        while not ended.wait(LOOK_SECONDS):
            try:
                state = client.read_flow_run(run.id).state
            except (HTTPError, PrefectException):
                continue
            is_cancelled = state is not None and (state.is_cancelling() or state.is_cancelled())
            if is_cancelled and was_cancelled:
                cancelled.set()
                os.kill(os.getpid(), signal.SIGTERM)  # Prefect raises it in the main thread
                return
            was_cancelled = is_cancelled


def _wait_for_cancelled(client: SyncPrefectClient, run: FlowRun) -> None:
    """Wait until every other run of the queue that is being cancelled has ended; the server does not count them."""
    if run.work_queue_id is None:
        return
    cancelling = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])))
    queue = WorkQueueFilter(id=WorkQueueFilterId(any_=[run.work_queue_id]))
    while True:
        found = client.read_flow_runs(flow_run_filter=cancelling, work_queue_filter=queue)
        others = [other.name for other in found if other.id != run.id and not _ends_waiting(client, other)]
        if not others:
            return
        get_run_logger().info("waiting for %s to end, which was cancelled", others[0])
        sleep(WAIT_SECONDS)


def _ends_waiting(client: SyncPrefectClient, run: FlowRun) -> bool:
    """End a run that was waiting to be started again when it was cancelled; return whether it was.

    It has no process, and the server would leave it for five minutes, because it had one before.
    """
    before = [state for state in client.read_flow_run_states(run.id) if not state.is_cancelling()]
    if not before or not max(before, key=lambda state: state.timestamp).is_scheduled():
        return False
    end: State[Any] = Cancelled(message="The run was cancelled while it waited to start again")
    client.set_flow_run_state(run.id, end, force=True)
    return True
