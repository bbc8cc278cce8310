"""What a run's page in Prefect says of the registry and of MLflow, and what the flows for every night and week do.

The tasks are called as functions: no server is needed. tests/ops has them on servers.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from flows import ablation, pipeline, refresh, tables
from flows.support import artifacts, automations, command, registry
from stages.core.errors import InputError
from stages.core.interrupt import MESSAGE
from stages.tracking import pages, store
from tests.stages.tracking.test_promotion import register

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def published(monkeypatch) -> dict[str, str]:
    """What is published, by its key."""
    found: dict[str, str] = {}
    monkeypatch.setattr(registry, "create_markdown_artifact", lambda key, markdown, **_: found.update({key: markdown}))
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda key, markdown, **_: found.update({key: markdown}))
    monkeypatch.setattr(artifacts, "create_link_artifact", lambda key, link, **_: found.update({key: link}))
    return found


class TestDecision:
    def decide(self, published: dict[str, str], before: str | None) -> str:
        registry.publish_decision.fn(before)
        return published["decision"]

    def test_what_became_of_the_champion_is_told(self, client, published):
        assert registry.champion_version.fn() is None
        assert self.decide(published, None) == "No model is registered."
        for _ in range(2):
            register(client)
        assert self.decide(published, None) == "There is no champion; version 2 is the newest."
        client.set_registered_model_alias("iedit", "champion", "1")
        assert self.decide(published, None) == "Promoted: version 1 is the champion, the first."
        assert self.decide(published, "1") == "Kept: version 1 stays the champion; version 2 is the newest."
        client.set_registered_model_alias("iedit", "champion", "2")
        assert registry.champion_version.fn() == "2"
        assert self.decide(published, "1") == "Promoted: version 2 is the champion, 1 was before."
        assert self.decide(published, "2") == "Kept: no new model came about, and version 2 stays the champion."

    @pytest.mark.parametrize("task", [registry.champion_version.fn, lambda: registry.publish_decision.fn("1")])
    def test_a_server_that_is_away_is_told_so_that_it_is_tried_again(self, client, published, monkeypatch, task):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
        with pytest.raises(InputError, match=f"^tracking server {NOWHERE}: ") as away:
            task()
        assert registry.may_pass(None, None, SimpleNamespace(data=away.value))
        assert not published

    def test_a_champion_that_nobody_here_has_registered_is_told(self, client, published):
        client.create_registered_model("other")
        source = client.get_model_version("iedit", register(client).version).source
        made = client.create_model_version("iedit", source)
        client.set_registered_model_alias("iedit", "champion", made.version)
        with pytest.raises(InputError, match=r"^models:/iedit/2: is no version that the stage evaluate has registered$"):
            registry.champion_version.fn()


class TestResults:
    @pytest.fixture(autouse=True)
    def model(self, client) -> None:
        Path("models/iedit").mkdir(parents=True)
        Path("models/iedit/iedit.json").write_text("{}")

    def test_edits_are_on_the_page_itself_and_a_training_that_is_nowhere_is_none(self, published):
        Path("reports/latest").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save("reports/latest/sheet.png")
        artifacts.publish_results()
        assert published["edits"].startswith("![Edits of held-out cases](data:image/webp;base64,")
        assert set(published) == {"edits"}

    @pytest.mark.parametrize(
        ("address", "told"),
        [
            (None, "Run `{run}` of the experiment `iedit`; `mlflow ui` shows it."),
            ("https://mlflow.here/", "https://mlflow.here/#/experiments/{experiment}/runs/{run}"),
        ],
    )
    def test_the_training_is_told_or_linked_where_it_has_a_page(self, client, published, monkeypatch, address, told):
        experiment = store.experiment_id(client)
        digest = artifacts.folder_digest(Path("models/iedit"))
        run = client.create_run(experiment, tags={"iedit.model_digest": digest}).info.run_id
        if address is not None:
            monkeypatch.setenv("IEDIT_MLFLOW_PAGES", address)
        artifacts.publish_results()
        assert published == {"mlflow-run": told.format(run=run, experiment=experiment)}

    def test_a_server_that_is_away_is_told(self, published, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
        with pytest.raises(InputError, match=f"^tracking server {NOWHERE}: "):
            artifacts.publish_results()

    def test_an_address_has_no_password_in_it(self, client, monkeypatch):
        monkeypatch.setattr(pages, "connect", lambda **_: client)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.here")
        assert pages.run_page("r") == f"https://mlflow.here/#/experiments/{store.experiment_id(client)}/runs/r"


class TestFlows:
    @pytest.fixture
    def done(self, monkeypatch) -> list[tuple[object, ...]]:
        """What the flows have done, in its order."""
        done: list[tuple[object, ...]] = []
        monkeypatch.setattr(refresh, "grow_corpus", lambda images: done.append(("grow", images)))
        monkeypatch.setattr(refresh, "champion_version", lambda: "3")
        monkeypatch.setattr(refresh, "stages_in_order", lambda: ["ingest", "train"])
        monkeypatch.setattr(refresh, "publish_decision", lambda before: done.append(("decision against", before)))
        monkeypatch.setattr(refresh, "push_data", lambda: done.append(("push",)))
        for flow in (refresh, tables):
            monkeypatch.setattr(flow, "run_stages", lambda names, forced: done.append(("run", names, forced)))
            monkeypatch.setattr(flow, "publish_results", lambda: done.append(("publish",)))
        return done

    @pytest.mark.parametrize("images", [None, 7000])
    def test_refresh(self, done, images):
        refresh.refresh.fn(images)
        ran = [("run", ["ingest", "train"], ["ingest"]), ("publish",), ("decision against", "3"), ("push",)]
        assert done == ([] if images is None else [("grow", 7000)]) + ran

    def test_a_model_is_registered_where_there_is_no_champion(self, done, monkeypatch):
        monkeypatch.setattr(refresh, "champion_version", lambda: None)
        refresh.refresh.fn()
        assert done[0] == ("run", ["ingest", "train"], ["ingest", "evaluate"])

    def test_nothing_is_run_that_cannot_be_grown(self, done, monkeypatch):
        def refuse(images: int) -> None:
            raise InputError(f"images = {images}: the corpus has 6000, a refresh only adds to it")

        monkeypatch.setattr(refresh, "grow_corpus", refuse)
        with pytest.raises(InputError, match="images = 5"):
            refresh.refresh.fn(5)
        assert done == []

    @pytest.mark.parametrize(("webhook", "nobody"), [(None, True), ("http://127.0.0.1:9/", False)])
    def test_who_is_told_of_failures_is_said(self, monkeypatch, capsys, webhook, nobody):
        made = []
        monkeypatch.setattr(automations, "set_up", made.append)
        monkeypatch.setattr(automations, "tell_failures", lambda told: SimpleNamespace(name=str(told)))
        if webhook is None:
            monkeypatch.delenv("FAILURE_WEBHOOK", raising=False)
        else:
            monkeypatch.setenv("FAILURE_WEBHOOK", webhook)
        automations.main()
        assert [each.name for each in made] == [str(webhook), "iedit: end silent runs"]
        assert ("nobody is told" in capsys.readouterr().out) is nobody

    @pytest.mark.parametrize("run", [pipeline, ablation, tables])
    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (InputError("logs/first.json: damaged; remove it"), 2, "error: logs/first.json: damaged; remove it"),
            (KeyboardInterrupt(), 130, MESSAGE),
        ],
    )
    def test_what_ends_a_command_is_told_in_one_line(self, monkeypatch, capsys, run, error, code, said):
        def stop(**_: object) -> None:
            raise error

        name = run.__name__.rpartition(".")[2]
        monkeypatch.setattr(command, "_start_server", lambda: None)
        monkeypatch.setattr(run, name, stop)
        monkeypatch.setattr("sys.argv", [name])
        assert run.main() == code
        assert capsys.readouterr().err == f"{said}\n"
