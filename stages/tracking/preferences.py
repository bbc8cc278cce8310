"""What people prefer: answers about the edits of two versions, kept with both and logged beside their metrics."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient
from scipy.stats import binomtest

from stages.tracking.registry import NAME, Registered
from stages.tracking.runs import log_results
from stages.tracking.store import connect

QUESTIONS = {"follows": "Which one follows the prompt?", "keeps": "Which one keeps the rest?"}
"""What is asked about each case, by the name of the answers."""

PREFERENCE = "iedit.preferred_to."  # prefix of a version's tags; the other version's number follows


@dataclass(frozen=True, kw_only=True)
class Preference:
    """What people say to one question about two versions; a case counts once, however many saw it."""

    preferred: int  # cases for the first version
    decided: int  # cases for one of the two
    cases: int  # with those that show no difference

    @property
    def share(self) -> float:
        """The share of the decided cases that are for the first version; NaN without any."""
        return self.preferred / self.decided if self.decided else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval (Clopper and Pearson 1934); from 0 to 1 without a decided case."""
        if not self.decided:
            return 0.0, 1.0
        found = binomtest(self.preferred, self.decided).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def reversed(self) -> "Preference":
        """Return the same as seen from the second version."""
        return Preference(preferred=self.decided - self.preferred, decided=self.decided, cases=self.cases)

    def __str__(self) -> str:
        """Return share, interval and numbers as words."""
        if not self.decided:
            return f"no preference; cases seen: {self.cases}"
        low, high = self.interval
        return f"{self.share:.0%} [{low:.0%}, {high:.0%}] of {self.decided} with a preference; cases seen: {self.cases}"


Preferences = Mapping[str, Preference]  # question → what people say to it


def log_preferences(first: Registered, second: Registered, found: Preferences, answers: Path, evaluation_set: str) -> None:
    """Keep answers about two versions with both, and log them to the runs that trained them.

    Args:
        first: the version that is asked about.
        second: the version it was compared with.
        found: what people prefer, by question.
        answers: the file of all answers, kept as an artifact.
        evaluation_set: a digest of the cases and everything else that decides an edit; answers to another one do not count.
    """
    client = connect()
    turned = {question: each.reversed() for question, each in found.items()}
    for version, other, results in ((first, second, found), (second, first, turned)):
        content = json.dumps({"set": evaluation_set, "preferences": {name: asdict(each) for name, each in results.items()}})
        client.set_model_version_tag(NAME, version.version, f"{PREFERENCE}{other.version}", content)
        if version.run_id is not None:
            metrics = {f"preferred_to_{other.version}/{name}": value for name, value in _metrics(results).items()}
            log_results(version.run_id, metrics, [answers])


def read_preferences(client: MlflowClient, version: str, other: str, evaluation_set: str) -> Preferences | None:
    """Return what people said about a version beside another one, or None if nobody compared them on an evaluation set."""
    content = json.loads(client.get_model_version(NAME, version).tags.get(f"{PREFERENCE}{other}", "{}"))
    if content.get("set") != evaluation_set:
        return None
    return {question: Preference(**each) for question, each in content["preferences"].items()}


def _metrics(found: Preferences) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for question, each in found.items():
        low, high = each.interval
        metrics |= {f"{question}/n": each.cases, f"{question}/decided": each.decided}
        metrics |= {f"{question}/low": low, f"{question}/high": high}
        metrics |= {f"{question}/share": each.share} if each.decided else {}
    return metrics
