"""The gate, the champion and those before it: every decision, on a real store."""

import json
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from stages.cli import main as cli
from stages.core.errors import InputError
from stages.core.params import Gate
from stages.tracking import evaluations, history, promotion, registry, store
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.gate import decide
from stages.tracking.promotion import Standard, consider
from tests.support import ROOT

GATE = Gate(ssim_m_bar_tolerance=1.0)
N = 200
KEYS = [str(number) for number in range(N)]
NOISE = np.random.default_rng(0).normal(size=N)
NOISE -= NOISE.mean()


def scores(clip=0.0, ssim=0.0, spread=0.0) -> dict:
    """Scores whose mean is exactly as given; ``spread`` is what cases differ by."""
    return {"clip_score": 60 + clip + spread * NOISE, "ssim_m_bar_frame": 80 + ssim + spread * NOISE}


class TestGate:
    @pytest.mark.parametrize(
        ("change", "passes", "verdict"),
        [
            ({"clip": 1}, True, "better in CLIPScore"),
            ({"ssim": 1}, True, "better in SSIM-M̄"),
            ({"clip": 1, "ssim": 1}, True, "better in CLIPScore and SSIM-M̄"),
            ({}, False, "neither CLIPScore nor SSIM-M̄ is better"),
            ({"clip": -0.1, "ssim": 5}, False, "CLIPScore is worse"),
            ({"clip": 1, "ssim": -0.9}, True, "better in CLIPScore"),
            ({"clip": 1, "ssim": -1.1}, False, "SSIM-M̄ may be worse by more than 1"),
            ({"clip": 5, "ssim": 0, "spread": 20}, False, "SSIM-M̄ may be worse by more than 1"),  # nobody knows
            ({"clip": -0.1, "ssim": 1, "spread": 3}, True, "better in SSIM-M̄"),  # no difference that could not be chance
        ],
    )
    def test_decision(self, change, passes, verdict):
        decision = decide(scores(**change), scores(), GATE, version="7", resamples=400, seed=0)
        assert decision.passes is passes
        assert decision.why.startswith(f"{verdict}: CLIPScore {change.get('clip', 0):+.2f} [")
        assert decision.why.endswith("against version 7 on 200 cases")

    def test_interval_is_that_of_the_mean(self):
        difference = decide(scores(spread=5), scores(), GATE, version="1", resamples=4000, seed=0).differences["clip_score"]
        error = 1.96 * 5 * NOISE.std() / np.sqrt(N)  # of the mean of N, by the normal distribution
        assert (difference.low, difference.high) == pytest.approx((-error, error), rel=0.1)

    def test_cases_without_a_score_are_left_out(self):
        some, none = scores(clip=1), scores()
        some["clip_score"][:50] = np.nan
        assert "on 150 cases" in decide(some, scores(), GATE, version="1", resamples=10, seed=0).why
        none["ssim_m_bar_frame"][:] = np.nan
        with pytest.raises(InputError, match="no case has a score of both"):
            decide(none, scores(), GATE, version="1", resamples=10, seed=0)

    def test_other_cases_are_no_comparison(self):
        fewer = {name: values[:-1] for name, values in scores().items()}
        with pytest.raises(InputError, match="the cases must be the same"):
            decide(fewer, scores(), GATE, version="1", resamples=10, seed=0)


def register(client) -> registry.Registered:
    """Make the next version, as far as the registry is concerned."""
    model = client.create_logged_model(store.experiment_id(client), name="iedit")
    tags = {"iedit.digest": model.model_id, "iedit.cases_digest": "c" * 64}
    tags |= {"metric.iedit_m/clip_score": "61.5", "metric.iedit_m/ssim_m_bar": "92.6"}
    made = client.create_model_version("iedit", f"models:/{model.model_id}", model_id=model.model_id, tags=tags)
    return registry.find_version(str(made.version))


class Judge:
    """Scores versions as it is told, and remembers which it was asked for."""

    def __init__(self, **clip: float) -> None:
        self.clip = {name.removeprefix("v"): value for name, value in clip.items()}
        self.asked: list[str] = []

    def standard(self, evaluation_set: str = "a" * 64) -> Standard:
        return Standard(evaluation_set=evaluation_set, cases=KEYS, score=self.score, gate=GATE, resamples=50, seed=0)

    def score(self, version: registry.Registered) -> dict:
        self.asked.append(version.version)
        return scores(clip=self.clip[version.version])


