"""The cluster of containers/ray.yaml: whatever must outlive a pod lies on the volume, and training has a GPU."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from stages.core import paths
from stages.tracking.location import DATABASE
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
    state = [path for path in vars(paths).values() if isinstance(path, Path)]
    for path in (*state, DATABASE, Path(".dvc/cache"), Path("mlruns")):  # all relative, so below the folder
        assert (folder / path.as_posix()).is_relative_to(folder)
        assert ".." not in path.parts


def test_only_a_new_volume_gets_the_project():
    (init,) = pod_of(HEAD)["initContainers"]
    folder = container_of(HEAD)["workingDir"]
    assert init["command"] == ["sh", "-c", f"test -d {folder}/.git || git clone /project {folder}"]
    assert "initContainers" not in pod_of(WORKERS)  # two that clone at once would disturb each other


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
