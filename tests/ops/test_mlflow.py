"""MLflow as a server with its own artifact store: an outage during a training, every command, and the model over REST."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from stages.corpus.images import FORMATS
from stages.editing.pictures import decode_picture
from tests.ops.platform import Platform, free_port, until
from tests.support.small_project import commit, make_project, run, set_params

STEPS = 40


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    """A server, and the small project with its training set."""
    folder = tmp_path_factory.mktemp("mlflow") / "iedit"
    make_project(folder)
    set_params(folder, {"train": {"steps": STEPS, "checkpoint_every": 15}})
    commit(folder, "more steps")
    run(folder, "dvc", "repro", "segment")
    platform = Platform(folder)
    platform.environment["MLFLOW_TRACKING_URI"] = platform.mlflow
    try:
        platform.start("mlflow-server")
        yield platform
    finally:
        platform.stop_all()


def stage(platform: Platform, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stages", name]
    return subprocess.Popen(
        command, cwd=platform.project, env=platform.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_stages(platform: Platform, *names: str) -> str:
    """Run stages one after another, and return the output of the last one."""
    output = ""
    for name in names:
        process = stage(platform, name)
        output = process.communicate()[0]
        assert process.returncode == 0, output
    return output


def ask(platform: Platform, path: str, /, **question: Any) -> dict[str, Any]:
    answer = httpx.get(f"{platform.mlflow}/api/2.0/mlflow/{path}", params=question, timeout=60)
    answer.raise_for_status()
    return answer.json()


def iedit(platform: Platform, folder: Path, *arguments: str) -> str:
    """Run the command in a folder, which need not be the project's."""
    environment = platform.environment | {"XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "stages.cli.main", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def steps_done(platform: Platform) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (platform.project / "models/unfinished").glob("*.losses.jsonl"))


def test_no_metric_is_lost_while_the_server_is_away(platform):
    training = stage(platform, "train")
    until(lambda: steps_done(platform) >= 5)
    platform.stop("mlflow-server")
    before = steps_done(platform)
    until(lambda: steps_done(platform) >= min(before + 20, STEPS))  # the training continues
    assert training.poll() is None
    platform.start("mlflow-server")
    output = training.communicate()[0]
    assert training.returncode == 0, output
    assert output.count("the tracking server is away") == 1
    assert output.count("the tracking server is back") == 1
    experiment = ask(platform, "experiments/get-by-name", experiment_name="iedit")["experiment"]["experiment_id"]
    answer = httpx.post(f"{platform.mlflow}/api/2.0/mlflow/runs/search", json={"experiment_ids": [experiment]}, timeout=60)
    (made,) = answer.json()["runs"]
    assert made["info"]["status"] == "FINISHED"
    for metric in made["data"]["metrics"]:
        history = ask(platform, "metrics/get-history", run_id=made["info"]["run_id"], metric_key=metric["key"])["metrics"]
        assert [int(each.get("step", 0)) for each in history] == list(range(STEPS)), metric["key"]
    checkpoints = ask(platform, "artifacts/list", run_id=made["info"]["run_id"], path="checkpoints")["files"]
    assert any(f".{STEPS:08d}." in file["path"] for file in checkpoints)
    assert not (platform.project / "models/unfinished").exists()


def test_commands_need_the_server_only(platform, tmp_path):
    run_stages(platform, "instruct", "evaluate")
    assert not (platform.project / "mlflow.db").exists()
    assert list((platform.project.parent / "all servers").rglob("iedit.json"))
    assert "models:/iedit/1" in iedit(platform, platform.project, "summary")
    shutil.copy(platform.project / "reports/latest/samples/source.png", tmp_path)
    sample = json.loads((platform.project / "reports/latest/samples/edit.json").read_text())
    iedit(platform, tmp_path, "edit", "source.png", sample["prompt"], "--no-mask", "--output", "edited.png")
    assert Image.open(tmp_path / "edited.png").size == (64, 64)
    assert "version 1  promoted" in iedit(platform, tmp_path, "history")
    lineage = iedit(platform, tmp_path, "lineage", "models:/iedit@champion")
    for words in ("models:/iedit/1, champion", "data/corpus", "openmoji/train/0", "train.clip", "torch"):
        assert words in lineage
    assert "is champion: it was already" in iedit(platform, platform.project, "promote", "1")


def test_champion_is_evaluated_on_new_cases(platform):
    set_params(platform.project, {"train": {"steps": 2}, "evaluate": {"max_cases": 3}})
    output = run_stages(platform, "train", "evaluate")
    assert "models:/iedit/1 has no scores on the current cases and is evaluated on them now" in output
    assert "models:/iedit/2 has no scores" not in output
    version = ask(platform, "model-versions/get", name="iedit", version="2")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert tags["iedit.decision.against"] == "1"
    assert "not promoted: CLIPScore is defined on 3 cases, fewer than" in output


@pytest.fixture(scope="module")
def served(platform) -> Iterator[str]:
    """The address at which ``iedit serve`` serves the champion."""
    port = free_port()
    command = ["iedit", "serve", "--model", "models:/iedit@champion", "--port", str(port)]
    log = (platform.project / "logs" / "serve.log").open("w")
    server = subprocess.Popen(
        command, cwd=platform.project.parent, env=platform.environment, stdout=log, stderr=log, start_new_session=True
    )

    def answers() -> bool:
        assert server.poll() is None, (platform.project / "logs" / "serve.log").read_text()[-3000:]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5).is_success
        except httpx.HTTPError:
            return False

    try:
        until(answers)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        log.close()


