"""The deployments of prefect.yaml, and the parameters that their runs accept."""

from importlib import import_module

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ParameterTypeError

from flows.ablation import ablation
from flows.refresh import refresh
from flows.support.automations import TAG
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
    """All have a time limit and the tag that the automations match."""
    deployments = PrefectYamlModel.model_validate(yaml.safe_load((ROOT / "prefect.yaml").read_text())).deployments
    for deployment in deployments:
        path, name = deployment.entrypoint.split(":")
        deployed = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(deployed, Flow)
        assert deployed.timeout_seconds > 0
        assert deployment.tags == [TAG]
        assert deployment.work_pool.name == "iedit"
        for schedule in deployment.schedules or ():
            assert CronSchedule(cron=schedule.cron, timezone=schedule.timezone).timezone
    flows_there = {path.stem for path in (ROOT / "flows").glob("*.py") if "@flow" in path.read_text()}
    assert flows_there == {deployment.entrypoint.split(":")[1] for deployment in deployments}
