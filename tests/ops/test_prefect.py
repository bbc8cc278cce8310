"""Schedules, growth and failures: real servers, a real worker, the real stages."""

import csv
import datetime as dt
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from flows.ablation import CONFIGURATIONS
from stages.__main__ import STAGES
from stages.corpus import world
from stages.corpus.drawing import render
from stages.report.ablation_table import TRUE_TARGETS
from tests.ops.platform import Platform, listening, started, until
from tests.support.small_project import choose, make_project, run, set_params

SHARD, SHARDS = 8, 10
# The new shard shows other things elsewhere, too unlike for old pairs to change; within a kind, all are alike enough.
OLD, NEW = ("vehicle", "road"), ("fruit", "snow")
MIN_LIKENESS = 0.6
LONG = {"steps": 240, "checkpoint_every": 40}


def draw(photos: Path, kind: tuple[str, str], count: int) -> None:
    """Add pictures of things of one group in one scenery to a folder of images with captions."""
    photos.mkdir(exist_ok=True)
    group, scenery = kind
    table = photos / "metadata.csv"
    rows = [] if table.exists() else [["file_name", "text"]]
    scenes = (world.draw_scene(0, "train", index) for index in range(100_000))
    ours = (replace(scene, scenery=scenery) for scene in scenes if world.nouns()[scene.noun].group == group)
    for number, scene in zip(range(count), ours, strict=False):
        name = f"{group}-{number:03}.png"
        render(scene, 64)[0].save(photos / name)
        rows.append([name, scene.caption])
    with table.open("a", newline="") as file:
        csv.writer(file).writerows(rows)


def make_growing_project(folder: Path, shards: int) -> None:
    """Make a project whose images lie in a folder, and whose held-out cases are the embedded world's."""
    make_project(folder)
    run(folder, sys.executable, "-m", "stages", "ingest")
    shutil.move(folder / "data" / "evaluation", folder / "cases")
    shutil.rmtree(folder / "data" / "corpus")
    shutil.rmtree(folder / "logs")
    draw(folder / "photos", OLD, SHARD * min(shards, SHARDS))
    if shards > SHARDS:
        draw(folder / "photos", NEW, SHARD * (shards - SHARDS))
    choose(folder, "source=folder", "ingest.source.path=photos")
    changes = {
        "ingest": {"shard_size": SHARD},
        "evaluate": {"cases": str(folder / "cases"), "validation": "data/validation"},  # not tracked, so copies lack it
        "retrieve": {"min_image_image": MIN_LIKENESS, "held_out": 0.0},
    }
    set_params(folder, changes)
    run(folder, "dvc", "config", "hydra.enabled", "true")  # for the experiments of the tables


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    project = tmp_path_factory.mktemp("platform") / "iedit"
    make_growing_project(project, SHARDS)
    with started(project) as platform:
        yield platform


def counts(project: Path, stage: str) -> dict:
    return json.loads((project / "logs" / f"{stage}.json").read_text())


def files(project: Path) -> dict[str, bytes]:
    """The outputs of the stages before the training."""
    made = [path for name in ("captions", "edits", "pairs", "training") for path in (project / "data" / name).rglob("*")]
    return {str(path.relative_to(project)): path.read_bytes() for path in made if path.is_file()}


def test_a_schedule_fires(platform):
    deployment = platform.deployment("pipeline/on-demand")
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=10)
    every = {"interval": 60, "anchor_date": soon.isoformat()}
    place = f"deployments/{deployment['id']}/schedules"
    schedule = platform.ask(place, [{"schedule": every, "active": True}])[0]["id"]
    due = until(lambda: [each for each in platform.all_of("flow_runs") if each["auto_scheduled"] and is_of(each, deployment)])
    found = min(due, key=lambda each: each["expected_start_time"])["id"]
    until(lambda: platform.state(found) == "Running")
    platform.ask(f"{place}/{schedule}", method="DELETE")  # this cancels the runs that wait
    assert platform.end_of(found) == "Completed", platform.log(found)

    shown = platform.artifacts(found)
    assert set(shown) >= {*(f"{stage}-counts" for stage in STAGES), "results", "edits", "mlflow-run"}
    assert {"what": "done", "count": SHARD * SHARDS} in json.loads(shown["caption-counts"]["data"])
    assert "| iEdit-M |" in shown["results"]["data"]
    assert "](data:image/webp;base64," in shown["edits"]["data"]
    link = re.search(r"\((http\S+)\)", shown["mlflow-run"]["data"])[1]
    assert link.startswith(platform.mlflow)
    training = httpx.get(f"{platform.mlflow}/api/2.0/mlflow/runs/get", params={"run_id": link.rpartition("/")[2]}).json()
    assert training["run"]["info"]["status"] == "FINISHED"
    tasks = {task["name"].partition("-")[0]: task["state"]["type"] for task in platform.all_of("task_runs", found)}
    assert {stage: tasks[stage] for stage in STAGES} == dict.fromkeys(STAGES, "COMPLETED")
    log = platform.log(found)
    assert all(f"Running stage '{stage}'" in log for stage in STAGES)


