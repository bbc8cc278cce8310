"""The store that has the last version is known, however its address is given."""

import pytest

from stages.core.errors import InputError
from stages.core.paths import LAST_STORE
from stages.tracking.last_store import check_store_is_last, note_store

SERVER = "postgresql://iedit:secret@database/mlflow"
REFUSAL = (
    r"^mlflow\.db: this project registered its last version in postgresql://database/mlflow, whose versions need data too; set"
    r" MLFLOW_TRACKING_URI to that, or remove logs/store\.json if they are given up$"
)


@pytest.fixture
def registered_elsewhere(tmp_path, monkeypatch) -> None:
    """The current folder's project has registered its last version, m-1, to a server; now its own store is current."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    note_store("m-1")
    check_store_is_last()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_another_store_than_the_last_is_refused(registered_elsewhere):
    with pytest.raises(InputError, match=REFUSAL):
        check_store_is_last()
    assert "secret" not in LAST_STORE.read_text()


def test_a_store_whose_files_lie_here_may_be_another(registered_elsewhere, tmp_path):
    (tmp_path / ".servers/mlflow/artifacts/1/models/m-1").mkdir(parents=True)
    check_store_is_last()


def test_the_projects_own_store_is_known_after_a_move(tmp_path, monkeypatch):
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.chdir(first)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_store_is_last()
    note_store("m-1")
    monkeypatch.chdir(first.rename(tmp_path / "second"))
    check_store_is_last()
