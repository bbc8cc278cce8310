"""The units of systemd and the services of Docker Compose, run without either: their own commands, in their own environments.

What only systemd and Docker can do is left out: other users, bounds of memory, protected folders, images and volumes.
"""

import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from configparser import ConfigParser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.ops.platform import end
from tests.support import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of systemd's services, and of Debian's image
VARIABLES = "-/etc/iedit.env"  # read by every unit
COMPOSE = yaml.safe_load((ROOT / "containers/compose.yaml").read_text())


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is to be kept running."""

    name: str
    commands: list[list[str]]  # one after another; the last one is the service
    environment: dict[str, str]
    pause: float  # seconds until it starts again
    check: list[str] | None = None  # the command that says whether it is well
    ends: bool = False  # whether it may come to its end


def read_unit(path: Path, home: Path, variables: Mapping[str, str]) -> Service:
    """Return the service of a unit of systemd.

    Args:
        path: the unit.
        home: the home of its user.
        variables: those in /etc/iedit.env.
    """
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(path.read_text())
    service = unit["Service"]
    assert (service["WorkingDirectory"], service["EnvironmentFile"]) == ("/srv/iedit", VARIABLES)
    return Service(
        name=path.stem,
        commands=[shlex.split(service[key]) for key in ("ExecStartPre", "ExecStart") if key in service],
        environment={"PATH": PATH, "HOME": str(home), "USER": service["User"], "LANG": "C.UTF-8", **variables},
        pause=float(service["RestartSec"]),
        ends=service.get("Type") == "oneshot",
    )


def read_service(name: str, project: Path, home: Path, replaced: Mapping[str, str], variables: Mapping[str, str]) -> Service:
    """Return a service of Docker Compose.

    Args:
        name: its name.
        project: the folder in the place of the image's.
        home: the home of its user.
        replaced: words that stand for hosts, ports and folders of containers → what they are here.
        variables: environment variables that Docker Compose is called with, and any others that the service needs here.
    """
    service = COMPOSE["services"][name]
    given = {key: _filled_in(str(value), variables) for key, value in service["environment"].items() if value is not None}
    own = {"PATH": f"{project}/.venv/bin:{PATH}", "HOME": str(home)}
    check = service.get("healthcheck", {}).get("test", [])
    return Service(
        name=name,
        commands=[shlex.split(_replace(service["command"], replaced))],
        environment=own | {key: _replace(value, replaced) for key, value in given.items()} | dict(variables),
        pause=1.0,
        check=[_replace(word, replaced) for word in check[1:]] or None,
        ends=service["restart"] == "on-failure",
    )


def _filled_in(text: str, variables: Mapping[str, str]) -> str:
    """Return a value with the caller's variables in it, which may have a default, or have to be there."""

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        return variables.get(name, default) if kind == "-" else variables[name]

    return re.sub(r"\$\{(\w+):([?-])([^}]*)\}", value, text)


def _replace(text: str, replaced: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, replaced)), lambda match: replaced[match[0]], text)


def link_packages(project: Path) -> None:
    """Let a project's environment be the one that runs the tests; its folder and the stamp are there."""
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "installed":
            (project / ".venv" / entry.name).symlink_to(entry)


class Kept:
    """A service that runs, and starts again when it ends, in a thread of its own; its output goes to a log."""

    def __init__(self, service: Service, project: Path, log: Path) -> None:
        self.service, self.project, self.log = service, project, log
        self.starts = 0  # of its commands
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._stopped.is_set():
            ended_well = all(not self._stopped.is_set() and self._run(command) == 0 for command in self.service.commands)
            if ended_well and self.service.ends:
                return
            self._stopped.wait(self.service.pause)

    def _run(self, command: list[str]) -> int:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **self._place())
        self.starts += 1
        return self._process.wait()

    def _place(self) -> dict[str, Any]:
        return {"cwd": self.project, "env": self.service.environment}

    def is_well(self) -> bool:
        """Return whether its own check succeeds."""
        assert self.service.check is not None
        return subprocess.run(self.service.check, capture_output=True, check=False, **self._place()).returncode == 0

    def has_ended(self) -> bool:
        """Return whether it has come to its end."""
        return not self._thread.is_alive()

    def kill(self) -> None:
        """Kill its processes, after which it starts again."""
        assert self._process is not None
        end(self._process)

    def stop(self) -> None:
        """Stop it as systemd and Docker do, and wait until all its processes have ended."""
        self._stopped.set()
        while self._thread.is_alive():
            if self._process is not None and self._process.poll() is None:  # else its id may be another's
                with suppress(psutil.NoSuchProcess):
                    end(self._process, signal.SIGTERM)
            self._thread.join(1)