def fail(*_: object) -> None:
    raise MlflowException("gone", error_code=INTERNAL_ERROR)


def champion() -> str | None:
    found = registry.current_champion()
    return None if found is None else found.version


def told(client, version) -> tuple[str, dict[str, str]]:
    made = client.get_model_version("iedit", version.version)
    return made.description, {
        name.removeprefix("iedit.decision"): text for name, text in made.tags.items() if "decision" in name
    }


class TestPromotion:
    def test_the_first_becomes_champion_and_the_decision_says_so(self, client):
        first, judge = register(client), Judge()
        decision = consider(first, judge.standard())
        assert decision.passes
        assert (champion(), judge.asked) == ("1", [])
        assert registry.version_by_alias(client, "challenger") is None
        description, tags = told(client, first)
        assert description == "promoted: the first version: there is no champion to compare it with"
        assert tags[""] == "promoted"
        assert tags[".against"] == "none"

    def test_a_better_one_becomes_champion(self, client):
        first, second, judge = register(client), register(client), Judge(v1=0, v2=2)
        consider(first, judge.standard())
        assert consider(second, judge.standard()).passes
        assert champion() == "2"
        description, tags = told(client, second)
        numbers = "CLIPScore +2.00 [+2.00, +2.00], SSIM-M̄ +0.00 [+0.00, +0.00]"
        assert description == f"promoted: better in CLIPScore: {numbers} against version 1 on 200 cases"
        assert tags[".against"] == "1"
        assert tags[".set"] == "a" * 64
        assert json.loads(tags[".clip_score"])["value"] == pytest.approx(2)
        assert [(event.version, event.how, event.former) for event in history.read_events(client)] == [
            ("1", "promoted", None),
            ("2", "promoted", "1"),
        ]

    def test_a_worse_one_stays_challenger(self, client):
        first, second, judge = register(client), register(client), Judge(v1=0, v2=-1)
        consider(first, judge.standard())
        assert not consider(second, judge.standard()).passes
        assert champion() == "1"
        assert registry.version_by_alias(client, "challenger") == "2"
        description, tags = told(client, second)
        assert description.startswith("not promoted: CLIPScore is worse: CLIPScore -1.00")
        assert tags[""] == "not promoted"
        assert [event.version for event in history.read_events(client)] == ["1"]

    def test_the_champion_is_not_compared_with_itself(self, client):
        first, judge = register(client), Judge()
        for _ in range(2):
            assert consider(first, judge.standard()).passes
        assert judge.asked == []
        assert len(history.read_events(client)) == 1
        assert told(client, first)[1][""] == "promoted"

    def test_scores_are_kept_and_versions_of_another_set_evaluated_again(self, client):
        first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
        consider(first, judge.standard())
        consider(second, judge.standard())
        assert judge.asked == ["2", "1"]
        third = register(client)
        judge.clip["3"] = 0.5
        assert not consider(third, judge.standard()).passes
        assert judge.asked == ["2", "1", "3"]  # of the champion, the scores are there
        judge.clip |= {"2": -3}  # on other cases things may be the other way round
        assert consider(third, judge.standard("b" * 64)).passes
        assert judge.asked == ["2", "1", "3", "3", "2"]
        kept = evaluations.load_scores(client, second.model_id, "b" * 64, KEYS)
        np.testing.assert_array_equal(kept["clip_score"], scores(clip=-3)["clip_score"])
        assert evaluations.load_scores(client, first.model_id, "b" * 64, KEYS) is None
        description, tags = told(client, third)
        assert description.startswith("promoted: better in CLIPScore: CLIPScore +3.50")
        assert tags[".set"] == "b" * 64

    def test_scores_of_other_cases_are_never_compared(self, client):
        first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
        consider(first, judge.standard())
        others = [f"other {key}" for key in KEYS]
        evaluations.save_scores(client, first.model_id, "a" * 64, others, scores(clip=9))
        decision = consider(second, judge.standard())
        assert judge.asked == ["2", "1"]
        assert decision.differences["clip_score"].value == pytest.approx(1)

    def test_scores_that_a_kill_cut_short_count_for_none(self, client):
        first = register(client)
        values = scores()
        values["clip_score"][3] = np.nan
        evaluations.save_scores(client, first.model_id, "a" * 64, KEYS, values)
        kept = evaluations.load_scores(client, first.model_id, "a" * 64, KEYS)
        np.testing.assert_array_equal(kept["clip_score"], values["clip_score"])
        place = client.get_logged_model(first.model_id).artifact_location.removeprefix("file://")
        (path,) = Path(place).rglob("*.json")
        path.write_text(path.read_text()[:99])
        assert evaluations.load_scores(client, first.model_id, "a" * 64, KEYS) is None

    def test_an_old_one_does_not_take_the_name_of_the_new(self, client):
        versions, judge = [register(client) for _ in range(3)], Judge(v1=0, v2=3, v3=-1)
        consider(versions[1], judge.standard())
        consider(versions[2], judge.standard())
        assert not consider(versions[0], judge.standard(), by_hand=True).passes
        assert registry.version_by_alias(client, "challenger") == "3"
        assert told(client, versions[0])[0].startswith("not promoted: CLIPScore is worse")

    def test_nothing_says_promoted_before_it_is(self, client, monkeypatch):
        first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
        consider(first, judge.standard())

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(history, "_record_event", stop)
            consider(second, judge.standard())
        assert champion() == "1"
        assert "" not in told(client, second)[1]
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(history, "describe", stop)
            consider(second, judge.standard())
        assert champion() == "2"
        consider(second, judge.standard())  # a kill came before it was written down
        description, tags = told(client, second)
        assert tags[""] == "promoted"
        assert description.startswith("promoted: better in CLIPScore: CLIPScore +1.00")

    def test_what_is_done_by_hand_is_written_on_the_versions(self, client):
        first, second, judge = register(client), register(client), Judge(v1=0, v2=-1)
        consider(first, judge.standard())
        consider(second, judge.standard())
        history.promote("2", "by hand, whatever the gate says")
        assert told(client, second)[0] == "promoted: by hand, whatever the gate says"
        history.roll_back("by hand")
        description, tags = told(client, second)
        assert (description, tags[""]) == ("rolled back: by hand, to version 1", "rolled back")
        assert told(client, first)[1][""] == "promoted"

    def test_who_became_champion_meanwhile_is_the_one_to_beat(self, client):
        versions, judge = [register(client) for _ in range(3)], Judge(v1=0, v2=5, v3=1)
        consider(versions[0], judge.standard())

        def score(version):
            if version.version == "3" and champion() == "1":
                consider(versions[1], judge.standard())
            return judge.score(version)

        standard = judge.standard()
        decision = consider(versions[2], Standard(**{**vars(standard), "score": score}))
        assert (decision.passes, decision.champion, champion()) == (False, "2", "2")

    def test_two_at_once_are_both_in_the_history_and_a_reader_always_finds_a_champion(self, client):
        versions, judge = [register(client) for _ in range(3)], Judge(v1=0, v2=1, v3=1)
        consider(versions[0], judge.standard())
        for version in versions[1:]:
            evaluations.save_scores(client, version.model_id, "a" * 64, KEYS, scores(clip=1))
        evaluations.save_scores(client, versions[0].model_id, "a" * 64, KEYS, scores())
        start, done, seen, failures = threading.Barrier(2), threading.Event(), set(), []
        original = promotion._write_grounds

        def write_down(*arguments):  # both have decided by now
            with suppress(threading.BrokenBarrierError):
                start.wait(30)
            original(*arguments)

        def read():
            while not done.is_set():
                seen.add(champion())

        def promote(version):
            try:
                consider(version, judge.standard())
            except BaseException as error:  # noqa: BLE001 - it is told below
                failures.append(error)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(promotion, "_write_grounds", write_down)
            for module in (history, promotion, registry):  # connecting is not made for threads
                patch.setattr(module, "connect", lambda **_: client)
            reader = threading.Thread(target=read)
            both = [threading.Thread(target=promote, args=(version,)) for version in versions[1:]]
            reader.start()
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
            done.set()
            reader.join()
        assert failures == []
        events = history.read_events(client)
        assert sorted(event.version for event in events) == ["1", "2", "3"]
        assert champion() in ("2", "3")
        assert seen <= {"1", "2", "3"}
        last = champion()  # after the other one, or in its place: by which of them was first
        assert history.roll_back("test").version in {"1", "2", "3"} - {last}


