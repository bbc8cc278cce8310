"""Which versions, models and checkpoints stay, and that nothing else does."""

import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from stages.tracking import history, nights, registry, retention, runs, store
from stages.tracking.last_store import note_store
from stages.tracking.retention import apply_retention, plan_retention
from stages.tracking.training_run import TRAINING
from tests.support.versions import register, stop

TRAINED = {runs.ROLE: "train", TRAINING: "a name"}


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
        patch.setattr(registry, "get_artifact_repository", stop)
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


def test_copies_of_what_goes_go_too(client, seven, monkeypatch, tmp_path_factory):
    """This machine has fetched them from a server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
    for version in seven:
        registry.cached_copy(version.model_id).mkdir(parents=True)
    apply_retention(client, plan_retention(client, 2))
    assert {version.version for version in seven if registry.cached_copy(version.model_id).exists()} == numbers(client)


def test_what_another_registered_model_has_stays(client, seven):
    """Registered from the same model, copied from a version, or by the place of its files."""
    client.create_registered_model("production")
    client.create_model_version("production", f"models:/{seven[0].model_id}", model_id=seven[0].model_id)
    client.copy_model_version("models:/iedit/5", "production")
    client.create_model_version("production", f"{folder_of(client, seven[5]).as_uri()}")
    apply_retention(client, plan_retention(client, 1))
    assert numbers(client) == set("1234567")
    assert plan_retention(client, 1).kept["5"] == ["models:/production/2 has its files"]
    assert all((folder_of(client, seven[int(number) - 1]) / "lineage/params.yaml").is_file() for number in ("1", "5", "6"))


def test_models_and_runs_of_others_stay(client, folder, monkeypatch):
    """People log what they like to the same experiment."""
    model = client.create_logged_model(store.experiment_id(client), name="theirs")
    client.log_model_artifact(model.model_id, "params.yaml")
    ended, at_work = (client.create_run(store.experiment_id(client)).info.run_id for _ in range(2))
    client.log_artifact(ended, "params.yaml", "checkpoints")
    client.set_terminated(ended)
    monkeypatch.setattr(retention.time, "time", lambda: 4e9)
    plan = plan_retention(client, 1)
    assert (plan.models, plan.checkpoints, plan.open) == ([], [], [])
    assert apply_retention(client, plan) == 0
    assert client.get_run(at_work).info.status == "RUNNING"


def test_the_version_that_was_registered_last_from_here_stays(client, seven):
    """A training that gives an old version again is that version."""
    note_store(seven[0].model_id)
    assert plan_retention(client, 1).kept["1"] == ["registered last from here"]


def test_only_ended_trainings_lose_their_checkpoints(client, folder):
    made = [client.create_run(store.experiment_id(client), tags=TRAINED).info.run_id for _ in range(3)]
    for run in made:
        client.log_artifact(run, "params.yaml", "checkpoints")
        client.log_artifact(run, "params.yaml")
        client.log_metric(run, "loss", 0.5)
    client.set_terminated(made[0], "FINISHED")
    client.set_terminated(made[1], "FAILED")
    apply_retention(client, plan_retention(client, 1))
    assert [len(client.list_artifacts(run, "checkpoints")) for run in made] == [0, 0, 1]
    assert [[item.path for item in client.list_artifacts(run)] for run in made[:2]] == [["params.yaml"]] * 2
    assert client.get_run(made[0]).data.metrics == {"loss": 0.5}


def test_checkpoints_of_the_newest_trainings_stay_where_asked(client, folder):
    """The newest began last; one without checkpoints does not count."""
    made = [client.create_run(store.experiment_id(client), start_time, TRAINED).info.run_id for start_time in (3, 1, 2, 4)]
    for run in made[:-1]:
        client.log_artifact(run, "params.yaml", "checkpoints")
    for run in made:
        client.set_terminated(run)
    apply_retention(client, plan_retention(client, 1, keep_checkpoints_of=2))
    assert [len(client.list_artifacts(run, "checkpoints")) for run in made] == [1, 0, 1, 0]
    assert plan_retention(client, 1, keep_checkpoints_of=2).checkpoints == []


def test_runs_that_a_kill_left_open_are_ended(client, folder, monkeypatch):
    """Also that of a night; one that has logged something within the last week may still be at work."""
    experiments = [store.experiment_id(client), client.create_experiment(nights.EXPERIMENT)]
    silent, of_a_night, at_work = (
        client.create_run(each, tags=tags).info.run_id
        for each, tags in zip((*experiments, experiments[0]), (TRAINED, {nights.DATA: "d"}, TRAINED), strict=True)
    )
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
