import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.pyfunc import scoring_server
from PIL import Image

from stages.cli import main as cli
from stages.core.errors import MAX_LINE, InputError
from stages.core.files import NoRoomError, folder_digest, read_json, value_digest, write_json
from stages.core.params import ModelName, Params, Sampling
from stages.core.params_file import read_params
from stages.editing.pictures import decode_picture, encode_picture
from stages.editing.request import EditRequest
from stages.editing.settings import adjust_sampling
from stages.tracking import history, lineage, registration, registry, store
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.pyfunc_model import EditorModel
from stages.tracking.runs import MODEL_DIGEST, find_run, log_results, run_for_results
from stages.tracking.training_run import (
    TRAINING,
    TrainingInputs,
    TrainingRun,
    start_training,
)
from tests.support import ROOT as PROJECT
from tests.support import tiny

SAMPLING = Sampling(
    solver="ddim", steps=2, strength=1.0, guidance_scale=2.0, mask_threshold=0.5, mask_margin=0.0, mask_draft=False
)
NARROW = encode_picture(Image.new("RGB", (300, 2)))
EXAMPLE = EditRequest(image=Image.new("RGB", (32, 32), "green"), prompt="a red dog", term="dog", source_term="cat")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project's folder with a store, a model and a segmenter, and a copy of params.yaml that names them."""
    folder = tmp_path_factory.mktemp("project")
    tiny.tiny_diffusion(folder / "models" / "iedit")
    write_json(folder / "models" / "iedit" / "iedit.json", {"sampling": SAMPLING.model_dump()})
    tiny.tiny_segmenter(folder / "segmenter")
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["evaluate"]["segmenter"]["name"] = str(folder / "segmenter")
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    Image.linear_gradient("L").resize((48, 40)).convert("RGB").save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store.connect()
        yield folder


@pytest.fixture(scope="module")
def champion(project):
    folders = project / "models/iedit", project / "segmenter"
    with train(read_params(), project) as run:
        run.finish(folder_digest(folders[0]))
    run_id = find_run(folder_digest(folders[0]))
    made = registration.register(*folders, metrics={"clip_score": 61.5}, example=EXAMPLE, run_id=run_id)
    assert made.run_id == run.run_id
    history.promote(made.version, "the first")
    return made


@pytest.fixture(scope="module")
def served(champion):
    return mlflow.pyfunc.load_model("models:/iedit@champion")


@pytest.fixture(scope="module", params=["served", "imported"])
def predict(request, project, served):
    """The editor's predict, as MLflow serves it from its copy of the code, and as it stands in ours."""
    if request.param == "served":
        return served.predict
    model = EditorModel()
    model.load_context(SimpleNamespace(artifacts={"model": "models/iedit", "segmenter": "segmenter"}))
    return partial(model.predict, None)


def train(params: Params, folder: Path, dataset_digest: str = "d" * 64):
    inputs = TrainingInputs(
        stage="train", params=params, dataset=Path("data/training"), dataset_digest=dataset_digest, samples=7
    )
    return start_training(inputs, folder / "run.json")


def steps_of(run: TrainingRun, key: str) -> list[int]:
    return [metric.step for metric in store.connect().get_metric_history(run.run_id, key)]