def is_of(flow_run: dict, deployment: dict) -> bool:
    return flow_run["deployment_id"] == deployment["id"]


def test_the_page_asks_its_own_server(platform):
    settings = httpx.get(f"{platform.prefect}/ui-settings", timeout=60).json()
    assert settings["api_url"] == f"{platform.prefect}/api"


def test_deploying_again_changes_nothing(platform):
    kinds = ("automations", "deployments", "work_pools", "block_documents")
    before = {kind: sorted(each["name"] or "" for each in platform.all_of(kind)) for kind in kinds}
    ours = ("end silent runs", "repeat crashed runs", "repeat lost runs")
    reports = ("report late runs", "report no worker", "report upkeep", "tell failures")
    assert before["automations"] == [f"iedit: {name}" for name in (*ours, *reports)]
    assert before["deployments"] == ["nightly", "on-demand", "on-demand", "weekly"]
    paused = platform.deployment("tables/weekly")
    place = f"deployments/{paused['id']}/schedules/{paused['schedules'][0]['id']}"
    platform.ask(place, {"active": False}, method="PATCH")
    idle = platform.deployment("ablation/on-demand")
    platform.ask(f"deployments/{idle['id']}/pause_deployment")
    platform.make("deploy")
    assert platform.deployment("ablation/on-demand")["paused"]
    platform.ask(f"deployments/{idle['id']}/resume_deployment")
    assert {kind: sorted(each["name"] or "" for each in platform.all_of(kind)) for kind in kinds} == before
    schedules = {name: platform.deployment(name)["schedules"] for name in ("refresh/nightly", "tables/weekly")}
    platform.ask(place, {"active": True}, method="PATCH")
    for name, (schedule,) in schedules.items():
        assert schedule["active"] is (name != "tables/weekly")
        assert schedule["schedule"]["timezone"] == "Etc/UTC"


def test_refresh_does_only_what_is_new(platform, tmp_path):
    before = files(platform.project)
    draw(platform.project / "photos", NEW, SHARD)
    run_id = platform.order("refresh/nightly")
    assert platform.end_of(run_id) == "Completed", platform.log(run_id)
    for stage in ("ingest", "caption", "mutate", "retrieve", "segment"):
        made = counts(platform.project, stage)
        assert (made["shards_done"], made["shards_reused"]) == (1, SHARDS), stage
    assert counts(platform.project, "segment")["done"] > 0  # the new shard has pairs
    after = files(platform.project)
    old = [
        name for name in before if name.endswith((".tar", ".safetensors")) or name.startswith(("data/captions", "data/edits"))
    ]
    assert {name: after[name] for name in old} == {name: before[name] for name in old}

    from_nothing = tmp_path / "iedit"
    make_growing_project(from_nothing, SHARDS + 1)
    run(from_nothing, "dvc", "repro", "segment")
    assert counts(from_nothing, "segment")["shards_reused"] == 0
    assert files(from_nothing) == after

    night, *_ = json.loads(platform.artifacts(run_id)["nights"]["data"])  # the newest; at 02:00 UTC the schedule makes one too
    assert (night["images"], night["stopped"]) == (SHARD * (SHARDS + 1), "")
    decision = platform.artifacts(run_id)["decision"]["data"]
    # The model is the same if none of the few pairs that three steps draw is new.
    assert decision.startswith(("Promoted: version 2", "Kept: version 1", "Kept: no new model")), decision
    assert "no remote is configured" in platform.log(run_id)


def test_tables_are_made_beside_a_night(platform):
    """A night starts while they are made, and neither changes what the other writes."""
    models = [str(path) for path in (platform.project / "models/iedit").rglob("*") if path.is_file()]
    before = {name: (platform.project / name).read_bytes() for name in ("params.yaml", "dvc.lock", *models)}
    run_id = platform.order("tables/weekly", seeds=2)
    until(lambda: platform.state(run_id) == "Running")
    waiting, night = platform.order("ablation/on-demand", seeds=2), platform.order("refresh/nightly")
    until(lambda: platform.state(night) == "Running")
    assert (platform.state(run_id), platform.state(waiting)) in (("Running", "Scheduled"), ("Running", "Late"))
    platform.ask(f"flow_runs/{waiting}", method="DELETE")
    assert platform.end_of(night) == "Completed", platform.log(night)
    assert platform.end_of(run_id) == "Completed", platform.log(run_id)
    (table,) = [each["data"] for each in platform.all_of("artifacts") if each["key"] == "ablation"]
    latest = platform.project / "reports" / "latest"
    assert table == (latest / "ablation.md").read_text()
    assert list((latest / "tradeoff").glob("*.csv"))
    assert (latest / "generated" / "table.md").is_file()
    assert {name: (platform.project / name).read_bytes() for name in before} == before
    shown = run(platform.project, "dvc", "exp", "show", "--csv")
    possible = set(CONFIGURATIONS) - {TRUE_TARGETS}  # photos have none
    assert all(f"ablation-{name}-{seed}" in shown for name in possible for seed in range(2))
    assert TRUE_TARGETS not in shown


