"""What starts at boot starts, serves, comes back after a kill, and stops: the units of systemd, the services of Compose."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy

from flows.support.dag import local_remote
from stages.core.params_file import read_params
from tests.ops.boot import COMPOSE, Kept, link_packages, read_service, read_unit
from tests.ops.platform import Platform, free_port, until
from tests.ops.storage import postgresql_programs, postgresql_server
from tests.support import ROOT
from tests.support.small_project import make_project

UNITS = {path.stem: path for path in (ROOT / "containers/systemd").glob("*.service")}
REGISTER = "from pathlib import Path; from tests.support.registered import make_registered_project as m; m(Path.cwd())"


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    """A small project with the packages of this environment; the platform only asks its servers."""
    project, home = tmp_path / "iedit", tmp_path / "home"
    home.mkdir()
    make_project(project)
    platform = Platform(project)
    link_packages(project)
    try:
        yield platform
    finally:
        platform.stop_all()


def is_ready(platform: Platform) -> bool:
    """Return whether both servers answer and a worker waits for runs."""
    try:
        return platform.ask("work_pools/iedit", method="GET")["status"] == "READY" and answers(f"{platform.mlflow}/health")
    except httpx.HTTPError:
        return False


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).is_success
    except httpx.HTTPError:
        return False


def register_champion(platform: Platform, folder: Path) -> None:
    (folder / "model").mkdir()
    environment = os.environ | {"MLFLOW_TRACKING_URI": platform.mlflow, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", REGISTER], cwd=folder / "model", env=environment, check=True)


def check_a_run(platform: Platform) -> None:
    run_id = until(lambda: ordered(platform))
    assert platform.end_of(run_id) == "Completed", platform.log(run_id)


def ordered(platform: Platform) -> str:
    try:
        return platform.order("pipeline/on-demand", targets=["ingest"])
    except httpx.TransportError:  # the server starts again
        return ""


def test_units_start_serve_restart_and_stop(platform, tmp_path, monkeypatch):
    """The packages first, then the worker, which waits for Prefect; the editor waits for a champion, then serves it."""
    ports = {"PREFECT_PORT": platform.prefect.rpartition(":")[2], "MLFLOW_PORT": platform.mlflow.rpartition(":")[2]}
    variables = ports | {"IEDIT_REMOTE": str(tmp_path / "remote"), "PYTHONPATH": str(platform.project), "OMP_NUM_THREADS": "1"}
    port = str(free_port())
    variables |= {"EDITOR_PORT": port, "MLFLOW_TRACKING_URI": platform.mlflow}
    editor = f"http://127.0.0.1:{port}/health"
    kept: dict[str, Kept] = {}

    def start(name: str) -> None:
        unit = read_unit(UNITS[name], tmp_path / "home", variables)
        kept[name] = Kept(unit, platform.project, tmp_path / f"{name}.log")

    try:
        start("iedit-install")
        until(kept["iedit-install"].has_ended)
        del kept["iedit-install"]
        start("iedit-worker")
        until(lambda: kept["iedit-worker"].starts >= 2)
        for name in UNITS.keys() - kept.keys() - {"iedit-install"}:
            start(name)
        until(lambda: is_ready(platform))
        check_a_run(platform)
        until(lambda: "model = 'champion': no such model" in kept["iedit-editor"].log.read_text())
        register_champion(platform, tmp_path)
        until(lambda: answers(editor))
        before = {name: each.starts for name, each in kept.items()}
        for each in kept.values():
            each.kill()
        until(lambda: all(each.starts > before[name] for name, each in kept.items()) and is_ready(platform))
        until(lambda: answers(editor))
        check_a_run(platform)
    finally:
        for each in kept.values():
            each.stop()
    assert platform.processes() == []
    monkeypatch.chdir(platform.project)
    assert (local_remote(), read_params().upkeep.prune_remote) == (tmp_path / "remote", "schedule")


@pytest.fixture
def database() -> Iterator[dict[str, str]]:
    """The variables by which clients find a PostgreSQL server on another port, with what Compose makes in its own."""
    pytest.importorskip("psycopg2")
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql_server(programs, "prefect") as address:
        made = {"iedit": "CREATE ROLE prefect SUPERUSER LOGIN", "prefect": COMPOSE["configs"]["mlflow.sql"]["content"]}
        for user, statement in made.items():
            engine = sqlalchemy.create_engine(address.replace("iedit@", f"{user}@"), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text(statement))
            engine.dispose()
        host, _, port = address.split("@")[1].partition("/")[0].partition(":")
        yield {"PREFECT_SERVER_DATABASE_HOST": host, "PREFECT_SERVER_DATABASE_PORT": port, "PGPORT": port}


def test_services_start_in_their_order_and_serve(platform, database, tmp_path):
    """The editor starts again and again until there is a champion."""
    editor = str(free_port())
    replaced = {
        "iedit serve": f"iedit serve --port {editor}",
        "0.0.0.0": "127.0.0.1",
        "4200": platform.prefect.rpartition(":")[2],
        "5000": platform.mlflow.rpartition(":")[2],
        "5001": editor,
        **{f"//{name}:": "//127.0.0.1:" for name in ("prefect", "mlflow")},
        "@database/": "@127.0.0.1/",
        "/store/": f"{tmp_path}/store/",
    }
    secrets = {"POSTGRES_PASSWORD": "p", "IEDIT_API_KEY": "k" * 16}
    variables = secrets | {"PYTHONPATH": str(platform.project), "OMP_NUM_THREADS": "1"}
    kept: dict[str, Kept] = {}
    try:
        for name in ("prefect", "mlflow", "deploy", "worker", "editor"):
            for other, wanted in COMPOSE["services"][name]["depends_on"].items():
                condition = wanted["condition"].removeprefix("service_")
                if other in kept and condition == "healthy":
                    until(kept[other].is_well)
                elif other in kept and condition == "completed_successfully":
                    until(kept[other].has_ended)
            service = read_service(name, platform.project, tmp_path / "home", replaced, variables | database)
            kept[name] = Kept(service, platform.project, tmp_path / f"{name}.log")
        until(lambda: is_ready(platform))
        check_a_run(platform)
        until(lambda: kept["editor"].starts >= 2)
        assert "model = 'champion': no such model" in kept["editor"].log.read_text()
        register_champion(platform, tmp_path)
        until(kept["editor"].is_well)
    finally:
        for each in kept.values():
            each.stop()
    assert list((tmp_path / "store").rglob("MLmodel"))
    assert not list(tmp_path.rglob("mlflow.db"))
    assert not list(tmp_path.rglob("prefect.db"))
    assert platform.processes() == []