def request(platform: Platform, **changes: Any) -> dict[str, Any]:
    picture = base64.b64encode((platform.project / "reports/latest/samples/source.png").read_bytes()).decode()
    row = {"image": picture, "prompt": "a red apple"} | changes.pop("row", {})
    return {"dataframe_records": [row], "params": {"mask_mode": "none", "num_inference_steps": 2} | changes}


def test_the_champion_edits_over_rest(platform, served):
    body = request(platform, num_images=2, seed=3, strength=0.9, guidance_scale=2.0)
    answers = [httpx.post(served, json=body, timeout=600) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    first, second = (answer.json()["predictions"] for answer in answers)
    assert first == second
    assert [(edit["row"], edit["number"]) for edit in first] == [(0, 0), (0, 1)]
    assert first[0]["image"] != first[1]["image"]
    assert decode_picture(first[0]["image"]).size == (64, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": {"image": "not base64!"}}, "row 0: image: not base64: Only base64 data is allowed"),
        ({"row": {"image": "aGVsbG8="}}, f"row 0: image: not an image ({', '.join(FORMATS)})"),
        ({"row": {"prompt": " "}}, "row 0: prompt: must not be blank"),
        ({"row": {"prompt": 5}}, "row 0: prompt: must be text, is int"),
        ({"strength": 1.5}, "strength = 1.5: must be a number, above 0 and at most 1"),
        ({"num_images": 99}, "number of images = 99: allowed is 1 to 16"),
        ({"mask_mode": "magic"}, "mask_mode = 'magic': allowed are predicted, given, none"),
        ({"mask_mode": "given"}, "row 0: no mask is given, but mask_mode is 'given'"),
    ],
)
def test_invalid_request_is_answered_in_one_line(platform, served, changes, message):
    answer = httpx.post(served, json=request(platform, **changes), timeout=600)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no JSON", "not JSON"),
        (b"{}", "exactly one of the input fields"),
        (b'{"dataframe_records": [{"prompt": "a dog"}]}', "missing inputs ['image']"),
        (b'{"dataframe_records": [{"image": "", "prompt": "a"}], "params": {"strength": "high"}}', "'strength'"),
        (b'{"dataframe_records": [{"image": "", "prompt": "a"}], "params": {"num_images": 1.5}}', "'num_images'"),
    ],
)
def test_mlflow_refuses_requests_outside_the_signature(served, content, message):
    answer = httpx.post(served, content=content, headers={"Content-Type": "application/json"}, timeout=600)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_the_service_follows_the_champion(platform, served):
    """Back too; every edit meanwhile is answered, by the version that it names."""
    source = (platform.project / "reports/latest/samples/source.png").read_bytes()
    edited: dict[bytes, set[bytes]] = {}  # the version that a result names → the pixels

    def editor() -> bytes:
        answer = httpx.post(
            served.replace("invocations", "v1/images/edits"),
            files={"image": source},
            data={"prompt": "a red apple", "mask_mode": "none", "steps": "2", "seed": "3"},
            timeout=600,
        )
        assert answer.is_success, answer.text
        (text,) = (result["b64_json"] for result in answer.json()["data"])
        (version,) = re.findall(rb">models:/iedit/(\d+)<", base64.b64decode(text))
        edited.setdefault(version, set()).add(decode_picture(text).tobytes())
        return version

    assert editor() == b"1"
    iedit(platform, platform.project, "promote", "2", "--force")
    until(lambda: editor() == b"2")
    iedit(platform, platform.project, "rollback")
    until(lambda: editor() == b"1")
    assert {version: len(pixels) for version, pixels in edited.items()} == {b"1": 1, b"2": 1}
    assert edited[b"1"] != edited[b"2"]
