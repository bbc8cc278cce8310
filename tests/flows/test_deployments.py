"""What is deployed, and the parameters that a run is given."""

import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from prefect import Flow
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ParameterTypeError

from flows.ablation import ablation
from flows.refresh import refresh
from flows.support.automations import TAG
from flows.support.corpus import COMPOSED_FROM, grow_corpus
from flows.tables import tables
from stages.core.errors import InputError
from stages.core.params_file import read_params
from tests.support import ROOT


class TestGrowth:
    @pytest.fixture(autouse=True)
    def params(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        text = (ROOT / "params.yaml").read_text()
        Path("params.yaml").write_text(text.replace("images: 6000", "images: 6000 # for a start"))
        shutil.copytree(ROOT / "conf", "conf")
        return Path("params.yaml")

    def test_only_the_number_changes(self, params):
        before = params.read_text()
        grow_corpus(6500)
        assert params.read_text() == before.replace("6000", "6500")
        assert read_params().ingest.source.images == 6500

    def test_what_experiments_are_composed_from_follows(self):
        before = COMPOSED_FROM.read_text()
        grow_corpus(6500)
        assert COMPOSED_FROM.read_text() == before.replace("6000", "6500")
        assert OmegaConf.load(COMPOSED_FROM).ingest.source.images == 6500

    def test_errors(self, params):
        before = params.read_text()
        with pytest.raises(InputError, match="images = 5: the corpus has 6000, a refresh only adds to it"):
            grow_corpus(5)
        assert params.read_text() == before
        source = "source: {kind: folder, path: photos}\n"
        params.write_text(re.sub(r"source:\n( {4}.*\n)+", source, before))
        with pytest.raises(InputError, match="images = 7000: only for the source openmoji, this is folder; add to 'photos'"):
            grow_corpus(7000)

    @pytest.mark.parametrize("images", [0, -1, "many"])
    def test_parameters_are_checked_before_anything_runs(self, images):
        with pytest.raises(ParameterTypeError):
            refresh.validate_parameters({"images": images})

    @pytest.mark.parametrize("flow", [ablation, tables])
    @pytest.mark.parametrize("seeds", [1, 11, "many"])
    def test_numbers_of_seeds_are_too(self, flow, seeds):
        flow.validate_parameters({"seeds": 2})
        with pytest.raises(ParameterTypeError):
            flow.validate_parameters({"seeds": seeds})


def test_every_flow_has_a_deployment_that_all_share_a_pool_and_a_tag():
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