def test_bad_input_fails_at_once_and_is_reported(platform):
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        platform.order("refresh/nightly", images=0)
    with listening() as (address, messages):
        platform.make("deploy", FAILURE_WEBHOOK=address)
        command = ["prefect", "deployment", "run", "refresh/nightly", "--param", "images=5000"]
        environment = platform.environment | {"PREFECT_API_URL": f"{platform.prefect}/api"}
        ordered = subprocess.run(command, cwd=platform.project, env=environment, capture_output=True, text=True, check=True)
        run_id = re.search(r"UUID: (\S+)", ordered.stdout)[1]
        assert platform.end_of(run_id) == "Failed"
        until(lambda: messages)
    platform.make("deploy", FAILURE_WEBHOOK="")
    assert "images = 5000: only for the source openmoji, this is folder" in messages[0]
    assert platform.all_of("task_runs", run_id) == []


def train_long(platform: Platform, steps: int) -> str:
    """Order a long training, and wait until it has a checkpoint."""
    set_params(platform.project, {"train": LONG | {"steps": steps}})
    run_id = platform.order("pipeline/on-demand", targets=["train"])
    until(lambda: list((platform.project / "models" / "unfinished").glob("*.00000040.safetensors")))
    return run_id


def check_resumed(platform: Platform, run_id: str, steps: int) -> None:
    """Wait until a run has finished a training that was begun before, and check that it resumed."""
    assert platform.reach(run_id, "Completed", "Failed") == "Completed", platform.log(run_id)
    made = counts(platform.project, "train")
    assert made["done"] + made["reused"] == steps * 2
    assert made["reused"] >= LONG["checkpoint_every"] * 2


def test_a_cancelled_run_leaves_no_process_and_resumes(platform):
    run_id = train_long(platform, 240)
    assert platform.processes("-m stages train")
    platform.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    assert platform.end_of(run_id) == "Cancelled"
    assert not platform.processes("-m stages")
    assert not platform.processes("dvc repro")
    check_resumed(platform, platform.order("pipeline/on-demand", targets=["train"]), 240)


def test_a_run_survives_a_restart_of_the_servers(platform):
    platform.stop("server")
    platform.start("prefect-server")
    platform.start("mlflow-server")
    run_id = train_long(platform, 241)
    platform.stop("prefect-server")
    assert platform.processes("-m stages train")
    platform.start("prefect-server")
    assert platform.end_of(run_id) == "Completed", platform.log(run_id)
    assert counts(platform.project, "train")["reused"] == 0
    tasks = {task["name"].partition("-")[0]: task["state"]["type"] for task in platform.all_of("task_runs", run_id)}
    assert set(tasks.values()) == {"COMPLETED"}, tasks
    shown = platform.artifacts(run_id)
    assert "train-counts" in shown
    assert shown["train-progress"]["data"] == 100
    assert re.search(r"  done +482 ", platform.log(run_id))  # the last line of the stage


def test_the_run_of_a_killed_worker_resumes(platform):
    run_id = train_long(platform, 242)
    platform.stop("worker", signal.SIGKILL)
    platform.reach(run_id, "AwaitingRetry")  # it crashed, because nobody reads its output any more
    until(lambda: not platform.processes("-m stages"))
    platform.start("worker")
    check_resumed(platform, run_id, 242)


def end_runs_after_a_minutes_silence(platform: Platform) -> None:
    code = "import datetime, flows.support.automations as a; a.set_up(a.end_silent_runs(datetime.timedelta(seconds=60)))"
    environment = platform.environment | {"PREFECT_API_URL": f"{platform.prefect}/api"}
    subprocess.run([sys.executable, "-c", code], cwd=platform.project, env=environment, check=True)


def test_the_run_of_a_worker_stopped_by_systemd_resumes(platform):
    """All processes of its unit get SIGTERM: the worker, the run, DVC and the stage.

    If the worker ends first, the run cannot write that it has crashed, and ends without reporting it: its silence does.
    """
    end_runs_after_a_minutes_silence(platform)
    run_id = train_long(platform, 244)
    platform.kill("worker", signal.SIGTERM)
    assert not platform.processes("-m stages")
    platform.start("worker")
    check_resumed(platform, run_id, 244)


def test_the_run_of_a_lost_machine_resumes(platform):
    end_runs_after_a_minutes_silence(platform)
    run_id = train_long(platform, 243)
    platform.kill("worker")
    assert not platform.processes("-m stages")
    platform.start("worker")
    check_resumed(platform, run_id, 243)
