"""From a registered version to the champion: scored on the current cases, compared with the champion, decided."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from mlflow.tracking import MlflowClient

from stages.core.params_evaluation import Gate
from stages.metrics.intervals import MIN_CASES
from stages.tracking import history
from stages.tracking.evaluations import Scores, load_scores, save_scores
from stages.tracking.gate import Decision, decide
from stages.tracking.preferences import read_preferences
from stages.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    NAME,
    ForeignVersionError,
    Registered,
    find_version,
    set_alias,
    version_by_alias,
)
from stages.tracking.store import connect


@dataclass(frozen=True, kw_only=True)
class Standard:
    """The standard by which versions are compared: an evaluation set, and how a version is scored on it."""

    evaluation_set: str  # a digest of the cases and everything else that decides a score, apart from the version
    cases: list[str]  # the keys of the cases
    score: Callable[[Registered], Scores]
    gate: Gate
    resamples: int
    seed: int


def consider(version: Registered, standard: Standard, *, by_hand: bool = False) -> Decision:
    """Let a version challenge the champion: make it champion if it passes the gate, and record the reason either way.

    Scores on another evaluation set do not count: a version without scores on this one is scored first. If another
    version becomes champion meanwhile, the challenge is repeated against that one. Nothing passes against a champion that this
    project did not register, because it has no scores.

    Args:
        version: the challenger.
        standard: how the two are compared.
        by_hand: whether a person asks for it; otherwise a version that a rollback took down is refused.
    """
    client = connect(create=False)
    while True:
        champion = version_by_alias(client, CHAMPION)
        if champion == version.version:
            history.describe_champion(client)
            return Decision(passes=True, why="it was already")
        if _is_newest(client, version, champion):
            set_alias(client, CHALLENGER, version.version)
        decision = _decide(client, version, champion, standard, by_hand=by_hand)
        if version_by_alias(client, CHAMPION) == champion:
            break
    _write_grounds(client, version, decision, standard)
    if decision.passes:
        history.promote(version.version, decision.why)
    else:
        history.describe(client, version.version, "not promoted", decision.why)
    return decision


def ways_out(version: str) -> str:
    """Return what a person can do about a champion that no version is compared with.

    Args:
        version: the version that may be promoted in its place.
    """
    return (
        "it has no scores to compare with, so nothing replaces it: "
        f"iedit promote {version} --force does, iedit rollback returns to the champion before it"
    )


def _is_newest(client: MlflowClient, version: Registered, champion: str | None) -> bool:
    """Return whether a version is newer than champion and challenger, so that an old one never becomes challenger."""
    others = (champion, version_by_alias(client, CHALLENGER))
    return all(int(version.version) >= int(other) for other in others if other is not None)


def _decide(client: MlflowClient, version: Registered, champion: str | None, standard: Standard, *, by_hand: bool) -> Decision:
    # Without a champion, users of the alias have nothing at all, so the first version is always an improvement.
    if champion is None:
        cases = len(standard.cases)
        few = f", and n = {cases} is too few cases to judge it" if cases < MIN_CASES else ""
        return Decision(passes=True, why=f"the first version: there is no champion to compare it with{few}")
    rollback = history.find_rollback(client, version.version)
    if rollback is not None and not by_hand:
        why = f"a rollback took it down on {rollback.when:%Y-%m-%d}: only iedit promote {version.version} brings it back"
        return Decision(passes=False, why=why, champion=champion)
    try:
        compared = (version, find_version(champion))
    except ForeignVersionError as error:
        return Decision(passes=False, why=f"the champion {error}; {ways_out(version.version)}", champion=champion)
    challenger, present = (_scores(client, each, standard) for each in compared)
    is_asked = standard.gate.min_preference is not None
    return decide(
        challenger,
        present,
        standard.gate,
        version=champion,
        resamples=standard.resamples,
        seed=standard.seed,
        preferences=read_preferences(client, version.version, champion, standard.evaluation_set) if is_asked else None,
    )


def _scores(client: MlflowClient, version: Registered, standard: Standard) -> Scores:
    scores = load_scores(client, version.model_id, standard.evaluation_set, standard.cases)
    if scores is None:
        print(f"models:/{NAME}/{version.version} has no scores on the current cases and is evaluated on them now")
        scores = standard.score(version)
        save_scores(client, version.model_id, standard.evaluation_set, standard.cases, scores)
    return scores


def _write_grounds(client: MlflowClient, version: Registered, decision: Decision, standard: Standard) -> None:
    """Write the numbers behind a decision on the version, as tags; :mod:`history` writes the decision itself."""
    history.forget_grounds(client, version.version)
    tags = {"set": standard.evaluation_set, "against": decision.champion or "none"}
    tags |= {name: json.dumps(asdict(each)) for name, each in decision.differences.items()}
    for name, text in tags.items():
        client.set_model_version_tag(NAME, version.version, f"{history.GROUNDS}{name}", text)