class TestAlias:
    def test_made_by_two_at_once_it_is_set_by_the_one_that_the_store_refuses(self, client, monkeypatch):
        first, second = register(client), register(client)
        honest = client.set_registered_model_alias

        def refuse_once(*arguments: str) -> None:
            monkeypatch.setattr(client, "set_registered_model_alias", honest)
            honest("iedit", "champion", first.version)  # by the other one, meanwhile
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed", error_code=INTERNAL_ERROR)

        monkeypatch.setattr(client, "set_registered_model_alias", refuse_once)
        registry.set_alias(client, "champion", second.version)
        assert champion() == second.version

    @pytest.mark.parametrize("there", [True, False])
    def test_what_fails_for_another_reason_is_told(self, client, monkeypatch, there):
        first, second = register(client), register(client)
        if there:
            history.promote(first.version, "test")
        monkeypatch.setattr(store.MlflowClient, "set_registered_model_alias", fail)
        with pytest.raises(InputError, match=r"^tracking store: gone$"), store_errors_in_one_line():
            history.promote(second.version, "test")
        assert champion() == (first.version if there else None)


class TestEvents:
    def test_without_a_registered_model_there_are_none(self, client, capsys):
        client.delete_registered_model("iedit")
        assert history.read_events(client) == []
        assert cli.main(["history"]) == 0
        assert capsys.readouterr().out.splitlines() == ["champion    none", "challenger  none"]

    @pytest.mark.parametrize(
        ("asked", "command"),
        [("get_registered_model", ["history"]), ("set_registered_model_tag", ["promote", "1", "--force"])],
    )
    def test_a_store_that_fails_is_not_taken_for_one_without_any(self, client, monkeypatch, capsys, asked, command):
        register(client)
        monkeypatch.setattr(store.MlflowClient, asked, fail)
        assert cli.main(command) == 2
        assert capsys.readouterr() == ("", "error: tracking store: gone\n")
        assert champion() is None


