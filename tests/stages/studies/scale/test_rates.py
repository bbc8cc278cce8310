"""The committed figures and what `iedit plan` makes of them, against what was measured."""

import pytest

from stages.studies.scale.plan import Cluster, plan
from stages.studies.scale.rates import embedded_rates, paper_rates, read_figures
from stages.studies.scale.true_size import count_operations

ONE_CORE = Cluster(machines=1, cores=1, gpus=0, gpu="none")


@pytest.mark.parametrize("images", [2000, 8000, 16000])
def test_plan_predicts_the_measured_runs(images):
    """Rates at 4,000 images predict all time within a fifth, and each stage's within a quarter or its start's noise."""
    figures = read_figures()
    stages = figures["growth"]["stages"]
    predicted = plan(embedded_rates(figures, 4000), images, ONE_CORE)
    runs = {name: stage["runs"][str(images)] for name, stage in stages.items()}
    seconds = {name: run["cpu"] - stages[name]["start"] for name, run in runs.items()}
    whole = sum(seconds.values())
    assert sum(each.hours for each in predicted) * 3600 == pytest.approx(whole, rel=0.2)
    for each in predicted:
        assert each.hours * 3600 == pytest.approx(seconds[each.stage], rel=0.25, abs=0.03 * whole), each.stage
        assert each.disk == pytest.approx(runs[each.stage]["bytes"], rel=0.3), each.stage  # a larger corpus has a smaller index


def test_operations_are_those_of_the_networks():
    """The committed operations are those of the architectures in the installed libraries."""
    figures = read_figures()["true_size"]
    assert {name: network["operations"] for name, network in figures.items()} == count_operations()


def test_the_paper_plan_names_every_growing_stage():
    stages = [each.stage for each in paper_rates(read_figures())]
    assert stages == ["ingest", "caption", "mutate", "embed", "retrieve", "segment", "encode"]