class TestStore:
    def test_switches(self):
        from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION, MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
        from mlflow.telemetry.utils import MLFLOW_DISABLE_TELEMETRY

        assert MLFLOW_DISABLE_TELEMETRY.get()
        assert not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get()
        assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get()

    def test_an_unreachable_server_is_told_soon_in_one_line(self, monkeypatch):
        with socket.socket() as taken:  # listens, and never answers
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}")
            started = time.monotonic()
            with pytest.raises(InputError, match=r"tracking server http://127\.0\.0\.1") as caught:
                store.connect()
        assert time.monotonic() - started < 10
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_a_server_that_never_ends_its_answer_is_told_soon(self, monkeypatch):
        monkeypatch.setattr(store, "TIMEOUT", 2)
        done = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                while not done.wait(0.2):
                    connection.sendall(b" ")

        with socket.create_server(("127.0.0.1", 0)) as server:
            dripping = threading.Thread(target=drip)
            dripping.start()
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
            started = time.monotonic()
            with pytest.raises(InputError, match="no answer within 2 seconds"):
                store.connect()
            assert time.monotonic() - started < 10
            done.set()
            dripping.join()

    def test_a_database_that_never_answers_is_told_soon(self, monkeypatch):
        monkeypatch.setattr(store, "TIMEOUT", 1)
        done = threading.Event()
        monkeypatch.setattr(store, "create_sqlalchemy_engine", lambda _: done.wait(60))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1/iedit")
        started = time.monotonic()
        with pytest.raises(InputError, match=r"postgresql://127\.0\.0\.1/iedit: no answer within 1 seconds"):
            store.connect()
        assert time.monotonic() - started < 10
        done.set()

    @pytest.mark.parametrize(
        ("uri", "told"),
        [
            ("http://127.0.0.1:9", "refused"),
            ("mysql+nosuchdriver://a:secret@127.0.0.1/x", "nosuchdriver"),
            ("sqlite:///text.db", "file is not a database"),
            ("sqlite:///text.db/x.db", "unable to open database file"),
            ("sqlite:///.", "unable to open database file"),
            ("file:mlruns", "maintenance"),
            ("nosuch://a", "unsupported URI"),
            ("http://127.0.0.1:port", "port"),
        ],
    )
    def test_a_store_that_cannot_be_used_is_told_soon_in_one_line(self, tmp_path, monkeypatch, uri, told):
        monkeypatch.chdir(tmp_path)
        Path("text.db").write_text("no database, but a text that is long enough to be one")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        started = time.monotonic()
        with pytest.raises(InputError, match=f"tracking server .*: .*{told}") as caught:
            store.connect()
        assert time.monotonic() - started < 10
        assert str(caught.value).isprintable()
        assert "secret" not in str(caught.value)

    def test_what_a_server_says_is_shown_without_its_control_characters(self, monkeypatch):
        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(9999)
                connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n\x1b[2J nope")

        with socket.create_server(("127.0.0.1", 0)) as server:
            answering = threading.Thread(target=answer)
            answering.start()
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
            with pytest.raises(InputError, match="404") as caught:
                store.connect()
            answering.join()
        assert str(caught.value).isprintable()

    def test_a_request_within_the_block_is_made_once_and_for_a_short_time(self, monkeypatch):
        retries, seconds = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
        monkeypatch.setenv(retries, "3")
        monkeypatch.delenv(seconds, raising=False)
        with store.without_retries(7):
            assert (os.environ[retries], os.environ[seconds]) == ("0", "7")
        assert os.environ[retries] == "3"
        assert seconds not in os.environ

    def test_a_reader_makes_no_store(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match=r"mlflow\.db: no such file"):
            store.connect(create=False)
        assert not list(tmp_path.iterdir())

    def test_an_experiment_that_dvc_runs_elsewhere_has_the_store_of_its_project(self, tmp_path, monkeypatch):
        project, copy = tmp_path / "project", tmp_path / "project/.dvc/tmp/exps/tmp1"
        copy.mkdir(parents=True)
        monkeypatch.chdir(copy)
        monkeypatch.setenv("DVC_ROOT", str(project))
        with pytest.raises(InputError, match=r"mlflow\.db: no such file"):
            store.connect(create=False)
        (project / "mlflow.db").touch()
        assert store.tracking_uri() == f"sqlite:///{project / 'mlflow.db'}"

    def test_an_experiment_that_another_process_makes_meanwhile_is_as_good(self, empty_store, tmp_path, monkeypatch):
        shutil.copy(empty_store, tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.setattr(mlflow, "get_experiment_by_name", lambda _: None)
        client = store.connect()
        assert client.get_experiment(store.experiment_id(client)).name == "iedit"

    def test_an_experiment_that_cannot_be_made_is_told(self, empty_store, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise MlflowException("not allowed", error_code=INTERNAL_ERROR)

        shutil.copy(empty_store, tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.setattr(mlflow, "get_experiment_by_name", lambda _: None)
        monkeypatch.setattr(mlflow, "create_experiment", fail)
        with pytest.raises(InputError, match=r"^tracking server sqlite:.*mlflow\.db: not allowed$"):
            store.connect()


class TestFailures:
    @pytest.mark.parametrize(
        ("said", "kind", "told"),
        [
            ("no such run\nthe rest", InputError, "no such run"),
            ("\n  \x1b]0;title\x07 no such run", InputError, " ]0;title  no such run"),
            ("", InputError, ""),
            ("x" * 999, InputError, "x" * MAX_LINE),
            ("(sqlite3.OperationalError) database or disk is full\n[SQL: …]", NoRoomError, "database or disk is full"),
            ("to http://me:se@cret@here:5000/api failed", InputError, "to http://here:5000/api failed"),
            ("postgresql://here/db?user=me&password=secret", InputError, "postgresql://here/db?user=me&password="),
        ],
    )
    def test_first_line_is_told(self, said, kind, told):
        with pytest.raises(kind) as caught, store_errors_in_one_line():
            raise MlflowException(said)
        assert str(caught.value) == f"tracking store: {told}"

    def test_full_disk_is_told_from_the_first_connection_on(self, tmp_path, monkeypatch):
        def fail(_):
            raise MlflowException("(sqlite3.OperationalError) database or disk is full\n[SQL: …]")

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(mlflow, "set_experiment", fail)
        with pytest.raises(NoRoomError, match=r"tracking server sqlite:.*: database or disk is full"):
            store.connect()


class TestTrainingRun:
    def test_what_went_in_and_what_came_out(self, project, tmp_path):
        params = read_params()
        with train(params, tmp_path) as run:
            for step in range(1200):
                run.log_step(step, {"loss": 1 / (step + 1), "rate": 0.1})
            run.log_image("edits", Image.new("RGB", (8, 8)), 1199)
            run.log_artifact(project / "photo.png", "checkpoints")
            run.finish("m" * 64)
        client = store.connect()
        kept = client.get_run(run.run_id)
        assert kept.info.status == "FINISHED"
        assert steps_of(run, "loss") == list(range(1200))
        assert kept.data.metrics["loss"] == pytest.approx(1 / 1200)
        assert kept.data.params["train.losses.noise"] == params.train.losses.noise
        assert kept.data.params["seed"] == str(params.seed)
        assert kept.data.tags[MODEL_DIGEST] == "m" * 64
        assert {"mlflow.source.git.commit", "iedit.git_dirty", "iedit.pipeline_digest"} <= kept.data.tags.keys()
        (dataset,) = kept.inputs.dataset_inputs
        assert dataset.dataset.digest == "d" * 36
        assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "training")]
        assert {"checkpoints", "images", "params.yaml", "libraries.json"} == {
            item.path for item in client.list_artifacts(run.run_id)
        }
        assert find_run("m" * 64) == run.run_id
        assert find_run("n" * 64) is None
        log_results(run.run_id, {"iEdit-M/clip_score": 60.0}, [project / "photo.png"])
        assert client.get_run(run.run_id).data.metrics["evaluate/iEdit-M/clip_score"] == 60

    def test_an_unfinished_run_is_gone_on_with(self, project, tmp_path):
        params = read_params()
        with suppress(KeyboardInterrupt), train(params, tmp_path) as first:
            for step in range(5):
                first.log_step(step, {"loss": 1.0})
            raise KeyboardInterrupt
        assert store.connect().get_run(first.run_id).info.status == "KILLED"
        with train(params, tmp_path) as second:
            for step in range(3, 8):  # from the last checkpoint on
                second.log_step(step, {"loss": 1.0})
            second.finish("k" * 64)
        assert second.run_id == first.run_id
        assert steps_of(second, "loss") == list(range(8))
        assert store.connect().get_run(first.run_id).info.status == "FINISHED"
        with train(params, tmp_path) as third:
            pass
        assert third.run_id != first.run_id
        assert store.connect().get_run(third.run_id).info.status == "FAILED"
        with train(params, tmp_path, dataset_digest="e" * 64) as other:  # another training in the same folder
            pass
        assert other.run_id != third.run_id

    def test_a_run_that_a_kill_left_half_made_is_made_anew(self, project, tmp_path, monkeypatch):
        def stop(*_) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(store.MlflowClient, "log_inputs", stop)
            with pytest.raises(KeyboardInterrupt):
                train(read_params(), tmp_path).__enter__()
        name = read_json(tmp_path / "run.json")["name"]
        with train(read_params(), tmp_path) as run:
            run.finish("h" * 64)
        client = store.connect()
        found = client.search_runs([store.experiment_id(client)], f"tags.`{TRAINING}` = '{name}'")
        assert [each.info.run_id for each in found] == [run.run_id]

    def test_steps_are_sent_every_few_seconds(self, project, tmp_path, monkeypatch):
        monkeypatch.setattr("stages.tracking.training_run.FLUSH_SECONDS", -1)
        with train(read_params(), tmp_path) as run:
            run.log_step(0, {"loss": 1.0})
            assert steps_of(run, "loss") == [0]

    @pytest.mark.parametrize("content", ['{"training": "ab', "[]", '{"training": "ab"}', "\udcff"])
    def test_a_damaged_name_of_a_run_is_told_and_counts_for_none(self, project, tmp_path, capsys, content):
        state = tmp_path / "run.json"
        state.write_bytes(content.encode(errors="surrogateescape"))
        with train(read_params(), tmp_path) as run:
            run.finish("w" * 64)
        assert capsys.readouterr().err == f"{state}: damaged; the training is logged as a new run\n"
        assert find_run("w" * 64) == run.run_id

    def test_a_store_that_fails_is_told_though_it_cannot_be_told_either(self, project, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise MlflowException("gone\x1b[2J\nfor ever")

        def train_until_it_fails() -> None:
            with train(read_params(), tmp_path) as run:
                monkeypatch.setattr(store.MlflowClient, "log_batch", fail)
                run.log_step(0, {"loss": 1.0})
                run.flush()

        with pytest.raises(InputError, match=r"^tracking store: gone \[2J$"):
            train_until_it_fails()

    def test_a_checkpoint_that_a_later_one_replaced_before_it_was_sent_is_passed_over(self, project, tmp_path):
        with train(read_params(), tmp_path) as run:
            (tmp_path / "step_2.safetensors").write_bytes(b"two")
            for number in (1, 2):
                run.log_artifact(tmp_path / f"step_{number}.safetensors", "checkpoints")
        sent = store.connect().list_artifacts(run.run_id, "checkpoints")
        assert [item.path for item in sent] == ["checkpoints/step_2.safetensors"]

    def test_an_experiment_of_dvc_is_a_run_of_its_name(self, project, tmp_path, monkeypatch):
        params, client = read_params(), store.connect()
        with train(params, tmp_path) as plain:
            plain.finish("p" * 64)
        assert run_for_results(plain.run_id, params) == plain.run_id
        monkeypatch.setenv("DVC_EXP_NAME", "brave-owls")
        own = run_for_results(plain.run_id, params)  # it trained nothing
        assert run_for_results(None, params) == own != plain.run_id
        with train(params, tmp_path) as named:
            named.finish("q" * 64)
        assert run_for_results(named.run_id, params) == named.run_id
        runs = [client.get_run(run_id) for run_id in (plain.run_id, own, named.run_id)]
        assert [run.info.run_name for run in runs] == ["train", "brave-owls", "brave-owls"]
        assert [run.data.tags.get("iedit.experiment") for run in runs] == [None, "brave-owls", "brave-owls"]
        assert [run.data.tags["iedit.role"] for run in runs] == ["train", "evaluate", "train"]

    def test_values_beyond_the_limits(self, project, tmp_path):
        params = read_params()
        names = "/".join(["long"] * 2000)
        long = params.model_copy(update={"train": params.train.model_copy(update={"clip": ModelName(name=names)})})
        with train(long, tmp_path) as run:
            pass
        assert len(store.connect().get_run(run.run_id).data.params["train.clip.name"]) == 500


class TestLineage:
    def test_commit_and_changes(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert set(lineage.git_tags().values()) == {"none"}
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "one"]):
            subprocess.run(["git", *command], check=True)
        (tmp_path / "dvc.lock").touch()
        assert lineage.git_tags()["iedit.git_dirty"] == "false"
        with monkeypatch.context() as patch:
            patch.setenv("PATH", "")  # a machine without git
            assert set(lineage.git_tags().values()) == {"none"}
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "1.png").touch()
        (tmp_path / ".dvc").mkdir()
        (tmp_path / ".dvc" / "config").touch()
        assert lineage.changed_files() == []  # pictures of the user, and where the data are kept, are no code
        (tmp_path / "stages").mkdir()
        (tmp_path / "stages" / "new.py").touch()
        assert lineage.changed_files() == ["stages/"]
        assert lineage.git_tags()["iedit.git_dirty"] == "true"
        assert len(lineage.git_tags()["mlflow.source.git.commit"]) == 40

    def test_the_digest_covers_what_is_upstream_and_nothing_else(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert lineage.pipeline_digest("train") == "none"
        stages = {
            "ingest": {"cmd": "i", "outs": [{"path": "data/corpus", "md5": "1"}]},
            "segment": {
                "cmd": "s",
                "deps": [{"path": "data/corpus/x", "md5": "1"}],
                "outs": [{"path": "data/training", "md5": "2"}],
            },
            "train": {"cmd": "t", "deps": [{"path": "data/training", "md5": "2"}], "outs": [{"path": "models", "md5": "3"}]},
        }

        def digest(**changes: object) -> str:
            Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": {"deps": ["data/training", "code.py"]}}}))
            Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages | changes}))
            return lineage.pipeline_digest("train")

        assert digest() == digest(train={"cmd": "other"}) == digest(other={"outs": [{"path": "elsewhere", "md5": "4"}]})
        assert digest() != digest(ingest={"cmd": "i", "outs": [{"path": "data/corpus", "md5": "9"}]})