class TestRollback:
    def test_it_goes_back_step_by_step(self, client):
        versions = [register(client) for _ in range(3)]
        for version in versions:
            history.promote(version.version, "test")
        assert [history.roll_back("bad").version for _ in range(2)] == ["2", "1"]
        with pytest.raises(InputError, match="version 1 is the first champion: there is none before it"):
            history.roll_back("bad")
        assert champion() == "1"
        history.promote("3", "good after all")
        assert history.roll_back("bad").version == "1"
        events = history.read_events(client)
        assert [event.version for event in events] == ["1", "2", "3", "2", "1", "3", "1"]
        assert [event.how for event in events[3:]] == ["rolled back", "rolled back", "promoted", "rolled back"]
        assert [event.when for event in events] == sorted(event.when for event in events)

    def test_without_a_champion_there_is_nothing_to_go_back_from(self, client):
        with pytest.raises(InputError, match="there is no champion"):
            history.roll_back("bad")

    def test_what_was_taken_down_comes_back_by_hand_only(self, client):
        first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
        for version in (first, second):
            consider(version, judge.standard())
        history.roll_back("bad")
        decision = consider(second, judge.standard())
        assert not decision.passes
        assert decision.why.startswith("a rollback took it down on ")
        assert champion() == "1"
        assert consider(second, judge.standard(), by_hand=True).passes
        assert champion() == "2"

    def test_a_champion_that_was_made_elsewhere_can_be_gone_back_to(self, client):
        first, second = register(client), register(client)
        client.set_registered_model_alias("iedit", "champion", first.version)
        history.promote(second.version, "test")
        assert history.roll_back("bad").version == "1"
        assert [event.how for event in history.read_events(client)] == ["found", "promoted", "rolled back"]

    def test_a_kill_before_the_alias_is_set_changes_no_champion(self, client, monkeypatch):
        first, second = register(client), register(client)
        history.promote(first.version, "test")

        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(store.MlflowClient, "set_registered_model_alias", stop)
            history.promote(second.version, "test")
        assert champion() == "1"
        history.promote(second.version, "again")
        assert history.roll_back("bad").version == "1"

    def test_a_version_that_is_not_there_is_told(self, client):
        first = register(client)
        history.promote(first.version, "test")
        with pytest.raises(InputError, match=r"^models:/iedit/9: .*not found"):
            history.promote("9", "test")
        assert champion() == "1"
        assert len(history.read_events(client)) == 1


