"""Fixtures for all tests."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from stages.core.digests import Digests
from stages.core.paths import DIGESTS
from tests.support import ROOT, harness

FORKING = ("tests/stages/training/test_loader.py",)
TOGETHER = (
    (  # in the same project, which the pipeline ran in once
        "tests/stages/core/test_interruption.py",
        "tests/stages/core/executors/test_engines.py",
        "tests/stages/test_increments.py",
        "tests/ops/test_accelerate.py",
    ),
    ("tests/flows/",),  # with the same Prefect server
)
LONGEST = (
    "tests/stages/core/test_interruption.py",
    "tests/stages/serving/page/test_page.py",
    "tests/ops/",
    "tests/test_end_to_end.py",
    "tests/flows/",
)
FIRST = (*FORKING, *LONGEST)


def pytest_collection_modifyitems(items):
    """Begin with what forks this process, before Ray and Prefect start their threads in it, and then with the longest files.

    Two processes share the tests by file, and should end together.
    """
    place = {path: number for number, path in enumerate(FIRST)}
    items.sort(key=lambda item: next((place[path] for path in FIRST if item.nodeid.startswith(path)), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Share the tests by file, but leave files that begin with the same minutes of work to one process."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Sharing(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return next((files[0] for files in TOGETHER if file.startswith(files)), file)

    return Sharing(config, log)


def forget_store():
    # MLflow writes the address of its store into the environment, where the next test would find it.
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True, scope="module")
def module_finds_its_own_store():
    forget_store()


@pytest.fixture(autouse=True)
def test_finds_its_own_store():
    forget_store()


@pytest.fixture(autouse=True)
def test_begins_with_one_thread():
    """Undo what a stage set in this process: several threads divide a batch, and its parts decide how sums are rounded."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def process_remembers_its_own_digests(tmp_path_factory):
    """Stages take turns in a project; two processes of tests work in this one at once."""
    own, begin = tmp_path_factory.mktemp("digests"), Digests.__init__

    def begin_apart(self, memory: Path = DIGESTS) -> None:
        begin(self, own if memory == DIGESTS and Path.cwd() == ROOT else memory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Digests, "__init__", begin_apart)
        yield


@pytest.fixture
def handles_interrupts():
    """Handle SIGINT: shells ignore it for background jobs, and children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> harness.Project:
    """A folder in which the pipeline ran once undisturbed on tiny models, with a record of what it left."""
    return harness.run_once(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An empty mlflow.db to copy: MLflow takes many seconds to make one."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        from stages.tracking import store

        store.connect().create_registered_model("iedit")
        forget_store()
    return folder / "mlflow.db"


@pytest.fixture
def client(empty_store, tmp_path, monkeypatch):
    """A client of the test's own store."""
    from stages.tracking import store

    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return store.connect()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """One tiny random model of each family, saved once for all tests; see tiny_corpus.make_models."""
    from tests.support import tiny_corpus

    return tiny_corpus.make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty working directory in which stages read and write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path
