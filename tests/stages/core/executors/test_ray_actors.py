"""Actors of a Ray cluster: the bytes and counts of one process, whichever actor or machine is lost."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from stages.core.errors import InputError
from stages.core.shards import SERIAL
from tests.support import ROOT
from tests.support.drivers import end_driver_by, is_alive
from tests.support.harness import wait_for
from tests.support.workers import RAY, outputs, upper_case

COMMAND = str(Path(sys.executable).with_name("ray"))
TEXTS = ["wait", "b", "die once", "b", "go"]  # the first shard ends last
pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Let actors import the worker of these tests; a stage's own workers are in the installed package."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two machines with one core each, at RAY_ADDRESS; the second can be taken away."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = made.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made, second
    made.shutdown()


def test_a_stage_starts_a_cluster_and_stops_it(monkeypatch):
    """An actor is killed on the way, and nothing is left in the home folder."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    Path("home").mkdir()
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    together = upper_case(TEXTS, RAY)
    assert Path("died-2").exists()
    assert together == upper_case(TEXTS, SERIAL, folder=Path("alone"))
    assert outputs() == outputs(Path("alone"))
    assert upper_case(TEXTS, RAY).shards_reused == len(TEXTS)
    assert not list(Path("home").iterdir())
    assert [child.name() for child in psutil.Process().children(recursive=True) if "ray" in child.name()] == []


@pytest.mark.exhaustive
class TestCluster:
    def test_shards_of_a_lost_machine_are_made_elsewhere(self, cluster):
        made, second = cluster
        failed = []

        def work() -> None:
            try:
                upper_case(["wait"] * 4, RAY)
            except BaseException as error:
                failed.append(error)
                raise

        working = threading.Thread(target=work)
        working.start()
        wait_for(lambda: len(list(Path().glob("waits-*"))) == 2)
        actors = [int(path.name.rpartition("-")[2]) for path in Path().glob("waits-*")]
        made.remove_node(second, allow_graceful=False)
        wait_for(lambda: sum(map(is_alive, actors)) == 1)  # before that, it could still finish its shard
        Path("go").touch()
        working.join()
        assert failed == []
        assert [outputs()[f"{number}.out"] for number in range(4)] == [b"WAIT"] * 4
        assert len(list(Path().glob("waits-*"))) == 5  # one shard was begun twice

    def test_shard_that_always_fails_is_named(self, cluster):
        with pytest.raises(
            InputError, match=r"^out/1\.out: 3 workers died while making it, the last one with ActorDiedError: "
        ):
            upper_case(["a", "die", "c"], RAY)
        assert not list(Path("out").glob("1.*"))

    def test_bad_input_is_the_same_line(self, cluster):
        with pytest.raises(InputError, match=r"^in/1: refused$"):
            upper_case(["a", "refuse"], RAY)

    def test_no_more_actors_start_than_there_are_shards(self, cluster):
        upper_case(["a"], RAY.model_copy(update={"workers": None}))
        assert len(list(Path().glob("loaded-*"))) == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_actor_is_left_when_the_driver_ends(by, handles_interrupts, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    end_driver_by(by, "RAY")


def test_cluster_that_does_not_answer_is_one_line():
    with pytest.raises(InputError, match=r"^execution.address = '127.0.0.1:9': no Ray cluster answers there"):
        upper_case(["a"], RAY.model_copy(update={"address": "127.0.0.1:9"}))


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:x", "127.0.0.1:65536", ":6379"])
def test_address_without_host_or_port_is_one_line(address):
    with pytest.raises(InputError, match=f"^execution.address = .{re.escape(address)}.: must be HOST:PORT, as"):
        upper_case(["a"], RAY.model_copy(update={"address": address}))


def test_address_of_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS = 'auto': must be HOST:PORT, as"):
        upper_case(["a"], RAY)


@pytest.mark.exhaustive
class TestClusterOfTheCommandLine:
    """As docs/cluster.md starts it, with a token, and the second machine on the same address."""

    @pytest.fixture
    def environment(self, tmp_path_factory) -> dict[str, str]:
        environment = os.environ | {"HOME": str(tmp_path_factory.mktemp("home")), "RAY_worker_niceness": "0"}
        for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
            environment.pop(name, None)
        subprocess.run([COMMAND, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
        return environment | {"RAY_AUTH_MODE": "token"}

    @pytest.fixture
    def address(self, environment):
        """The address of a cluster of two machines."""
        port = free_port()
        quiet = ["--num-cpus", "1", "--block", "--disable-usage-stats"]
        start = [COMMAND, "start", "--head", "--port", str(port), "--include-dashboard", "false", *quiet]
        with ended(subprocess.Popen(start, env=environment)):
            wait_for(lambda: is_open(port))
            join = [COMMAND, "start", "--address", f"127.0.0.1:{port}", *quiet]
            with ended(subprocess.Popen(join, env=environment)):
                yield f"127.0.0.1:{port}"

    def test_it_makes_the_shards(self, address, environment):
        drive(address, environment)
        upper_case(TEXTS, SERIAL, folder=Path("alone"))
        assert outputs() == outputs(Path("alone"))

    def test_without_its_token_nobody_is_let_in(self, address, environment):
        (Path(environment["HOME"]) / ".ray/auth_token").write_text("0" * 64)
        with pytest.raises(subprocess.CalledProcessError) as caught:
            drive(address, environment)
        last = caught.value.stderr.strip().splitlines()[-1]
        assert f"InputError: execution.address = '{address}': the Ray cluster there does not take this machine in" in last


def drive(address: str, environment: dict[str, str]) -> None:
    """Run the stage in a process of its own: Ray reads its environment once in a process."""
    call = f"upper_case({TEXTS}, RAY.model_copy(update={{'address': {address!r}}}))"
    script = f"from tests.support.workers import RAY, upper_case; {call}"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