class TestCommand:
    @pytest.fixture
    def judge(self, client, tmp_path, monkeypatch) -> Judge:
        shutil.copy(ROOT / "params.yaml", tmp_path)
        judge = Judge(v1=0, v2=1, v3=-1)
        monkeypatch.setattr("stages.comparison.standard.current_standard", lambda _: judge.standard())
        for _ in range(3):
            register(client)
        return judge

    def run(self, capsys, *arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    def test_they_do_by_hand_what_the_stage_does_and_say_so(self, client, judge, capsys):
        assert self.run(capsys, "promote", "1")[:2] == (
            0,
            "models:/iedit/1 is champion: the first version: there is no champion to compare it with\n",
        )
        code, out, _ = self.run(capsys, "promote", "models:/iedit/2")
        assert (code, out.splitlines()[-1][:49]) == (0, "models:/iedit/2 is champion: better in CLIPScore:")
        code, _, error = self.run(capsys, "promote", "3")
        assert code == 2
        assert error.startswith("error: models:/iedit/3 stays challenger: CLIPScore is worse: CLIPScore -2.00 [")
        code, _, error = self.run(capsys, "promote")  # the challenger
        assert (code, "models:/iedit/3 stays challenger" in error) == (2, True)
        assert self.run(capsys, "promote", "3", "--force")[:2] == (
            0,
            "models:/iedit/3 is champion, in place of version 2: by hand, whatever the gate says\n",
        )
        assert not [name for name in client.get_model_version("iedit", "3").tags if name.startswith("iedit.decision.")]
        assert self.run(capsys, "rollback") == (0, "models:/iedit/2 is champion again, in place of version 3\n", "")
        code, out, _ = self.run(capsys, "history")
        lines = out.splitlines()
        assert code == 0
        assert [line.split("version ")[1][:1] for line in lines[:-2:2]] == ["1", "2", "3", "2"]
        assert "promoted  CLIPScore 61.50, SSIM-M̄ 92.60 on cases cccccccc" in lines[2]
        assert "better in CLIPScore: CLIPScore +1.00" in lines[3]
        assert lines[-2:] == ["champion    version 2", "challenger  none"]

    def test_the_champion_cannot_be_promoted_again(self, client, judge, capsys):
        self.run(capsys, "promote", "1")
        assert self.run(capsys, "promote", "1", "--force") == (2, "", "error: models:/iedit/1 is the champion already\n")
        assert len(history.read_events(client)) == 1

    def test_a_version_that_was_deleted_stays_in_the_history(self, client, judge, capsys):
        for version in ("1", "2"):
            self.run(capsys, "promote", version)
        client.delete_model_version("iedit", "1")
        code, out, _ = self.run(capsys, "history")
        assert code == 0
        assert out.splitlines()[0].endswith("version 1  promoted  deleted since")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["promote", "9"], "models:/iedit/9: "),
            (["promote"], "models:/iedit@challenger: "),
            (["promote", "models:/other/1"], "models:/other/1: "),
            (["promote", "4"], "models:/iedit/4: is no version that the stage evaluate has registered"),
            (["rollback"], "there is no champion to roll back from"),
            (["lineage", "9"], "models:/iedit/9: "),
            (["lineage", "1"], "logged model m-"),
            (["reproduce", "models:/iedit@champion"], "models:/iedit@champion: "),
        ],
    )
    def test_what_cannot_be_is_told_in_one_line(self, client, judge, capsys, arguments, said):
        client.create_model_version("iedit", client.get_model_version("iedit", "1").source)  # the fourth, by other means
        code, out, error = self.run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert error.startswith(f"error: {said}")
        assert len(error.splitlines()) == 1
