"""What people prefer: the interval, what is kept with both versions, and what the gate makes of it."""

import pytest
from scipy.stats import binomtest

from stages.core.params_evaluation import Gate
from stages.tracking import store
from stages.tracking.gate import decide
from stages.tracking.preferences import Preference, log_preferences, read_preferences
from stages.tracking.promotion import consider
from stages.tracking.registry import find_version
from tests.support.versions import Judge, register, scores


@pytest.mark.parametrize(
    ("preferred", "decided", "interval"),
    [
        (7, 10, (0.3475, 0.9333)),  # Clopper and Pearson's, as tables of binomial limits give it
        (0, 10, (0.0, 0.3085)),
        (10, 10, (0.6915, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_interval_is_the_exact_one(preferred, decided, interval):
    found = Preference(preferred=preferred, decided=decided, cases=decided + 3)
    assert found.interval == pytest.approx(interval, abs=1e-4)
    assert found.reversed().interval == pytest.approx((1 - interval[1], 1 - interval[0]), abs=1e-4)
    if 0 < preferred < decided:  # at either limit, so many or more (or fewer) answers have a probability of 2.5 %
        for limit, side in zip(found.interval, ("greater", "less"), strict=True):
            assert binomtest(preferred, decided, limit, alternative=side).pvalue == pytest.approx(0.025, abs=1e-6)


def answers(follows: int, keeps: int, of: int = 100) -> dict[str, Preference]:
    return {name: Preference(preferred=n, decided=of, cases=of + 9) for name, n in (("follows", follows), ("keeps", keeps))}


@pytest.mark.parametrize(
    ("found", "passes", "reason"),
    [
        (answers(70, 61), True, "better in CLIPScore"),
        (
            answers(55, 70),
            False,
            "people's answers are not enough for 50%: Which one follows the prompt? 55% [45%, 65%] of 100",
        ),
        (answers(70, 30), False, "people's answers are not enough for 50%: Which one keeps the rest? 30% ["),
        (None, False, "people have to compare the two first (iedit review --compare)"),
    ],
)
def test_the_gate_asks_people_where_it_is_told_to(found, passes, reason):
    asked = Gate(ssim_m_bar_tolerance=1.0, min_preference=0.5)
    facts = {"version": "7", "resamples": 50, "seed": 0, "preferences": found}
    decision = decide(scores(clip=1), scores(), asked, **facts)
    assert decision.passes is passes
    assert decision.why.startswith(reason)
    unasked = Gate(ssim_m_bar_tolerance=1.0, min_preference=None)
    assert decide(scores(clip=1), scores(), unasked, **facts).passes
    assert not decide(scores(clip=-1), scores(), asked, **facts).passes


@pytest.fixture
def versions(client, folder):
    """Two versions, the second of which has a run."""
    register(client)
    model = client.create_logged_model(store.experiment_id(client), name="iedit")
    run_id = client.create_run(store.experiment_id(client)).info.run_id
    tags = {"iedit.digest": model.model_id}
    client.create_model_version("iedit", f"models:/{model.model_id}", run_id=run_id, model_id=model.model_id, tags=tags)
    (folder / "answers.jsonl").write_text("{}\n")
    return find_version("1"), find_version("2")


def test_answers_are_kept_with_both_versions_and_the_run(client, folder, versions):
    first, second = versions
    assert read_preferences(client, "2", "1", "set") is None
    found = answers(70, 40)
    log_preferences(first, second, found, folder / "answers.jsonl", "set")
    assert read_preferences(client, "1", "2", "set") == found
    assert read_preferences(client, "2", "1", "set") == answers(30, 60)
    metrics = client.get_run(second.run_id).data.metrics
    assert metrics["evaluate/preferred_to_1/follows/share"] == pytest.approx(0.3)
    assert metrics["evaluate/preferred_to_1/keeps/low"] == pytest.approx(binomtest(60, 100).proportion_ci().low)
    assert metrics["evaluate/preferred_to_1/keeps/n"] == 109
    assert [item.path for item in client.list_artifacts(second.run_id, "evaluate")] == ["evaluate/answers.jsonl"]


def test_a_challenger_waits_for_people(client, folder, versions):
    first, second = versions
    judge = Judge(v1=0, v2=1)
    standard = judge.standard()
    asked = Gate(ssim_m_bar_tolerance=1.0, min_preference=0.5)
    standard = type(standard)(**vars(standard) | {"gate": asked})
    assert consider(first, standard).passes
    assert consider(second, standard).why.startswith("people have to compare the two first")
    log_preferences(second, first, answers(70, 70), folder / "answers.jsonl", "of other cases")
    assert consider(second, standard, by_hand=True).why.startswith("people have to compare the two first")
    log_preferences(second, first, answers(70, 70), folder / "answers.jsonl", standard.evaluation_set)
    assert consider(second, standard, by_hand=True).passes
