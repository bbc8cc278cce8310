"""Runs that are cancelled where Prefect would miss it, on a server, in this process as a worker's engine runs them."""

from collections.abc import Iterator
from uuid import uuid4

import psutil
import pytest
from prefect import Flow, flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import Abort
from prefect.flow_engine import run_flow
from prefect.states import (
    AwaitingConcurrencySlot,
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Pending,
    Running,
    Scheduled,
)

from flows.support import cancellation
from flows.support.automations import repeat_crashed_runs, repeat_lost_runs
from flows.support.cancellation import cancellable
from flows.support.process import run_command

RESUMED, TAKEN_AGAIN = (
    AwaitingRetry(message=automation.actions[0].message) for automation in (repeat_crashed_runs(), repeat_lost_runs())
)
BY_HAND = AwaitingRetry(message="Retried from the page")
BY_COMMAND = Scheduled(message="Retried via CLI")


@pytest.fixture
def client(server) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def noting(begun: list[str]) -> Flow:
    """A flow that notes that it has begun."""

    @flow
    def note() -> None:
        with cancellable():
            begun.append("begun")

    return note


def order(client: SyncPrefectClient, work: Flow, *states: State, pool: str | None = None) -> FlowRun:
    """Order a run of a deployment, and let it have had some states."""
    deployment = client.create_deployment(client.create_flow(work), f"cancelled {uuid4()}", work_pool_name=pool)
    run = client.create_flow_run_from_deployment(deployment).id
    for state in states:
        client.set_flow_run_state(run, state, force=True)
    return client.read_flow_run(run)


@pytest.mark.parametrize(
    ("states", "end"),
    [
        ([Crashed(), Cancelled(), RESUMED], StateType.CANCELLED),
        ([Cancelling(), Crashed(), RESUMED], StateType.CANCELLED),
        ([Crashed(), RESUMED, Cancelled(), RESUMED], StateType.CANCELLED),
        ([Cancelled(), BY_HAND, Running(), Completed(), TAKEN_AGAIN], StateType.COMPLETED),
        ([Cancelled(), RESUMED, AwaitingConcurrencySlot()], StateType.CANCELLED),
    ],
)
def test_a_run_that_ended_before_its_repeat_stays_ended(client, states, end):
    """The automation acted late, or twice."""
    begun: list[str] = []
    run = order(client, noting(begun), Running(), *states)
    with pytest.raises(Abort):
        run_flow(noting(begun), flow_run=run)
    assert (begun, client.read_flow_run(run.id).state.type) == ([], end)


@pytest.mark.parametrize(
    "states",
    [
        [],
        [Crashed(), RESUMED],
        [Crashed(), RESUMED, Pending(), TAKEN_AGAIN],
        [Cancelled(), BY_HAND],
        [Cancelled(), BY_HAND, Pending(), TAKEN_AGAIN],
        [Cancelled(), BY_COMMAND],
        [Cancelled(), BY_COMMAND, Pending(), TAKEN_AGAIN],
        [Crashed(), Cancelled(), RESUMED, Pending(), Running(), Cancelled(), BY_COMMAND],
    ],
)
def test_a_run_that_crashed_or_is_wanted_again_runs(client, states):
    begun: list[str] = []
    run = order(client, noting(begun), *([Running(), *states] if states else []))
    run_flow(noting(begun), flow_run=run)
    assert begun == ["begun"]


def test_a_run_that_prefect_misses_ends_with_its_processes(client, monkeypatch):
    monkeypatch.setattr(cancellation, "LOOK_SECONDS", 0.5)
    processes: list[int] = []

    @flow
    def work() -> None:
        def cancel(line: str) -> None:
            processes.append(int(line))
            client.set_flow_run_state(run.id, Cancelling())

        with cancellable():
            run_command(["sh", "-c", "echo $$; sleep 600"], cancel)

    run = order(client, work)
    with pytest.raises(Abort, match="had not been ended within a minute"):
        run_flow(work, flow_run=run)
    assert client.read_flow_run(run.id).state.name == "Cancelled"
    assert not psutil.pid_exists(processes[0])


def test_a_run_waits_for_one_that_is_being_cancelled(client, monkeypatch):
    """The server does not count it for the one at a time."""
    pool = f"pool {uuid4()}"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    begun: list[str] = []
    before = order(client, noting(begun), Running(), Cancelling(), pool=pool)
    order(client, noting(begun), Running(), Cancelling())  # in no queue

    def end_the_other(_: float) -> None:
        begun.append("waited")
        client.set_flow_run_state(before.id, Cancelled(), force=True)

    monkeypatch.setattr(cancellation, "sleep", end_the_other)
    run_flow(noting(begun), flow_run=order(client, noting(begun), pool=pool))
    assert begun == ["waited", "begun"]


def test_a_run_cancelled_before_its_repeat_holds_up_none(client, monkeypatch):
    """It has no process that could end it."""
    monkeypatch.setattr(cancellation, "sleep", lambda _: pytest.fail("it waited"))
    pool = f"pool {uuid4()}"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    begun: list[str] = []
    states = (Running(), Crashed(), RESUMED, AwaitingConcurrencySlot(), Cancelling())
    cancelled = order(client, noting(begun), *states, pool=pool)
    run_flow(noting(begun), flow_run=order(client, noting(begun), pool=pool))
    assert begun == ["begun"]
    assert client.read_flow_run(cancelled.id).state.is_cancelled()


def test_a_flow_that_is_called_is_not_watched(monkeypatch):
    monkeypatch.setattr(cancellation, "get_client", lambda **_: pytest.fail("the server was asked"))
    begun: list[str] = []
    noting(begun).fn()
    assert begun == ["begun"]
