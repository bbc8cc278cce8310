"""The commands that operate the registry: promote, rollback, history, lineage."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.cli import main as cli
from stages.core.files import file_digest
from stages.core.paths import LOCK
from stages.tracking import history, lineage, store
from stages.tracking.registry import find_version
from tests.support import ROOT
from tests.support.corpora import corpus_sample, write_shards_of
from tests.support.samples import noise
from tests.support.versions import Judge, keep_record, register, register_foreign


@pytest.fixture
def judge(client, tmp_path, monkeypatch) -> Judge:
    """Three registered versions, and the judge who scores them."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    judge = Judge(v1=0, v2=1, v3=-1)
    monkeypatch.setattr("stages.comparison.standard.current_standard", lambda _: judge.standard())
    monkeypatch.setattr("stages.cli.registry.set_threads", lambda _: None)  # it would slow down all later tests
    for _ in range(3):
        register(client)
    return judge


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_promote_rollback_and_history(client, judge, capsys):
    assert run(capsys, "promote", "1")[:2] == (
        0,
        "models:/iedit/1 is champion: the first version: there is no champion to compare it with\n",
    )
    code, out, _ = run(capsys, "promote", "models:/iedit/2")
    assert (code, out.splitlines()[-1][:49]) == (0, "models:/iedit/2 is champion: better in CLIPScore:")
    code, _, error = run(capsys, "promote", "3")
    assert code == 2
    assert error.startswith("error: models:/iedit/3 stays challenger: CLIPScore is worse: CLIPScore -2.00 [")
    code, _, error = run(capsys, "promote")  # the challenger
    assert (code, "models:/iedit/3 stays challenger" in error) == (2, True)
    assert run(capsys, "promote", "3", "--force")[:2] == (
        0,
        "models:/iedit/3 is champion, in place of version 2: by hand, whatever the gate says\n",
    )
    assert not [name for name in client.get_model_version("iedit", "3").tags if name.startswith("iedit.decision.")]
    assert run(capsys, "rollback") == (0, "models:/iedit/2 is champion again, in place of version 3\n", "")
    code, out, _ = run(capsys, "history")
    lines = out.splitlines()
    assert code == 0
    assert [line.split("version ")[1][:1] for line in lines[:-2:2]] == ["1", "2", "3", "2"]
    assert "promoted  CLIPScore 61.50, SSIM-M̄ 92.60 on cases cccccccc" in lines[2]
    assert "better in CLIPScore: CLIPScore +1.00" in lines[3]
    assert lines[-2:] == ["champion    version 2", "challenger  none"]


def test_champion_cannot_be_promoted_again(client, judge, capsys):
    run(capsys, "promote", "1")
    assert run(capsys, "promote", "1", "--force") == (2, "", "error: models:/iedit/1 is the champion already\n")
    assert len(history.read_events(client)) == 1


def test_deleted_version_stays_in_the_history(client, judge, capsys):
    for version in ("1", "2"):
        run(capsys, "promote", version)
    client.delete_model_version("iedit", "1")
    code, out, _ = run(capsys, "history")
    assert code == 0
    assert out.splitlines()[0].endswith("version 1  promoted  deleted since")


def test_a_champion_of_others_can_be_replaced(client, judge, capsys):
    run(capsys, "promote", "1")
    client.set_registered_model_alias("iedit", "champion", register_foreign(client))
    code, _, error = run(capsys, "promote", "2")
    assert code == 2
    assert error.startswith("error: models:/iedit/2 is not promoted: the champion models:/iedit/4: was not registered by ")
    assert "iedit promote 2 --force" in error
    assert run(capsys, "rollback") == (0, "models:/iedit/1 is champion again, in place of version 4\n", "")
    assert "version 4  found  registered by others, without scores" in run(capsys, "history")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "9"], "models:/iedit/9: "),
        (["promote"], "models:/iedit@challenger: "),
        (["promote", "models:/other/1"], "models:/other/1: "),
        (["promote", "4"], "models:/iedit/4: was not registered by the stage evaluate"),
        (["rollback"], "there is no champion to roll back from"),
        (["lineage", "9"], "models:/iedit/9: "),
        (["lineage", "1"], "logged model m-"),
        (["lineage", "nonsense"], "nonsense: names no version, as a number, models:/iedit/NUMBER or models:/iedit@champion do"),
        (["promote", "nonsense", "--force"], "nonsense: names no version"),
        (["reproduce", "models:/iedit@champion"], "models:/iedit@champion: "),
    ],
)
def test_refusals_are_one_line(client, judge, capsys, arguments, said):
    assert register_foreign(client) == "4"
    code, out, error = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert error.startswith(f"error: {said}")
    assert len(error.splitlines()) == 1


