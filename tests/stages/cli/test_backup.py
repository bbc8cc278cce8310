"""``iedit backup`` and ``iedit restore``: a project that is lost, and comes back with its champion."""

import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from stages.cli import backup
from stages.cli import main as cli
from stages.core.archive import write_archive
from stages.core.paths import LAST_STORE
from stages.tracking import history, registry, store
from stages.tracking.last_store import note_store
from tests.support import ROOT
from tests.support.recorded_project import commit, git
from tests.support.stores import forget_places


@pytest.fixture
def project(registered_project, tmp_path, monkeypatch) -> Path:
    """The current folder: a project with a champion, in git, with choices, decisions, and a Prefect database in use."""
    folder = tmp_path / "project"
    shutil.copytree(registered_project, folder)
    enter(folder, monkeypatch)
    shutil.copytree(ROOT / "conf", "conf")
    shutil.copy(ROOT / "prefect.yaml", ".")
    Path(".dvc").mkdir(exist_ok=True)
    shutil.copy(ROOT / ".dvc/config", ".dvc")
    Path(".gitignore").write_text("/mlflow.db*\n/mlruns/\n/.servers/\n/logs/\n/data/\n/models/\n")
    git("init", "-q")
    commit("start")
    Path("dvc.lock").write_text("schema: '2.0'\n")
    Path("conf/review.jsonl").write_text('{"key": "1"}\n')
    for name in ("data/preferences/answers.jsonl", "mlruns/iedit/1/artifacts/checkpoints/last.safetensors"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(name)
    shutil.copy("conf/preset/embedded.yaml", "conf/preset/mine.yaml")
    for name in (".dvc/config", "prefect.yaml"):
        with Path(name).open("a") as file:
            file.write("# ours\n")
    store.connect()
    return folder


def enter(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    forget_places()


def clone(project: Path, name: str, monkeypatch) -> None:
    """Clone what git has of a project, and make the clone the current folder."""
    folder = project.with_name(name)
    subprocess.run(["git", "clone", "-q", project / ".git", folder], check=True)
    enter(folder, monkeypatch)


def iedit(capsys, *arguments: str) -> tuple[int, str]:
    code = cli.main(arguments)
    output = capsys.readouterr()
    return code, output.out + output.err


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.parts[-2] != "logs"}


def test_a_lost_project_is_restored_with_its_champion(project, capsys, monkeypatch):
    Path(".servers/prefect").mkdir(parents=True)
    with closing(sqlite3.connect(".servers/prefect/prefect.db")) as prefect:
        prefect.execute("PRAGMA journal_mode = WAL")
        prefect.execute("CREATE TABLE deployment (name TEXT)")
        prefect.execute("INSERT INTO deployment VALUES ('nightly')")
        prefect.commit()  # what it holds is in the log beside it, as with a running server
        code, said = iedit(capsys, "backup", "../kept.tar")
    assert code == 0, said
    events = history.read_events(store.connect())
    clone(project, "clone", monkeypatch)
    shutil.rmtree(project)

    code, said = iedit(capsys, "restore", "../kept.tar")
    assert code == 0, said
    assert "the code was at commit" not in said
    client = store.connect()
    assert history.read_events(client) == events
    assert registry.current_champion().metrics == {"clip_score": 61.5}
    assert registry.fetch_model(client, registry.CHAMPION_URI).is_relative_to(Path.cwd())
    assert mlflow.pyfunc.load_model(registry.CHAMPION_URI)
    assert Path("dvc.lock").read_text() == "schema: '2.0'\n"
    assert Path("conf/review.jsonl").read_text() == '{"key": "1"}\n'
    assert Path("data/preferences/answers.jsonl").is_file()
    assert Path("conf/preset/mine.yaml").is_file()
    assert all(Path(name).read_text().endswith("# ours\n") for name in (".dvc/config", "prefect.yaml"))
    assert not list(Path("mlruns").rglob("checkpoints"))
    with closing(sqlite3.connect(".servers/prefect/prefect.db")) as prefect:
        assert prefect.execute("SELECT name FROM deployment").fetchall() == [("nightly",)]


@pytest.mark.parametrize("target", ["../backups", ".", "../missing/kept.tar"])
def test_a_backup_replaces_no_folder(project, capsys, target):
    Path("../backups").mkdir()
    Path("../backups/monday.tar").touch()
    assert iedit(capsys, "backup", target) == (2, f"error: {target}: must name a file, in a folder that exists\n")
    assert Path("../backups/monday.tar").exists()


def test_a_file_that_cannot_be_written_is_named(project, capsys):
    code, said = iedit(capsys, "backup", "/proc/kept.tar")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: /proc/kept.tar: ")
    assert not backup.SNAPSHOTS.exists()


def test_a_project_with_logs_on_another_disk_is_restored(project, capsys, monkeypatch):
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    clone(project, "clone", monkeypatch)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as logs:
        if Path(logs).stat().st_dev == Path().stat().st_dev:
            pytest.skip("there is only one disk")
        Path("logs").symlink_to(logs)
        assert iedit(capsys, "restore", "../kept.tar")[0] == 0
    assert registry.current_champion().metrics == {"clip_score": 61.5}


def test_a_backup_is_for_its_owner_alone(project, capsys, monkeypatch):
    """So are the copies of databases that it is made from, which do not stay."""
    modes = []

    def write(*arguments: object) -> None:
        modes.append(backup.SNAPSHOTS.stat().st_mode & 0o777)
        write_archive(*arguments)

    monkeypatch.setattr(backup, "write_archive", write)
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    assert [*modes, Path("../kept.tar").stat().st_mode & 0o777] == [0o700, 0o600]
    assert not backup.SNAPSHOTS.exists()


def test_what_lies_behind_links_is_backed_up(project, capsys, monkeypatch, tmp_path):
    """As where the models have been moved to a larger disk; a link that leads back is no way to more."""
    large = tmp_path / "large"
    large.mkdir()
    models, database = Path("mlruns/iedit/models"), Path("mlflow.db")
    for path in (models, database, Path("data/preferences/answers.jsonl")):
        path.rename(large / path.name)
        path.symlink_to(large / path.name)
    (large / "models/back").symlink_to(project / "mlruns")
    before = registry.fetch_model(store.connect(), registry.CHAMPION_URI)
    weights = {path.relative_to(before): path.read_bytes() for path in before.rglob("*") if path.is_file()}
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    clone(project, "clone", monkeypatch)
    shutil.rmtree(large)
    code, said = iedit(capsys, "restore", "../kept.tar")
    assert code == 0, said
    after = registry.fetch_model(store.connect(), registry.CHAMPION_URI)
    assert {path.relative_to(after): path.read_bytes() for path in after.rglob("*") if path.is_file()} == weights
    assert Path("data/preferences/answers.jsonl").is_file()


@pytest.mark.parametrize("path", ["mlruns", "mlruns/iedit/models", "data/preferences/answers.jsonl"])
def test_a_link_that_leads_nowhere_is_named(project, capsys, path):
    """The disk may be away that has the models."""
    shutil.move(path, "../away")
    Path(path).symlink_to("/nowhere/at/all")
    code, said = iedit(capsys, "backup", "../kept.tar")
    assert (code, said) == (
        2,
        f"error: {path}: leads to /nowhere/at/all, which is not there, so a backup would lack it\n",
    )
    assert not Path("../kept.tar").exists()


def test_which_store_was_used_last_is_kept(project, capsys, monkeypatch):
    """Without it a restored project would prune by whichever store is current."""
    note_store("m-0123")
    noted = LAST_STORE.read_bytes()
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    clone(project, "clone", monkeypatch)
    assert iedit(capsys, "restore", "../kept.tar")[0] == 0
    assert LAST_STORE.read_bytes() == noted


@pytest.mark.parametrize("path", ["mlflow.db", "params.yaml"])
def test_a_backup_replaces_nothing_but_a_backup(project, capsys, path):
    before = content(project)
    code, said = iedit(capsys, "backup", path)
    assert (code, said) == (2, f"error: {path}: is there already, and no backup that this one could replace\n")
    assert content(project) == before
    Path("../kept.tar").touch()  # as mktemp does
    assert [iedit(capsys, "backup", "../kept.tar")[0] for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("suffix", ["-journal", "-wal"])
def test_what_sqlite_left_is_not_applied_to_a_restored_database(project, capsys, monkeypatch, suffix):
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    clone(project, "clone", monkeypatch)
    Path(f"mlflow.db{suffix}").write_bytes(b"of another database")
    code, said = iedit(capsys, "restore", "../kept.tar")
    assert code == 2
    assert said.startswith(f"error: mlflow.db{suffix}: is here already")
    assert not Path("mlflow.db").exists()


def test_choices_in_a_folder_of_a_repository_are_not_overwritten(project, capsys, monkeypatch):
    """Names are compared as git has them below that folder, whatever letters they have."""
    shutil.move("conf/preset/mine.yaml", "conf/preset/größe.yaml")
    commit("a preset")
    Path("conf/preset/größe.yaml").write_text("train: {}\n")
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    repository = project.with_name("repository")
    shutil.copytree(project, repository / "iedit", ignore=shutil.ignore_patterns(".git", "logs", "mlruns", "mlflow.db", "data"))
    enter(repository, monkeypatch)
    git("init", "--quiet")
    commit("a project in a folder")
    enter(repository / "iedit", monkeypatch)
    Path("conf/preset/größe.yaml").write_text("train: {steps: 1}\n")
    code, said = iedit(capsys, "restore", "../../kept.tar")
    assert (code, said.partition(": is here")[0]) == (2, "error: conf/preset/größe.yaml")
    git("checkout", "--quiet", ".")
    Path("conf/preset/größe.yaml").write_text("")
    commit("git has it")
    assert iedit(capsys, "restore", "../../kept.tar")[0] == 0
    assert Path("conf/preset/größe.yaml").read_text() == "train: {}\n"


def test_another_state_is_not_overwritten(project, capsys, monkeypatch):
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    store.connect().set_registered_model_tag("iedit", "newer", "than the backup")
    before = content(project)
    code, said = iedit(capsys, "restore", "../kept.tar")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: mlflow.db: is here already, with other content")
    assert content(project) == before


def test_choices_that_git_does_not_have_are_not_overwritten(project, capsys, monkeypatch):
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    clone(project, "clone", monkeypatch)
    Path("conf/review.jsonl").write_text('{"key": "of the clone"}\n')
    code, said = iedit(capsys, "restore", "../kept.tar")
    assert (code, said.partition(": is here")[0]) == (2, "error: conf/review.jsonl")
    assert not Path("mlflow.db").exists()


def test_an_interrupted_restore_is_repeated(project, capsys, monkeypatch):
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    whole = content(project)
    clone(project, "clone", monkeypatch)
    move, moved = shutil.move, []

    def stop_after_three(path: Path, target: Path) -> None:
        moved.append(target.name)
        move(path, target)
        if len(moved) > 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", stop_after_three)
        assert iedit(capsys, "restore", "../kept.tar")[0] == 130
    assert "mlflow.db" not in moved
    assert not Path("mlflow.db").exists()
    assert iedit(capsys, "restore", "../kept.tar")[0] == 0
    restored = content(Path.cwd())
    assert {name for name in whole if name.startswith("mlruns") and "checkpoints" not in name} <= restored.keys()
    assert Path("mlflow.db").is_file()


def test_a_damaged_backup_restores_nothing(project, capsys, monkeypatch):
    assert iedit(capsys, "backup", "../kept.tar")[0] == 0
    kept = Path("../kept.tar")
    with tarfile.open(kept) as archive:
        largest = max(archive, key=lambda member: member.size)
    data = bytearray(kept.read_bytes())
    data[largest.offset_data + largest.size // 2] ^= 1  # the middle of the file may be padding
    kept.write_bytes(data)
    clone(project, "clone", monkeypatch)
    before = content(Path.cwd())
    code, said = iedit(capsys, "restore", "../kept.tar")
    assert (code, said.count("\n")) == (2, 1)
    assert "damaged" in said
    assert content(Path.cwd()) == before


def test_files_that_are_no_state_are_refused(project, capsys, tmp_path):
    write_archive(tmp_path / "strange.tar", {".git/hooks/post-checkout": Path("params.yaml")}, {"made": "", "commit": ""})
    code, said = iedit(capsys, "restore", str(tmp_path / "strange.tar"))
    assert (code, said) == (
        2,
        f"error: {tmp_path}/strange.tar: no backup of this project: it holds .git/hooks/post-checkout\n",
    )
    assert not Path(".git/hooks/post-checkout").exists()


def test_a_folder_without_state_has_nothing_to_back_up(workplace, capsys):
    code, said = iedit(capsys, "backup", "kept.tar")
    assert (code, said.startswith("error: mlflow.db: no such file")) == (2, True)
    assert not Path("kept.tar").exists()


def test_a_damaged_database_is_named(workplace, capsys):
    Path("mlflow.db").write_text("no database, but a text that is long enough to be one")
    code, said = iedit(capsys, "backup", "kept.tar")
    assert (code, said) == (2, "error: mlflow.db: cannot be copied: file is not a database\n")
    assert not Path("kept.tar").exists()
    assert not backup.SNAPSHOTS.exists()


def test_state_and_servers_lie_where_the_makefile_puts_them():
    makefile = (ROOT / "Makefile").read_text()
    assert "SERVERS ?= $(CURDIR)/.servers" in makefile
    for path in backup.DATABASES[1:2] + backup.FOLDERS[1:2]:
        assert f"$(SERVERS)/{path.relative_to('.servers')}" in makefile
    assert "PREFECT_HOME ?= $(SERVERS)/prefect" in makefile
