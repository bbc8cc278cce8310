"""A remote of the schedule's own: only an empty place becomes one, and it is pruned from then on."""

import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from dvc.repo import Repo

from flows.support import remote
from flows.support.dag import local_remote
from stages.core.errors import InputError
from stages.core.params_file import read_params
from tests.ops.storage import AWS, s3_server
from tests.support import ROOT
from tests.support.composed import copy_conf
from tests.support.flow_project import make_dvc_project


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The current folder: a project with a default remote that every clone knows."""
    folder = tmp_path / "iedit"
    folder.mkdir()
    make_dvc_project(folder, "stages: {}\n")
    with (folder / ".dvc/config").open("a") as file:
        file.write("    remote = home\n['remote \"home\"']\n    url = ../../home\n")
    copy_conf(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("IEDIT_REMOTE", raising=False)
    return folder


def push(name: str) -> None:
    Path(name).write_text(name)
    with Repo() as repo:
        repo.add(name)
        repo.push()


def test_an_empty_place_becomes_the_remote_that_is_pruned(project, monkeypatch):
    before = Path(".dvc/config").read_bytes()
    for folder in ("first", "first", "second"):
        monkeypatch.setenv("IEDIT_REMOTE", str(project.parent / folder))
        remote.main()
        assert local_remote() == project.parent / folder
        assert read_params().upkeep.prune_remote == "schedule"
        push(folder)
        assert [path for path in (project.parent / folder).rglob("*") if path.is_file()]
    assert Path(".dvc/config").read_bytes() == before
    assert not (project.parent / "home").exists()


def test_a_place_with_data_is_refused_and_nothing_changes(project):
    push("theirs")
    for own, pruned in (("home", None), ("own", "schedule")):
        if pruned:
            remote.use_remote(f"../{own}")
        before = Path(".dvc/config.local").read_bytes() if pruned else None
        with pytest.raises(InputError, match=r"^IEDIT_REMOTE = \.\./home: is not empty, so it may be another's; "):
            remote.use_remote("../home")
        assert local_remote() == project.parent / own
        assert read_params().upkeep.prune_remote == pruned
        assert (Path(".dvc/config.local").read_bytes() if pruned else None) == before


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("../photos", r"is not empty, so it may be another's; "),
        ("../photos/0.jpg", r"cannot be used: \[Errno 17\] File exists: "),
        ("/proc/foo", r"cannot be used: \[Errno 2\] No such file or directory: "),
        ("s3://bucket/iedit", r"cannot be used: Unable to locate credentials$"),
        ("ssh://user:secret@localhost/iedit", r"cannot be used: .*dvc-ssh"),
        ("http://user:secret@127.0.0.1:9/iedit", r"cannot be used: "),
        ("s3://[bad/iedit", r"is no URL: Invalid IPv6 URL$"),
        ("nothing://bucket/iedit", r""),
    ],
)
def test_a_place_that_cannot_be_used_is_refused(project, monkeypatch, address, reason):
    (project.parent / "photos").mkdir()
    (project.parent / "photos/0.jpg").touch()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(project.parent))  # there are no credentials
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("IEDIT_REMOTE", address)
    with pytest.raises(SystemExit) as refused:
        remote.main()
    shown = address.replace("user:secret@", "")
    assert re.fullmatch(f"error: IEDIT_REMOTE = {re.escape(shown)}: {reason}.*", refused.value.code)
    assert local_remote() is not None
    assert read_params().upkeep.prune_remote is None


def test_a_server_that_takes_nothing_is_refused(project):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # answers 501 to everything
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match="cannot be used: "):
            remote.use_remote(f"http://127.0.0.1:{server.server_port}/none")
        server.shutdown()


def test_a_folder_is_followed_by_a_url(project, monkeypatch):
    """DVC knows options of folders that it takes for no URL. A bucket may be missing."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    remote.use_remote("../own")
    with s3_server(project.parent / "s3.log", "mine") as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(InputError, match=r"^IEDIT_REMOTE = s3://another/iedit: cannot be used: "):
            remote.use_remote("s3://another/iedit")
        assert local_remote() == project.parent / "own"
        remote.use_remote("s3://mine/iedit")
        with Repo() as repo:
            assert repo.config["remote"]["schedule"]["url"] == "s3://mine/iedit"


def test_a_folder_may_be_a_url_or_a_new_disk(project):
    with pytest.raises(InputError, match="lies in the project's folder"):
        remote.use_remote(f"file://{project}/inner")
    (project.parent / "disk/lost+found").mkdir(parents=True)
    remote.use_remote(f"file://{project.parent}/disk")
    assert local_remote() == project.parent / "disk"


def test_a_remote_that_is_not_pruned_is_named(project, capsys, monkeypatch):
    remote.main()
    assert "IEDIT_REMOTE=/srv/iedit-dvc make deploy" in capsys.readouterr().out
    monkeypatch.setenv("IEDIT_REMOTE", str(project.parent / "own"))
    remote.main()
    monkeypatch.delenv("IEDIT_REMOTE")
    remote.main()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("default", "expected"), [("home", "containers/schedule"), ("theirs", "home")])
def test_the_image_has_a_remote_unless_another_is_chosen(project, monkeypatch, default, expected):
    """What the Dockerfile runs for it, on the project and with the packages here."""
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace("home\n['remote \"home", f"{default}\n['remote \"{default}"))
    (command,) = re.findall(r"\{ (.*?) \}", (ROOT / "containers/Dockerfile").read_text(), re.DOTALL)
    volume = "/home/iedit/.local/share/iedit"
    assert volume in command
    assert f"remote:{volume}" in (ROOT / "containers/compose.yaml").read_text()
    command = command.replace(volume, str(project.parent / "containers")).replace(".venv/bin", str(Path(sys.executable).parent))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    subprocess.run(["sh", "-c", command], check=True)
    assert local_remote() == project.parent / expected
    assert read_params().upkeep.prune_remote == ("schedule" if default == "home" else None)
