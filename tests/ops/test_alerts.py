"""Every alert that is no failure of a run fires: a real Prefect server, and a worker that is killed."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from stages.tracking.history import EVENT
from tests.ops.platform import Platform, listening, until, until_heard
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
    return until_heard(cause, lambda: next((text for text in messages if words in text), ""))


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
    seconds = itertools.count(16)

    def change_and_remind() -> None:
        run_id = platform.order("pipeline/on-demand")
        until(lambda: platform.state(run_id) == "Late")
        run_code(platform, LATE_SOON.format(seconds=next(seconds)))
        webhook[1].clear()
        run_code(platform, REMIND)

    assert hear(webhook, change_and_remind, "has not started within 0:00:").startswith("pipeline/")
    forget_runs(platform)


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
