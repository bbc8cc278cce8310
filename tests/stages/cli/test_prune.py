"""``iedit prune``: what it prints, what it removes, and what it refuses."""

import fcntl
import os
import shutil
from pathlib import Path

import mlflow
import pytest
import yaml
from dvc.exceptions import FileMissingError
from dvc.repo import Repo
from dvc_objects.fs.utils import tmp_fname

from stages.cli import main as cli
from stages.cli import prune as cli_prune
from stages.core.errors import InputError
from stages.core.paths import LOCK
from stages.tracking import data_retention, history, record, registry, retention, store
from stages.tracking.last_store import note_store
from stages.tracking.training_run import TRAINING
from tests.support.versions import fail, keep_record, register


@pytest.fixture
def client(recorded_project, empty_store):
    """A project with three versions that have files, the last of which is champion and has a record too."""
    shutil.copy(empty_store, recorded_project)
    client = store.connect()
    versions = [register(client) for _ in range(3)]
    for version in versions:
        client.log_model_artifact(version.model_id, "params.yaml")
    keep_record(versions[-1])
    history.promote("3", "for the test")
    return client


def prune(capsys, *arguments: str) -> tuple[int, list[str], str]:
    code = cli.main(arguments)
    output = capsys.readouterr()
    return code, output.out.splitlines(), output.err


def test_dry_run_prints_what_goes_and_keeps_it(client, capsys):
    code, lines, error = prune(capsys, "prune", "--dry-run", "--keep", "1")
    assert error == ""
    assert code == 0
    assert lines == [
        "keeps      version 3: among the newest 1, champion",
        "versions   2, 1",
        "models     2 without a version that stays, 0.0 MB",
        "runs       0 lose their checkpoints, 0.0 MB; 0 that a kill left open end",
        "data       0 objects, 0.0 MB, in the cache",
        "nothing was removed: --dry-run",
    ]
    assert len(client.search_model_versions("name = 'iedit'")) == 3


def test_dry_run_protects_the_champion_before_and_writes_nothing(client, capsys):
    client.set_registered_model_alias("iedit", "champion", "1")
    events = history.read_events(client)
    assert prune(capsys, "prune", "--dry-run", "--keep", "1")[1][:2] == [
        "keeps      version 3: among the newest 1, to roll back to",
        "keeps      version 1: champion",
    ]
    assert history.read_events(client) == events


def test_what_is_not_kept_is_removed(client, capsys):
    assert prune(capsys, "prune", "--keep", "1")[1][-1] == "removed"
    assert [version.version for version in client.search_model_versions("name = 'iedit'")] in ([3], ["3"])
    assert prune(capsys, "prune", "--keep", "1")[1][-1] == "there was nothing to remove"


def objects() -> set[Path]:
    return {path for path in Path(".dvc/cache/files").rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["mlruns/iedit", ".servers/mlflow/artifacts/1"])
def test_data_that_versions_of_another_store_name_stay(client, empty_store, capsys, monkeypatch, place):
    """One store is that of `make run`, the other that of the nights."""
    Path("dvc.lock").unlink()  # now the record of version 3 alone names the data
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    Path("mlruns/iedit").rename(place)
    before = objects()
    shutil.copy(empty_store, "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('other.db').absolute()}")
    code, lines, _ = prune(capsys, "prune", "--keep", "1")
    assert (code, lines[-1], objects()) == (0, "there was nothing to remove", before)
    (record,) = Path(place).rglob("lineage.json")
    record.write_bytes(record.read_bytes()[:-9])
    code, _, error = prune(capsys, "prune", "--keep", "1")
    assert (code, objects()) == (2, before)
    assert error.startswith(f"error: {record.absolute()}: damaged, so the data that its version needs are unknown: ")


def test_another_registry_than_that_of_the_last_version_is_refused(client, empty_store, capsys, monkeypatch):
    """Its server keeps the files, so that only its address leads to what they need."""
    Path("dvc.lock").unlink()
    note_store("m-0123")
    before = objects()
    shutil.copy(empty_store, "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('other.db').absolute()}")
    code, lines, error = prune(capsys, "prune", "--keep", "1")
    assert (code, lines, objects()) == (2, [], before)
    assert "this project registered its last version in mlflow.db, whose versions need data too" in error


def test_data_of_a_version_that_goes_go_with_it(client, capsys):
    Path("dvc.lock").unlink()
    for _ in range(2):
        made = register(client)
        client.log_model_artifact(made.model_id, "params.yaml")
        history.promote(made.version, "for the test")
    assert objects()
    assert prune(capsys, "prune", "--keep", "1")[0] == 0
    assert objects() == set()


