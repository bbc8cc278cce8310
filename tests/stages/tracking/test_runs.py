"""Runs and their parameters."""

from stages.core.params import ModelName
from stages.core.params_file import read_params
from stages.tracking import store
from stages.tracking.runs import run_for_results
from tests.support.registered import train


def test_dvc_experiment_is_a_run_of_its_name(folder, tmp_path, monkeypatch):
    params, client = read_params(), store.connect()
    with train(params, tmp_path) as plain:
        plain.finish("p" * 64)
    assert run_for_results(plain.run_id, params) == plain.run_id
    monkeypatch.setenv("DVC_EXP_NAME", "brave-owls")
    own = run_for_results(plain.run_id, params)  # it trained nothing
    assert run_for_results(None, params) == own != plain.run_id
    with train(params, tmp_path) as named:
        named.finish("q" * 64)
    assert run_for_results(named.run_id, params) == named.run_id
    runs = [client.get_run(run_id) for run_id in (plain.run_id, own, named.run_id)]
    assert [run.info.run_name for run in runs] == ["train", "brave-owls", "brave-owls"]
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert [run.data.tags.get("iedit.experiment") for run in runs] == [None, "brave-owls", "brave-owls"]
    assert [run.data.tags["iedit.role"] for run in runs] == ["train", "evaluate", "train"]


def test_long_values_are_cut_off(folder, tmp_path):
    params = read_params()
    names = "/".join(["long"] * 2000)
    long = params.model_copy(update={"train": params.train.model_copy(update={"clip": ModelName(name=names)})})
    with train(long, tmp_path) as run:
        pass
    assert len(store.connect().get_run(run.run_id).data.params["train.clip.name"]) == 500
