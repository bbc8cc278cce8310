"""The cluster of containers/ray.yaml: whatever must outlive a pod lies on the volume, and training has a GPU."""

import os
import re
import signal
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from tests.support import ROOT

CLAIM, POLICY, CLUSTER = yaml.safe_load_all((ROOT / "containers/ray.yaml").read_text())
HEAD = CLUSTER["spec"]["headGroupSpec"]
(WORKERS,) = CLUSTER["spec"]["workerGroupSpecs"]


def pod_of(group: dict[str, Any]) -> dict[str, Any]:
    return group["template"]["spec"]


def container_of(group: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_of(group)["containers"]
    return container


@pytest.mark.parametrize("group", [HEAD, WORKERS], ids=["head", "workers"])
def test_the_projects_folder_lies_on_the_volume(group):
    pod, container = pod_of(group), container_of(group)
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    for each in (container, *pod.get("initContainers", ())):
        (mount,) = each["volumeMounts"]
        assert mount == {"name": volume["name"], "mountPath": "/store"}
    folder = PurePosixPath(container["workingDir"])
    assert folder.is_relative_to("/store")
    (hub,) = (each["value"] for each in container["env"] if each["name"] == "HF_HOME")
    assert PurePosixPath(hub).is_relative_to("/store")


@pytest.fixture
def start_head(tmp_path):
    """Runs the command of the head's first container on a project and a volume of the test's; returns its exit code."""
    git("init", "--quiet", str(tmp_path / "project"))
    commit(tmp_path / "project", "first")
    (tmp_path / "store").mkdir()
    (init,) = pod_of(HEAD)["initContainers"]
    command = [re.sub(r"(?<![\w/])/(?=project|store)", f"{tmp_path}/", word) for word in init["command"]]

    def run(**environment: str) -> int:
        return subprocess.run(command, env=os.environ | environment, check=False, timeout=60, start_new_session=True).returncode

    return run


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, timeout=60)


def commit(project: Path, text: str) -> None:
    (project / "file").write_text(text)
    git("-C", str(project), "add", "file")
    git("-C", str(project), "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", text)


def test_only_a_new_volume_gets_the_project(start_head, tmp_path):
    clone = tmp_path / "store/project/file"
    assert start_head() == 0
    assert clone.read_text() == "first"
    clone.write_text("changed by its user")
    assert start_head() == 0
    assert clone.read_text() == "changed by its user"
    assert "initContainers" not in pod_of(WORKERS)  # two that clone at once would disturb each other


def test_a_clone_that_is_killed_is_begun_anew(start_head, tmp_path):
    """Git makes .git first; this one is killed right after it, and its shell with it."""
    dying = tmp_path / "bin/git"
    dying.parent.mkdir()
    dying.write_text('#!/bin/sh\nfor folder; do :; done\nmkdir -p "$folder/.git"\nkill -KILL 0\n')
    dying.chmod(0o755)
    assert start_head(PATH=f"{dying.parent}:{os.environ['PATH']}") == -signal.SIGKILL
    (tmp_path / "store/project").mkdir(exist_ok=True)  # as the machine makes it for a container that works there
    assert start_head() == 0
    assert (tmp_path / "store/project/file").read_text() == "first"
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["project"]


def test_training_has_a_gpu_that_no_worker_takes():
    for group in (HEAD, WORKERS):
        for limits in container_of(group)["resources"].values():
            assert int(limits["nvidia.com/gpu"]) == 1
    assert (HEAD["rayStartParams"]["num-gpus"], HEAD["rayStartParams"]["num-cpus"]) == ("0", "0")
    assert "num-gpus" not in WORKERS["rayStartParams"]  # the operator takes it from the limits


def test_pods_run_one_image_and_only_they_reach_ray():
    images = {each["image"] for group in (HEAD, WORKERS) for each in pod_of(group)["containers"]}
    assert images == {each["image"] for each in pod_of(HEAD)["initContainers"]} == {"iedit:0.1.0"}
    name = CLUSTER["metadata"]["name"]
    assert POLICY["spec"]["podSelector"]["matchLabels"] == {"ray.io/cluster": name}
    assert POLICY["spec"]["policyTypes"] == ["Ingress"]
