"""Challenges of the champion, on a real store."""

import json
import threading
from contextlib import suppress

import numpy as np
import pytest

from stages.tracking import evaluations, history, promotion, registry
from stages.tracking.promotion import Standard, consider
from tests.support.versions import KEYS, Judge, champion_number, decision_of, register, register_foreign, scores, stop


def test_first_version_becomes_champion(client):
    first, judge = register(client), Judge()
    decision = consider(first, judge.standard())
    assert decision.passes
    assert (champion_number(), judge.scored) == ("1", [])
    assert registry.version_by_alias(client, "challenger") is None
    description, tags = decision_of(client, first)
    assert description == "promoted: the first version: there is no champion to compare it with"
    assert tags[""] == "promoted"
    assert tags[".against"] == "none"


def test_better_version_becomes_champion(client):
    first, second, judge = register(client), register(client), Judge(v1=0, v2=2)
    consider(first, judge.standard())
    assert consider(second, judge.standard()).passes
    assert champion_number() == "2"
    description, tags = decision_of(client, second)
    numbers = "CLIPScore +2.00 [+2.00, +2.00], SSIM-M̄ +0.00 [+0.00, +0.00]"
    assert description == f"promoted: better in CLIPScore: {numbers} against version 1 on 200 cases"
    assert tags[".against"] == "1"
    assert tags[".set"] == "a" * 64
    assert json.loads(tags[".clip_score"])["value"] == pytest.approx(2)
    assert [(event.version, event.how, event.former) for event in history.read_events(client)] == [
        ("1", "promoted", None),
        ("2", "promoted", "1"),
    ]


def test_worse_version_stays_challenger(client):
    first, second, judge = register(client), register(client), Judge(v1=0, v2=-1)
    consider(first, judge.standard())
    assert not consider(second, judge.standard()).passes
    assert champion_number() == "1"
    assert registry.version_by_alias(client, "challenger") == "2"
    description, tags = decision_of(client, second)
    assert description.startswith("not promoted: CLIPScore is worse: CLIPScore -1.00")
    assert tags[""] == "not promoted"
    assert [event.version for event in history.read_events(client)] == ["1"]


def test_nothing_passes_against_a_champion_of_others(client):
    register(client)
    client.set_registered_model_alias("iedit", "champion", register_foreign(client))
    third, judge = register(client), Judge()
    decision = consider(third, judge.standard())
    assert not decision.passes
    assert registry.version_by_alias(client, "champion") == "2"
    assert registry.version_by_alias(client, "challenger") == "3"
    assert judge.scored == []
    description, tags = decision_of(client, third)
    assert description == (
        "not promoted: the champion models:/iedit/2: was not registered by the stage evaluate; it has no scores to "
        "compare with, so nothing replaces it: iedit promote 3 --force does, iedit rollback returns to the champion before it"
    )
    assert tags[".against"] == "2"


def test_champion_is_not_compared_with_itself(client):
    first, judge = register(client), Judge()
    for _ in range(2):
        assert consider(first, judge.standard()).passes
    assert judge.scored == []
    assert len(history.read_events(client)) == 1
    assert decision_of(client, first)[1][""] == "promoted"


def test_scores_count_for_their_evaluation_set_only(client):
    first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
    consider(first, judge.standard())
    consider(second, judge.standard())
    assert judge.scored == ["2", "1"]
    third = register(client)
    judge.clip["3"] = 0.5
    assert not consider(third, judge.standard()).passes
    assert judge.scored == ["2", "1", "3"]  # the champion has its scores already
    judge.clip |= {"2": -3}  # on other cases things may be the other way round
    assert consider(third, judge.standard("b" * 64)).passes
    assert judge.scored == ["2", "1", "3", "3", "2"]
    kept = evaluations.load_scores(client, second.model_id, "b" * 64, KEYS)
    np.testing.assert_array_equal(kept["clip_score"], scores(clip=-3)["clip_score"])
    assert evaluations.load_scores(client, first.model_id, "b" * 64, KEYS) is None
    description, tags = decision_of(client, third)
    assert description.startswith("promoted: better in CLIPScore: CLIPScore +3.50")
    assert tags[".set"] == "b" * 64


def test_scores_of_other_cases_are_not_compared(client):
    first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
    consider(first, judge.standard())
    others = [f"other {key}" for key in KEYS]
    evaluations.save_scores(client, first.model_id, "a" * 64, others, scores(clip=9))
    decision = consider(second, judge.standard())
    assert judge.scored == ["2", "1"]
    assert decision.differences["clip_score"].value == pytest.approx(1)


def test_old_version_does_not_become_challenger(client):
    versions, judge = [register(client) for _ in range(3)], Judge(v1=0, v2=3, v3=-1)
    consider(versions[1], judge.standard())
    consider(versions[2], judge.standard())
    assert not consider(versions[0], judge.standard(), by_hand=True).passes
    assert registry.version_by_alias(client, "challenger") == "3"
    assert decision_of(client, versions[0])[0].startswith("not promoted: CLIPScore is worse")


def test_no_version_says_promoted_before_it_is(client, monkeypatch):
    first, second, judge = register(client), register(client), Judge(v1=0, v2=1)
    consider(first, judge.standard())

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(history, "_record_event", stop)
        consider(second, judge.standard())
    assert champion_number() == "1"
    assert "" not in decision_of(client, second)[1]
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(history, "describe", stop)
        consider(second, judge.standard())
    assert champion_number() == "2"
    consider(second, judge.standard())  # a kill came before it was written down
    description, tags = decision_of(client, second)
    assert tags[""] == "promoted"
    assert description.startswith("promoted: better in CLIPScore: CLIPScore +1.00")


def test_manual_decisions_are_written_on_the_versions(client):
    first, second, judge = register(client), register(client), Judge(v1=0, v2=-1)
    consider(first, judge.standard())
    consider(second, judge.standard())
    history.promote("2", "by hand, whatever the gate says")
    assert decision_of(client, second)[0] == "promoted: by hand, whatever the gate says"
    history.roll_back("by hand")
    description, tags = decision_of(client, second)
    assert (description, tags[""]) == ("rolled back: by hand, to version 1", "rolled back")
    assert decision_of(client, first)[1][""] == "promoted"


def test_a_champion_made_meanwhile_is_the_one_to_beat(client):
    versions, judge = [register(client) for _ in range(3)], Judge(v1=0, v2=5, v3=1)
    consider(versions[0], judge.standard())

    def score(version):
        if version.version == "3" and champion_number() == "1":
            consider(versions[1], judge.standard())
        return judge.score(version)

    standard = judge.standard()
    decision = consider(versions[2], Standard(**{**vars(standard), "score": score}))
    assert (decision.passes, decision.champion, champion_number()) == (False, "2", "2")


def test_two_promotions_at_once_are_both_recorded(client):
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
            seen.add(champion_number())

    def promote(version):
        try:
            consider(version, judge.standard())
        except BaseException as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "_write_grounds", write_down)
        for module in (history, promotion, registry):  # connecting is not thread-safe
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
    assert champion_number() in ("2", "3")
    assert seen <= {"1", "2", "3"}
    last = champion_number()  # it followed the other one or took its place, depending on which was first
    assert history.roll_back("test").version in {"1", "2", "3"} - {last}
