"""What starts at boot and again after a failure: the units of systemd and the services of Docker Compose.

`make lint-containers` checks their syntax, and tests/ops/test_boot.py runs their commands; here is checked that they start what
there is, restart it, and bound its memory.
"""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
UNITS = sorted((ROOT / "containers/systemd").glob("*.service"))
COMPOSE = yaml.safe_load((ROOT / "containers/compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def targets_in(command: str) -> list[str]:
    return re.findall(r"\bmake ([\w./-]+)", command)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_restarts_a_target_of_the_makefile(path: Path):
    unit = ConfigParser(interpolation=None)
    unit.read_string(path.read_text())
    service = unit["Service"]
    started = [target for key in ("ExecStartPre", "ExecStart") for target in targets_in(service.get(key, ""))]
    assert started
    assert set(started) <= TARGETS | {".venv/installed"}
    restart = "on-failure" if service.get("Type") == "oneshot" else "always"  # installing comes to an end
    assert (service["Restart"], unit["Unit"]["StartLimitIntervalSec"]) == (restart, "0")  # however often it fails
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert "MemoryMax" in service
    ours = {name for name in unit["Unit"]["Wants"].split() if name.startswith("iedit-")}
    assert ours <= {each.name for each in UNITS}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_restarts_and_rotates_its_log(name):
    service = SERVICES[name]
    assert service["restart"] == ("on-failure" if name == "deploy" else "unless-stopped")  # deploying comes to an end
    assert service["logging"] == {"driver": "local"}
    assert "mem_limit" in service
    assert set(targets_in(service.get("command", ""))) <= TARGETS
    assert set(service.get("depends_on", {})) <= SERVICES.keys()


@pytest.mark.parametrize(
    "folder", ["data", "models", "logs", yaml.safe_load((ROOT / "params.yaml").read_text())["download"]["folder"]]
)
def test_what_nights_make_outlives_the_container(folder):
    """In a volume of the user that the worker runs as, and not in the image."""
    assert folder in COMPOSE["volumes"]
    assert f"{folder}:/project/{folder}" in SERVICES["worker"]["volumes"]
    (made,) = re.findall(r"mkdir -p (.*)$", (ROOT / "containers/Dockerfile").read_text(), re.MULTILINE)
    assert folder in made.split()
    assert folder in (ROOT / "containers/Dockerfile.dockerignore").read_text().split()
