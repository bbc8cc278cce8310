"""The deployments of prefect.yaml, and the parameters that their runs accept."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect import Flow, get_client
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

from flows.ablation import ablation
from flows.refresh import refresh
from flows.support.automations import SILENCE, TAG
from flows.tables import tables
from tests.support import ROOT


@pytest.mark.parametrize("images", [0, -1, "many"])
def test_a_wrong_number_of_images_is_refused(images):
    with pytest.raises(ParameterTypeError):
        refresh.validate_parameters({"images": images})


@pytest.mark.parametrize("flow", [ablation, tables])
@pytest.mark.parametrize("seeds", [1, 11, "many"])
def test_a_wrong_number_of_seeds_is_refused(flow, seeds):
    flow.validate_parameters({"seeds": 2})
    with pytest.raises(ParameterTypeError):
        flow.validate_parameters({"seeds": seeds})


def test_every_flow_has_a_deployment_in_the_common_pool():
    """All have a time limit, the tag that the automations match, and heartbeats, without which the server ends a run."""
    deployments = PrefectYamlModel.model_validate(yaml.safe_load((ROOT / "prefect.yaml").read_text())).deployments
    for deployment in deployments:
        path, name = deployment.entrypoint.split(":")
        deployed = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(deployed, Flow)
        assert deployed.timeout_seconds > 0
        assert deployment.tags == [TAG]
        assert deployment.work_pool.name == "iedit"
        between_heartbeats = float(deployment.work_pool.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])  # seconds
        assert 10 * between_heartbeats < SILENCE.total_seconds()
        hours_beside_the_nights = deployed.name in ("tables", "ablation")
        assert deployment.work_pool.work_queue_name == ("tables" if hours_beside_the_nights else None)
        for schedule in deployment.schedules or ():
            assert CronSchedule(cron=schedule.cron, timezone=schedule.timezone).timezone
    flows_there = {path.stem for path in (ROOT / "flows").glob("*.py") if "@flow" in path.read_text()}
    assert flows_there == {deployment.entrypoint.split(":")[1] for deployment in deployments}


def test_servers_forget_old_runs():
    """That of `make server`, and that of Docker Compose."""
    name = "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"
    (by_make,) = re.findall(rf"^export {name} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    services = yaml.safe_load((ROOT / "containers/compose.yaml").read_text())["services"]
    for kinds in (by_make, services["prefect"]["environment"][name]):
        assert {"events", "flow_runs"} <= ServerServicesDBVacuumSettings(enabled=kinds).enabled_vacuum_types


def deploy(name: str) -> None:
    """Deploy as `make deploy` does, but one deployment alone."""
    words = [sys.executable, "-m", "flows.support.deployments", "--name", name]
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_was_paused_by_hand_stays_paused(server):
    """A schedule that was switched off, and a deployment that was paused, when all is deployed again."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="iedit", type="process"))
        deploy("nightly")
        first = client.read_deployment_by_name("refresh/nightly")
        assert [schedule.active for schedule in first.schedules] == [True]
        client.update_deployment_schedule(first.id, first.schedules[0].id, active=False)
        client.pause_deployment(first.id)
        deploy("nightly")
        again = client.read_deployment_by_name("refresh/nightly")
    assert [schedule.active for schedule in again.schedules] == [False]
    assert [schedule.schedule for schedule in again.schedules] == [schedule.schedule for schedule in first.schedules]
    assert again.paused


def test_every_schedule_has_a_slug_of_its_own():
    """By it the server knows a schedule again; one without is made anew, and active."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    slugs = [schedule.get("slug") for deployment in deployments for schedule in deployment.get("schedules", [])]
    assert all(slugs)
    assert len(slugs) == len(set(slugs)) > 0


def test_the_server_of_the_makefile_forgets_old_runs(tmp_path):
    code = "v = get_current_settings().server.services.db_vacuum; print(v.enabled_vacuum_types, v.retention_period.days)"
    recipe = f"shown:; @python -c 'from prefect.settings import get_current_settings; {code}'"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PREFECT_HOME": str(tmp_path)}
    command = ["make", "--silent", f"--eval={recipe}", "shown"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    kinds, _, days = done.stdout.strip().rpartition(" ")
    assert ("'flow_runs'" in kinds, days) == (True, "90")
