"""Every alert that is no failure of a run fires: a real Prefect server, and a worker that is killed."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from stages.tracking.history import EVENT
from tests.ops.platform import ANSWER, Platform, listening, until
from tests.support.small_project import make_project

FORTY_DAYS = 40 * 24 * 3600 * 10**9  # nanoseconds
PROMOTED = json.dumps({"version": "1", "how": "promoted", "former": None, "why": "", "back_to": None})
CHAMPION = f"""
from stages.tracking import registry, store
client = store.connect()
model = client.create_logged_model(store.experiment_id(client), name="iedit")
client.create_registered_model("iedit")
client.create_model_version("iedit", "models:/" + model.model_id, model_id=model.model_id, tags={{"iedit.digest": "d"}})
client.set_registered_model_tag("iedit", "{EVENT}{time.time_ns() - FORTY_DAYS:020d}-0", {PROMOTED!r})
registry.set_alias(client, registry.CHAMPION, "1")
"""
LATE_SOON = """
import datetime, os
from flows.support import automations
webhook = automations.keep_webhook(os.environ["FAILURE_WEBHOOK"])
automations.set_up(automations.report_late_runs(webhook, datetime.timedelta(seconds={seconds})))
"""
CRASHES, LATER = 8, 20  # runs, and seconds in which an event that is acted on twice shows it
REMIND = "from flows.support import reminders; reminders.remind()"
UPKEEP = """
from contextlib import suppress
from pathlib import Path
from flows.refresh import refresh
from stages.core.composition import apply_choices
apply_choices(["upkeep.min_free=1e9"])
Path("dvc.yaml").rename("no pipeline")  # so that the night ends before it runs a stage
with suppress(Exception):
    refresh()
Path("no pipeline").rename("dvc.yaml")
"""


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[str]]]:
    with listening() as found:
        yield found


@pytest.fixture(scope="module")
def platform(tmp_path_factory, webhook) -> Iterator[Platform]:
    """A Prefect server with the deployments and automations, and no worker."""
    folder = tmp_path_factory.mktemp("alerts") / "iedit"
    make_project(folder)
    platform = Platform(folder)
    platform.environment["FAILURE_WEBHOOK"] = webhook[0]
    try:
        platform.start("prefect-server")
        platform.make("deploy")
        yield platform
    finally:
        platform.stop_all()


def run_code(platform: Platform, code: str) -> None:
    (platform.project / "script.py").write_text(code)  # Prefect wants to read the source of a flow
    environment = platform.environment | {"PREFECT_API_URL": f"{platform.prefect}/api"}
    words = [sys.executable, "script.py"]
    done = subprocess.run(words, cwd=platform.project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def hear(webhook: tuple[str, list[str]], cause: Callable[[], object], words: str) -> str:
    """Cause something until a message with the given words comes, and return that."""
    messages = webhook[1]
    messages.clear()
    cause()
    return until(lambda: next((text for text in messages if words in text), ""), ANSWER)


def forget_runs(platform: Platform) -> None:
    for run in platform.all_of("flow_runs"):
        if not run["auto_scheduled"]:
            platform.ask(f"flow_runs/{run['id']}", method="DELETE")


def test_a_run_that_nobody_starts_is_reported(platform, webhook):
    run_code(platform, LATE_SOON.format(seconds=15))
    text = hear(webhook, lambda: platform.order("pipeline/on-demand"), "has not started within 0:00:15 of its time")
    assert text.startswith("pipeline/")
    forget_runs(platform)


def test_a_late_run_is_reported_though_the_automation_changed(platform, webhook):
    """The server forgets then that it waits for the run."""

    def change_and_remind() -> None:
        run_id = platform.order("pipeline/on-demand")
        until(lambda: platform.state(run_id) == "Late")
        run_code(platform, LATE_SOON.format(seconds=16))
        webhook[1].clear()
        run_code(platform, REMIND)

    assert hear(webhook, change_and_remind, "has not started within 0:00:16").startswith("pipeline/")
    forget_runs(platform)


def test_a_crash_is_one_alert_and_one_new_start(platform, webhook):
    """Several at once: the server looks at all their events at the same time."""
    messages = webhook[1]
    messages.clear()
    run_ids = [platform.order("pipeline/on-demand") for _ in range(CRASHES)]
    for state in ("Running", "Crashed"):
        for run_id in run_ids:
            platform.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": state.upper(), "name": state}, "force": True})
    until(lambda: sum("Crashed" in text for text in messages) >= CRASHES, ANSWER)
    for run_id in run_ids:
        until(lambda run_id=run_id: count_states(platform, run_id)["AwaitingRetry"], ANSWER)
    time.sleep(LATER)
    assert Counter(Counter(text for text in messages if "Crashed" in text).values()) == {1: CRASHES}
    assert [count_states(platform, run_id)["AwaitingRetry"] for run_id in run_ids] == [1] * CRASHES
    forget_runs(platform)


def count_states(platform: Platform, run_id: str) -> Counter[str]:
    return Counter(state["name"] for state in platform.ask(f"flow_run_states/?flow_run_id={run_id}", method="GET"))


def test_a_dead_worker_is_reported(platform, webhook):
    def lose_a_worker() -> None:
        platform.start("worker")
        until(lambda: platform.ask("work_pools/iedit", method="GET")["status"] == "READY")
        platform.kill("worker")

    text = hear(webhook, lose_a_worker, "has no worker")
    assert text == "the pool iedit has no worker: start one with make worker"


def test_a_full_disk_and_an_old_champion_are_reported(platform, webhook):
    run_code(platform, CHAMPION)
    disk = hear(webhook, lambda: run_code(platform, UPKEEP), "GB free")
    assert "GB free, should be 1,000,000,000.0; iedit prune --dry-run" in disk
    champion = hear(webhook, lambda: run_code(platform, UPKEEP), "days old")
    assert champion == "models:/iedit@champion: version 1 is 40 days old, should be 30 at most"
