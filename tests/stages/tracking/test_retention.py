"""Which versions, models and checkpoints stay, and that nothing else does."""

import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from stages.tracking import history, nights, registry, retention, store
from stages.tracking.retention import apply_retention, plan_retention
from tests.support.versions import register, stop


@pytest.fixture
def seven(client, folder) -> list[registry.Registered]:
    """Seven versions with a file each; 1, 2 and 3 were champions, and 4 has an alias of the user's own."""
    made = [register(client) for _ in range(7)]
    for version in made:
        client.log_model_artifact(version.model_id, "params.yaml", "lineage")
    for number in ("1", "2", "3"):
        history.promote(number, "for the test")
    client.set_registered_model_alias(registry.NAME, "favourite", "4")
    return made


def numbers(client) -> set[str]:
    return {str(version.version) for version in client.search_model_versions("name = 'iedit'")}


def folder_of(client, version: registry.Registered) -> Path:
    return Path(url2pathname(urlsplit(client.get_logged_model(version.model_id).artifact_location).path))


def test_newest_named_and_former_champion_stay(client, seven):
    plan = plan_retention(client, 2)
    assert plan.kept == {
        "7": ["among the newest 2"],
        "6": ["among the newest 2"],
        "4": ["favourite"],
        "3": ["champion"],
        "2": ["to roll back to"],
    }
    assert plan.dropped == ["5", "1"]
    assert numbers(client) == set("1234567")
    folders = {version.version: folder_of(client, version) for version in seven}
    apply_retention(client, plan)
    assert numbers(client) == set("234567") - {"5"}
    assert {number for number, folder in folders.items() if (folder / "lineage/params.yaml").is_file()} == numbers(client)
    assert not any(folders[number].exists() for number in ("5", "1"))
    assert history.roll_back("for the test").version == "2"


def test_a_version_that_a_kept_one_continues_stays(client, seven):
    """Rebuilding the kept one takes its weights; what it continued itself may go."""
    for version, start in (("7", "5"), ("5", "1")):
        client.set_model_version_tag(registry.NAME, version, "iedit.start.version", start)
    plan = plan_retention(client, 2)
    assert plan.kept["5"] == ["version 7 continues from it"]
    assert plan.dropped == ["1"]


def test_a_version_that_comes_into_use_meanwhile_stays(client, seven):
    """While 6 goes, 1 and then 5 become champion, so 1 is the one to roll back to."""
    plan = plan_retention(client, 1)
    assert plan.dropped == ["6", "5", "1"]
    delete = client.delete_model_version

    def delete_slowly(name: str, version: str) -> None:
        delete(name, version)
        history.promote("1", "for the test")
        history.promote("5", "for the test")

    client.delete_model_version = delete_slowly
    apply_retention(client, plan)
    assert numbers(client) == set("123457")
    assert all((folder_of(client, seven[int(number) - 1]) / "lineage/params.yaml").is_file() for number in ("5", "1"))


def test_a_second_plan_drops_nothing(client, seven):
    apply_retention(client, plan_retention(client, 2))
    plan = plan_retention(client, 2)
    assert (plan.dropped, plan.models, plan.checkpoints) == ([], [], [])


def test_an_interrupted_removal_is_completed(client, seven, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(retention, "get_artifact_repository", stop)
        with pytest.raises(KeyboardInterrupt):
            apply_retention(client, plan_retention(client, 2))
    assert numbers(client) == set("23467")
    assert plan_retention(client, 2).models == []  # too young: they may be about to be registered
    monkeypatch.setattr(retention.time, "time", lambda: 4e9)
    apply_retention(client, plan_retention(client, 2))
    left = {model.model_id for model in client.search_logged_models([store.experiment_id(client)])}
    assert left == {version.model_id for version in seven if version.version not in ("5", "1")}


def test_versions_of_others_stay(client, seven):
    made = client.create_model_version(registry.NAME, "file:///elsewhere")
    for _ in range(3):
        register(client)
    assert plan_retention(client, 1).kept[str(made.version)] == ["registered by others"]


def test_only_ended_trainings_lose_their_checkpoints(client, folder):
    runs = [client.create_run(store.experiment_id(client)).info.run_id for _ in range(3)]
    for run in runs:
        client.log_artifact(run, "params.yaml", "checkpoints")
        client.log_artifact(run, "params.yaml")
        client.log_metric(run, "loss", 0.5)
    client.set_terminated(runs[0], "FINISHED")
    client.set_terminated(runs[1], "FAILED")
    apply_retention(client, plan_retention(client, 1))
    assert [len(client.list_artifacts(run, "checkpoints")) for run in runs] == [0, 0, 1]
    assert [[item.path for item in client.list_artifacts(run)] for run in runs[:2]] == [["params.yaml"]] * 2
    assert client.get_run(runs[0]).data.metrics == {"loss": 0.5}


def test_runs_that_a_kill_left_open_are_ended(client, folder, monkeypatch):
    """Also that of a night; one that has logged something within the last week may still be at work."""
    experiments = [store.experiment_id(client), client.create_experiment(nights.EXPERIMENT)]
    silent, of_a_night, at_work = (client.create_run(each).info.run_id for each in (*experiments, experiments[0]))
    week = 7 * 24 * 3600
    now = time.time() + week
    client.log_metric(silent, "loss", 0.5, timestamp=int(1000 * (now - week - 60)))
    client.log_metric(at_work, "loss", 0.5, timestamp=int(1000 * (now - week + 60)))
    for run in (silent, at_work):
        client.log_artifact(run, "params.yaml", "checkpoints")
    monkeypatch.setattr(retention.time, "time", lambda: now + 30)
    apply_retention(client, plan_retention(client, 1))
    assert [client.get_run(run).info.status for run in (silent, of_a_night, at_work)] == ["KILLED", "KILLED", "RUNNING"]
    assert [len(client.list_artifacts(run, "checkpoints")) for run in (silent, at_work)] == [0, 1]


def test_an_empty_store_has_nothing_to_remove(client, folder):
    plan = plan_retention(client, 1)
    assert (plan.kept, plan.dropped, plan.models, plan.checkpoints) == ({}, [], [], [])