def test_copies_that_a_full_disk_cut_off_leave_the_remote(client, capsys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "files/md5/ab"
    folder.mkdir(parents=True)
    with Repo() as repo, repo.config.edit("local") as local:
        local["remote"]["own"] = {"url": str(folder.parents[2])}
    fresh, *stale = [folder / tmp_fname() for _ in range(3)]  # as DVC names them
    theirs = folder / ".theirs.tmp"
    for path in (fresh, theirs, *stale):
        path.write_text("begun")
    for path in (theirs, *stale):
        os.utime(path, (0, 0))
    lines = prune(capsys, "prune", "--remote", "own")[1]
    assert any(line.startswith("data       1 objects in own are left: this cache does not have them") for line in lines)
    assert "data       2 objects, 0.0 MB, in the own" in lines
    assert [path.exists() for path in (fresh, theirs, *stale)] == [True, True, False, False]


def test_what_stays_in_an_unpruned_remote_is_said(client, capsys, tmp_path_factory):
    Path("dvc.lock").unlink()
    for _ in range(2):
        made = register(client)
        client.log_model_artifact(made.model_id, "params.yaml")
        history.promote(made.version, "for the test")
    with Repo() as repo, repo.config.edit("local") as local:
        local["remote"]["own"] = {"url": str(tmp_path_factory.mktemp("remote"))}
        local["core"]["remote"] = "own"
    line = "data       up to 0.0 MB of these stay in the remote own, which upkeep.prune_remote does not name"
    assert line in prune(capsys, "prune", "--dry-run", "--keep", "1")[1]
    assert line not in prune(capsys, "prune", "--dry-run", "--keep", "1", "--remote", "own")[1]


def test_nothing_is_removed_if_what_is_needed_is_unknown(client, capsys, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise FileMissingError("data/pairs.dir")

    monkeypatch.setattr(Repo, "used_objs", fail)
    code, _, error = prune(capsys, "prune", "--keep", "1")
    assert (code, error.partition(": ")[2].partition(": ")[0]) == (2, "DVC cannot determine what is needed")
    assert len(client.search_model_versions("name = 'iedit'")) == 3


def test_a_version_that_becomes_champion_meanwhile_stays(client, capsys, monkeypatch):
    """So do its data."""
    Path("dvc.lock").unlink()  # now the record of version 3 alone names the data
    client.log_model_artifact(register(client).model_id, "params.yaml")
    search, before = data_retention.search, objects()

    def search_long(*arguments, **options):
        found = search(*arguments, **options)
        for number in ("1", "3"):
            client.set_registered_model_alias("iedit", f"favourite-{number}", number)
        client.set_registered_model_alias("iedit", "champion", "1")
        return found

    monkeypatch.setattr(data_retention, "search", search_long)
    assert prune(capsys, "prune", "--keep", "1")[0] == 0
    assert [str(version.version) for version in client.search_model_versions("name = 'iedit'")] == ["4", "3", "1"]
    assert objects() == before


def test_a_version_without_a_record_is_named(client, capsys):
    code, lines, error = prune(capsys, "prune", "--keep", "2")
    assert (code, lines[-1]) == (0, "removed")
    assert error == "version 2: its data are not kept: it has no record\n"


def test_a_version_that_others_registered_stops_nothing(client, capsys):
    """Its files may lie anywhere, and it has no record."""
    client.create_model_version("iedit", "file:///elsewhere")
    code, lines, error = prune(capsys, "prune", "--keep", "1")
    assert (code, lines[-1]) == (0, "removed")
    assert error == "version 4: its data are not kept: it was not registered by the stage evaluate\n"


def test_data_of_a_version_whose_files_are_away_stay(client, capsys):
    """A disk that is not mounted is an empty folder."""
    Path("dvc.lock").unlink()
    Path("mlruns/iedit").rename("away")
    before = objects()
    code, lines, error = prune(capsys, "prune", "--keep", "1")
    assert (code, lines, objects()) == (2, [], before)
    assert error == "error: version 3: its files are not there, so the data that it needs are unknown\n"
    assert len(client.search_model_versions("name = 'iedit'")) == 3


def test_fewer_versions_stay_where_the_disk_is_short(client, capsys):
    for number in ("1", "2"):
        made = client.get_model_version("iedit", number)
        Path("large").write_bytes(bytes(5_000_000))
        client.log_model_artifact(made.source.rpartition("/")[2], "large")
    Path("large").unlink()
    code, lines, _ = prune(capsys, "prune", "--keep", "3", "--max-used", "0.009")
    assert (code, lines[-1]) == (0, "removed")
    assert [str(version.version) for version in client.search_model_versions("name = 'iedit'")] == ["3", "2"]


def test_as_few_plans_are_made_as_the_bound_takes(client, capsys, monkeypatch):
    """However many versions go for it, the store and DVC's cache are read for the newest and for those that stay then."""
    plans, searches = [], []
    plan, search = retention.plan_retention, data_retention.search
    monkeypatch.setattr(retention, "plan_retention", lambda client, keep, **_: plans.append(keep) or plan(client, keep))
    monkeypatch.setattr(data_retention, "search", lambda *given, **options: searches.append(given) or search(*given, **options))
    measured = iter([9.0, 5.0])
    monkeypatch.setattr(
        cli_prune, "used_gigabytes", lambda folders, **_: next(measured) if Path.cwd() in folders else 2.0 * len(folders)
    )
    for number in range(4, 11):
        made = register(client)
        client.log_model_artifact(made.model_id, "params.yaml")
        assert made.version == str(number)
    assert prune(capsys, "prune", "--keep", "9", "--max-used", "5")[0] == 0
    assert (plans, len(searches)) == ([9, 6], 1)  # 2 and 4 take 2 GB each
    assert len(client.search_model_versions("name = 'iedit'")) == 7  # six, and the champion


def test_a_cache_of_others_is_left_and_not_counted(client, capsys, tmp_path_factory, monkeypatch):
    Path("dvc.lock").unlink()
    elsewhere = tmp_path_factory.mktemp("shared") / "cache"
    Path(".dvc/cache").rename(elsewhere)
    Path(".dvc/config.local").write_text(f"[cache]\n    dir = {elsewhere}\n")
    measured: list[Path] = []
    monkeypatch.setattr(cli_prune, "used_gigabytes", lambda folders, **_: measured.extend(folders) or 9.0 if folders else 0.0)
    code, lines, _ = prune(capsys, "prune", "--keep", "1", "--max-used", "5")
    assert (code, lines[-2], measured) == (0, "removed", [Path.cwd()])
    assert lines[-1] == f"{Path.cwd()}: takes 9.0 GB, should take 5.0 at most: no version may go"
    assert lines[0].startswith(f"data       the cache {elsewhere}/files/md5 is left: it lies outside of the project's folder")
    assert [path for path in elsewhere.rglob("*") if path.is_file()]


def test_data_stay_while_the_store_gives_no_answer(client, capsys, monkeypatch):
    """A record that cannot be read now is not a record that is not there."""
    Path("dvc.lock").unlink()
    monkeypatch.setattr(record, "read_local_records", dict)  # as where a server keeps the files
    before = objects()
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.artifacts, "list_artifacts", fail)
        code, lines, error = prune(capsys, "prune", "--keep", "1")
    assert (code, lines, error) == (2, [], "error: tracking store: gone\n")

    def find_nothing(number: str) -> None:
        raise InputError(f"tracking server http://localhost:5000: no answer, for version {number}")

    monkeypatch.setattr(registry, "find_version", find_nothing)
    assert prune(capsys, "prune", "--keep", "1")[0] == 0
    assert objects() == before


def test_data_of_a_version_whose_record_is_half_replaced_stay(client, capsys, monkeypatch):
    """A kill came between its files and the record itself, which is still the former one."""
    Path("dvc.lock").unlink()
    (kept,) = Path("mlruns").rglob("lineage/params.yaml")
    kept.write_text("of a later evaluation")
    monkeypatch.setattr(record, "read_local_records", dict)
    before = objects()
    assert prune(capsys, "prune", "--keep", "1")[0] == 0
    assert objects() == before


def test_a_registry_that_has_become_empty_is_refused(client, empty_store, capsys):
    """A server may come up with another database at its old address."""
    Path("dvc.lock").unlink()
    Path("mlruns").rename("of-a-server")
    note_store("m-0123")
    shutil.copy(empty_store, "mlflow.db")
    before = objects()
    code, lines, error = prune(capsys, "prune", "--keep", "1")
    assert (code, lines, objects()) == (2, [], before)
    assert error.startswith("error: mlflow.db: has no version, though this project registered one there")


def test_what_stays_above_the_bound_is_reported_without_gone_versions(client, capsys, monkeypatch):
    """Here 1 frees less than it seemed to."""
    measured = iter([9.0] * 4)
    monkeypatch.setattr(cli_prune, "used_gigabytes", lambda folders, **_: next(measured) if Path.cwd() in folders else 5.0)
    lines = prune(capsys, "prune", "--keep", "3", "--max-used", "6")[1]
    takes = "takes 9.0 GB with DVC's cache, should take 6.0 at most"
    assert lines[-2:] == ["removed", f"{Path.cwd()}: {takes}: no version may go"]
    assert [str(version.version) for version in client.search_model_versions("name = 'iedit'")] == ["3"]


def test_a_bound_that_cannot_be_met_is_reported(client, capsys):
    code, lines, _ = prune(capsys, "prune", "--keep", "3", "--max-used", "0.0000001")
    assert (code, lines[-2]) == (0, "there was nothing to remove")
    takes = "takes 0.0 GB with DVC's cache, should take 0.0 at most"
    assert lines[-1] == f"{Path.cwd()}: {takes}: versions 2, 1 may go, which alone need 0.0 GB"
    assert len(client.search_model_versions("name = 'iedit'")) == 3  # dropping them would not have been enough


def test_downloads_do_not_count(client, capsys):
    """They would cost versions and stay above the bound all the same."""
    (Path("downloads") / "old").mkdir(parents=True)
    Path("downloads/old/00000.tar").write_bytes(bytes(50_000_000))
    code, lines, _ = prune(capsys, "prune", "--keep", "3", "--max-used", "0.05")
    assert (code, lines[-1]) == (0, "there was nothing to remove")
    assert len(client.search_model_versions("name = 'iedit'")) == 3


def test_dry_run_with_a_bound_keeps_everything(client, capsys):
    lines = prune(capsys, "prune", "--dry-run", "--max-used", "0.0000001")[1]
    assert lines[-2] == "nothing was removed: --dry-run"
    assert lines[-1].endswith("should take 0.0 at most: versions 2, 1 may go, which alone need 0.0 GB")
    assert len(client.search_model_versions("name = 'iedit'")) == 3


def choose(**bounds: object) -> None:
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["upkeep"] |= bounds
    Path("params.yaml").write_text(yaml.safe_dump(values))


def test_choices_hold_where_no_option_is_given(client, capsys):
    choose(keep=2, max_used=0.0000001, prune_remote="typo")
    chosen = ("prune", "--dry-run", "--keep", "1", "--max-used", "50", "--remote", "own")
    assert prune(capsys, *chosen)[2] == "error: own: no remote of DVC; there are none\n"
    assert prune(capsys, "prune")[2].endswith("error: typo: no remote of DVC; there are none\n")
    choose(prune_remote=None)
    _, lines, _ = prune(capsys, "prune", "--dry-run")
    assert lines[:3] == [
        "keeps      version 3: among the newest 2, champion",
        "keeps      version 2: among the newest 2",
        "versions   1",
    ]
    assert lines[-1].endswith("should take 0.0 at most: versions 2, 1 may go, which alone need 0.0 GB")


def test_checkpoints_stay_of_as_many_trainings_as_chosen(client, capsys):
    """The dry run says what all files of a step, in whatever folder, take."""
    run = client.create_run(store.experiment_id(client), tags={TRAINING: "a name"}).info.run_id
    Path("weights").write_bytes(bytes(1_200_000))
    for folder in ("checkpoints", "checkpoints/unet"):
        client.log_artifact(run, "weights", folder)
    client.set_terminated(run)
    for chosen, lose in ((1, "0 lose their checkpoints, 0.0 MB"), (0, "1 lose their checkpoints, 2.4 MB")):
        choose(keep_checkpoints_of=chosen)
        for options in (["--dry-run"], []):
            assert f"runs       {lose}; 0 that a kill left open end" in prune(capsys, "prune", *options)[1]
        assert bool(client.list_artifacts(run, "checkpoints")) is bool(chosen)


def test_fewer_than_one_version_is_refused(client, capsys):
    assert prune(capsys, "prune", "--keep", "0") == (2, [], "error: --keep 0: at least 1 version is kept\n")


@pytest.mark.parametrize("bound", ["nan", "-1", "0"])
def test_a_bound_that_is_no_size_is_refused(client, capsys, bound):
    line = f"error: --max-used {bound}: must be a number of GB above 0\n"
    assert prune(capsys, "prune", f"--max-used={bound}") == (2, [], line)


def test_it_does_not_run_beside_a_stage(client, capsys):
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _, error = prune(capsys, "prune")
    assert code == 2
    assert "is at work in this folder" in error