class TestRegistry:
    def test_a_model_is_registered_once(self, project, champion):
        folders = project / "models/iedit", project / "segmenter"
        again = registration.register(*folders, metrics={"clip_score": 62.0}, example=EXAMPLE)
        assert again.version == champion.version
        assert again.is_champion
        assert again.metrics == {"clip_score": 62.0}
        assert registry.current_champion() == registry.latest_version() == again
        assert len(store.connect().search_model_versions("name = 'iedit'")) == 1

    def test_a_model_that_a_kill_left_unregistered_is_removed(self, project, tmp_path, monkeypatch):
        def stop(**_) -> None:
            raise KeyboardInterrupt

        (tmp_path / "config.json").write_text("{}")  # of another segmenter
        model = project / "models/iedit"
        parts = {"iedit.model_digest": folder_digest(model), "iedit.segmenter_digest": folder_digest(tmp_path)}
        tags = {registry.DIGEST: value_digest(parts)}
        client = store.connect()
        experiment = store.experiment_id(client)
        left = client.create_logged_model(experiment, registry.NAME, tags=tags)
        monkeypatch.setattr(registration.Model, "log", stop)
        with pytest.raises(KeyboardInterrupt):
            registration.register(model, tmp_path, metrics={}, example=EXAMPLE)
        assert left.model_id not in {each.model_id for each in client.search_logged_models([experiment])}

    def test_a_remote_model_is_fetched_once(self, project, champion, tmp_path, monkeypatch):
        client, there = store.connect(), registry.fetch_model(store.connect(), registry.CHAMPION_URI)
        remote = "mlflow-artifacts:/models/1"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(client, "get_model_version_download_uri", lambda *_: remote)
        fetched: list[str] = []

        def download(uri: str, dst_path: str) -> str:
            fetched.append(uri)
            return str(shutil.copytree(there, Path(dst_path) / "artifacts"))

        monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
        first, second = registry.fetch_model(client, registry.CHAMPION_URI), registry.fetch_model(client, registry.CHAMPION_URI)
        assert first == second
        assert fetched == [remote]
        assert folder_digest(first) == folder_digest(there)
        assert [path.name for path in (tmp_path / "iedit").iterdir()] == [first.name]

    def test_a_model_whose_files_were_moved_is_told(self, project, champion, monkeypatch):
        client = store.connect()
        monkeypatch.setattr(client, "get_model_version_download_uri", lambda *_: "file:///nowhere/artifacts")
        with pytest.raises(InputError, match=r"^models:/iedit@champion: /nowhere/artifacts: no such folder; the artifacts"):
            registry.fetch_model(client, registry.CHAMPION_URI)

    def test_no_champion_is_not_what_a_failure_is_taken_for(self, project, champion, monkeypatch):
        def fail(*_):
            raise MlflowException("gone", error_code=INTERNAL_ERROR)

        monkeypatch.setattr(store.MlflowClient, "get_model_version_by_alias", fail)
        with pytest.raises(InputError, match=r"^tracking store: gone$"), store_errors_in_one_line():
            registry.current_champion()

    def test_no_pickle_and_the_same_weights(self, project, champion):
        folder = registry.fetch_model(store.connect(), registry.CHAMPION_URI)
        names = [path.name for path in folder.rglob("*") if path.is_file()]
        assert not [name for name in names if name.endswith((".pkl", ".bin", ".pt", ".pth", ".ckpt", ".pickle"))]
        assert {"pyfunc_model.py", "input_example.json", "requirements.txt"} <= set(names)
        assert folder_digest(project / "models/iedit") == folder_digest(folder / "artifacts/iedit")
        assert (
            f"torch=={registration.installed_version('torch').partition('+')[0]}" in (folder / "requirements.txt").read_text()
        )

    def test_signature(self, served):
        required = {spec.name: spec.required for spec in served.metadata.signature.inputs}
        assert required == {"image": True, "prompt": True, "mask": False, "term": False, "source_term": False}
        defaults = {spec.name: spec.default for spec in served.metadata.signature.params}
        assert defaults["num_inference_steps"] == SAMPLING.steps
        assert defaults["mask_mode"] == "predicted"

    def test_predict(self, predict):
        image, black = encode_picture(EXAMPLE.image), encode_picture(Image.new("L", (32, 32)))
        table = pd.DataFrame([{"image": image, "prompt": "a dog", "term": "dog"}, {"image": image, "prompt": "a cat"}])
        edits = predict(table, params={"num_images": 2, "seed": 3})
        assert edits[["row", "number"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
        assert decode_picture(edits["image"][0]).size == (32, 32)
        assert edits["image"][0] != edits["image"][1]
        pd.testing.assert_frame_equal(edits, predict(table, params={"num_images": 2, "seed": 3}))
        given = pd.DataFrame([{"image": image, "prompt": "a dog", "mask": black}])
        assert len(predict(given, params={"mask_mode": "given"})) == 1

    @pytest.mark.parametrize(
        ("changes", "params", "message"),
        [
            ({"image": "not base64!"}, {}, "row 0: image: not base64"),
            ({"image": "aGVsbG8="}, {}, r"row 0: image: not an image \(PNG, JPEG, WEBP\)"),
            ({"image": ""}, {}, "row 0: image must not be empty"),
            ({"prompt": ""}, {}, "row 0: prompt: must not be blank"),
            ({"prompt": " \n\x1b "}, {}, "row 0: prompt: must not be blank"),
            ({"mask": encode_picture(EXAMPLE.image)}, {}, "a mask is given, but mask_mode is 'predicted'"),
            ({}, {"mask_mode": "given"}, "no mask is given, but mask_mode is 'given'"),
            ({}, {"mask_mode": "magic"}, "mask_mode = 'magic': allowed are predicted, given, none"),
            ({}, {"strength": 0.0}, "strength = 0.0"),
            ({}, {"strength": 1.5}, "strength = 1.5"),
            ({}, {"strength": 0.1}, "no step is left"),
            ({}, {"num_images": 0}, "number of images = 0: allowed is 1 to 16"),
            (
                {"image": NARROW},
                {"mask_mode": "none"},
                "row 0: the image is 300 × 2: its longer side may be 8 times the shorter",
            ),
        ],
    )
    def test_a_bad_request_is_told_in_one_line(self, predict, served, changes, params, message, monkeypatch):
        monkeypatch.setenv(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name, "true")  # as MLflow sets it, and for no longer
        row = {"image": encode_picture(EXAMPLE.image), "prompt": "a dog"} | changes
        with pytest.raises(MlflowException, match=message) as caught:
            predict(pd.DataFrame([row]), params=params)
        assert "\n" not in caught.value.message
        assert caught.value.get_http_status_code() == 400
        with TestClient(scoring_server.init(served)) as client:  # what `mlflow models serve` runs
            answer = client.post("/invocations", json={"dataframe_records": [row], "params": params})
        assert answer.status_code == 400
        assert answer.json()["message"] == caught.value.message

    def test_too_many_pixels_are_not_decoded(self, monkeypatch):
        monkeypatch.setattr("stages.editing.pictures.MAX_PIXELS", 10)
        with pytest.raises(InputError, match="image: more than 10 pixels"):
            decode_picture(encode_picture(EXAMPLE.image))

    def test_sampling_keeps_what_is_not_changed(self):
        assert adjust_sampling(SAMPLING, strength=None, steps=4) == SAMPLING.model_copy(update={"steps": 4})


class TestCommand:
    def run(self, *arguments: object) -> int:
        return cli.main([str(argument) for argument in arguments])

    def test_edit_with_the_champion(self, project, champion, tmp_path, capsys):
        output = tmp_path / "new.png"
        assert self.run("edit", "photo.png", "a dog", "--output", output, "--images", 2) == 0
        assert capsys.readouterr().out.split() == [str(tmp_path / "new-1.png"), str(tmp_path / "new-2.png")]
        assert Image.open(tmp_path / "new-2.png").size == (48, 40)

    def test_a_folder_is_the_same_model(self, project, champion, tmp_path):
        for name, model in (("a", "models:/iedit@champion"), ("b", "models/iedit")):
            options = ("--no-mask", "--steps", 3, "--model", model, "--output", tmp_path / f"{name}.png")
            assert self.run("edit", "photo.png", "a dog", *options) == 0
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["edit", "none.png", "p"], "image none.png: no such file"),
            (["edit", "segmenter", "p"], "image segmenter: not a file"),
            (["edit", "photo.png", "p", "--mask", "models"], "mask models: not a file"),
            (["edit", "photo.png", ""], "prompt: must not be blank"),
            (["edit", "photo.png", " \t\x1b\u200b"], "prompt: must not be blank"),
            (["edit", "params.yaml", "p"], "image params.yaml: not an image"),
            (["edit", "photo.png", "p", "--output", "a.txt"], "output a.txt: its name must end in one of .png"),
            (["edit", "photo.png", "p", "--output", "no/a.png"], "output no/a.png: no such folder: no"),
            (["edit", "photo.png", "p", "--images", "99"], "number of images = 99"),
            (["edit", "photo.png", "p", "--strength", "2"], "strength = 2.0"),
            (["edit", "photo.png", "p", "--model", "models:/iedit@none"], "models:/iedit@none: "),
            (["edit", "photo.png", "p", "--model", "models:/iedit/77"], "models:/iedit/77: "),
            (["edit", "photo.png", "p", "--model", "nowhere"], "model nowhere: neither a folder"),
            (["summary"], "reports/table.md: no such file"),
        ],
    )
    def test_errors(self, project, champion, capsys, arguments, message):
        assert self.run(*arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"error: {message}")

    def test_summary_shows_a_command_that_works(self, project, champion, tmp_path, capsys, monkeypatch):
        samples = project / "reports/samples"
        samples.mkdir(parents=True)
        (project / "reports/table.md").write_text("| method | CLIPScore |\n")
        EXAMPLE.image.save(samples / "source.png")
        write_json(samples / "edit.json", {"prompt": "a dog on the beach", "term": "dog", "source_term": "cat"})
        assert self.run("summary") == 0
        told = capsys.readouterr().out
        assert "| method | CLIPScore |" in told
        assert f"models:/iedit/{champion.version}, the champion" in told
        assert "iedit edit reports/samples/source.png 'a dog on the beach'" in told

    @pytest.mark.parametrize("content", ['{"prompt":', '{"prompt": "a dog"}', "[]", "7"])
    def test_a_damaged_sample_is_told(self, project, champion, capsys, content):
        for path, text in ((cli.TABLE, "| method |\n"), (cli.SAMPLE, ""), (cli.SAMPLE_EDIT, content)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert self.run("summary") == 2
        assert capsys.readouterr().err == "error: reports/samples/edit.json: damaged; run the stage evaluate again\n"

    def test_help_imports_nothing_slow(self):
        code = "import sys, stages.cli.main; print([name for name in ('torch', 'mlflow', 'diffusers') if name in sys.modules])"
        result = subprocess.run([cli.sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "[]"