class TestLineage:
    def test_lineage_needs_the_registry_only(self, version, tmp_path_factory, monkeypatch, capsys):
        keep_record(version)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri())
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        torch = lineage.libraries()["torch"]
        for name in ("1", "models:/iedit/1"):
            assert cli.main(["lineage", name]) == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines[0] == "version    models:/iedit/1"
            assert lines[1] == "decision   promoted: why"
            for line in ("corpus     cases 300, images 6000, kind openmoji", f"  train.clip           a/clip  {'c' * 40}"):
                assert line in lines
            assert any(line.split()[:2] == ["train.losses.noise", "guided"] for line in lines)
            assert ["torch", torch] in [line.split() for line in lines]
            stages = lines[lines.index("stages") + 1 :][:3]
            assert [line.split()[0] for line in stages] == ["ingest", "train", "evaluate"]

    def test_lineage_names_what_a_training_continued(self, version, capsys):
        client = store.connect()
        for start in ({"version": "4", "model": "f" * 64, "why": "few pairs changed"}, {"why": "there is no champion"}):
            for name, text in start.items():
                client.set_model_version_tag("iedit", "1", f"iedit.start.{name}", text)
            keep_record(find_version("1"))
            assert cli.main(["lineage", "1"]) == 0
            place = f"models:/iedit/4  {'f' * 64}" if "version" in start else "the base"
            assert f"start      {place}: {start['why']}" in capsys.readouterr().out.splitlines()
            for name in start:
                client.delete_model_version_tag("iedit", "1", f"iedit.start.{name}")

    def test_lineage_names_training_and_shards(self, version, capsys):
        samples = [corpus_sample("00000", n, picture, name=f"photo {n}") for n, picture in enumerate([noise(0), noise(1)])]
        write_shards_of(Path("data/corpus"), {"00000": samples})
        client = store.connect()
        tags = {"mlflow.source.git.commit": "c0ffee", "iedit.git_dirty": "true"}
        run_id = client.create_run(store.experiment_id(client), run_name="train", tags=tags).info.run_id
        source = f"models:/{version.model_id}"
        made = client.create_model_version(
            "iedit", source, run_id=run_id, model_id=version.model_id, tags={"iedit.digest": "e"}
        )
        keep_record(version)
        assert cli.main(["lineage", str(made.version)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert f"training   run {run_id} (train), commit c0ffee, with changes" in lines
        digest = file_digest(Path("data/corpus/00000.tar"))
        assert f"  00000.tar  {digest}  2 samples, the first from photo 0" in lines

    @pytest.mark.parametrize("name", ["params.yaml", "lineage.json"])
    def test_incomplete_record_is_refused(self, version, capsys, name):
        keep_record(version)
        location = store.connect().get_logged_model(version.model_id).artifact_location
        (path,) = Path(location.removeprefix("file://")).rglob(name)
        path.write_text(path.read_text()[:99])
        for command in ("lineage", "reproduce"):
            assert cli.main([command, "1"]) == 2
            assert capsys.readouterr().err.endswith(": its record is incomplete; the stage evaluate writes it again\n")

    def test_a_deleted_experiment_or_run_costs_nothing_else(self, version, capsys):
        client = store.connect()
        run_id = client.create_run(store.experiment_id(client)).info.run_id
        tags = {"iedit.digest": "e"}
        made = client.create_model_version(
            "iedit", f"models:/{version.model_id}", run_id=run_id, model_id=version.model_id, tags=tags
        )
        history.promote(str(made.version), "test")
        keep_record(version)
        client.delete_experiment(store.experiment_id(client))
        commands = (["lineage", str(made.version)], ["history"])
        outputs = []
        for command in commands:
            assert cli.main(command) == 0
            outputs.append(capsys.readouterr().out)
        assert f"training   run {run_id}" in outputs[0]
        assert "version 2  promoted" in outputs[1]
        subprocess.run(["mlflow", "gc", "--backend-store-uri", store.tracking_uri()], check=True, capture_output=True)
        assert cli.main(commands[0]) == 0
        assert f"training   run {run_id}, which was deleted since" in capsys.readouterr().out


def test_promote_does_not_wait_for_a_stage(client, judge, capsys):
    LOCK.parent.mkdir()
    with LOCK.open("w") as file:
        file.write("evaluate (process 7)")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(capsys, "promote", "1") == (
            2,
            "",
            "error: iedit promote: evaluate (process 7) is at work in this folder; try again when it has ended\n",
        )
        code, _, error = run(capsys, "promote", "9")  # a mistake is reported first
    assert (code, error.startswith("error: models:/iedit/9: ")) == (2, True)
