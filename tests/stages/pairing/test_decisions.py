"""The file of reviewers' decisions: which one counts, what is damaged, and what a merge keeps."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.pairing.decisions import Decision, Mended, Verdict, append_decision, latest_decisions, read_decisions
from tests.support import ROOT

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
MENDED = Mended(
    edit_prompt="an ox", source_term="dog", target_term="ox", relation="co-hyponym", source_diff="dog", target_diff="ox"
)


def decision(verdict: str = "keep", pair: int = 0, second: int = 0, **changes) -> Decision:
    mended = {"mended": MENDED} if verdict == "mend" else {}
    facts = {"key": f"{pair}", "target_key": "t", "source": f"{pair:064x}", "target": "f" * 64, "prompt": "a cat"}
    time = {"time": FIRST + timedelta(seconds=second)}
    return Decision(**facts | time | {"decision": Verdict(verdict)} | mended | changes)


def write(path: Path, *decisions: Decision) -> None:
    for each in decisions:
        append_decision(path, each)


def test_decisions_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "review.jsonl"
    assert read_decisions(path) == []
    written = [decision("keep", 1), decision("mend", 2, 1), decision("drop", 3, 2, remark="a dog ü", reviewer="Ann")]
    write(path, *written)
    assert read_decisions(path) == written
    assert len(path.read_bytes().splitlines()) == 3


def test_the_latest_decision_counts_wherever_it_stands(tmp_path):
    path = tmp_path / "review.jsonl"
    write(path, decision("drop", 1, 9), decision("keep", 1, 3), decision("keep", 2, 1), decision("undecided", 2, 2))
    assert {pair.source: each.decision for pair, each in latest_decisions(path).items()} == {f"{1:064x}": Verdict.DROP}


@pytest.mark.parametrize("cut", range(1, 200, 23))
def test_a_line_that_was_cut_off_is_reported(tmp_path, cut):
    path = tmp_path / "review.jsonl"
    write(path, decision("keep", 1), decision("drop", 2))
    path.write_bytes(path.read_bytes()[: -1 - cut])
    with pytest.raises(InputError, match=r"review\.jsonl: line 2 is cut off or damaged, .*; mend or delete it") as caught:
        read_decisions(path)
    assert len(str(caught.value).splitlines()) == 1
    before = path.read_bytes()
    with pytest.raises(InputError, match="its last line was cut off"):
        append_decision(path, decision("keep", 3))
    assert path.read_bytes() == before


def test_a_last_line_without_its_break_counts(tmp_path):
    path = tmp_path / "review.jsonl"
    write(path, decision("keep", 1), decision("drop", 2))
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_decisions(path)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "delete"},
        {"decision": "mend"},
        {"mended": MENDED.model_dump()},
        {"source": "../etc"},
        {"time": "2026-01-01T00:00:00"},
        {"remark": "two\nlines"},
        {"reviewer": "\x1b[2J"},
        {"key": "\x1b[2J"},
        {"remark": "x" * 501},
        {"prompt": ""},
        {"stranger": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_line_that_is_no_decision_is_reported(tmp_path, change):
    path = tmp_path / "review.jsonl"
    write(path, decision())
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(InputError, match="line 1 is cut off or damaged"):
        read_decisions(path)


def test_markers_of_a_merge_are_reported(tmp_path):
    path = tmp_path / "review.jsonl"
    path.write_text("<<<<<<< HEAD\n")
    with pytest.raises(InputError, match="line 1 is cut off or damaged, the line"):
        read_decisions(path)


def test_git_merges_the_decisions_of_two_reviewers(tmp_path):
    def git(*words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    path = tmp_path / "conf" / "review.jsonl"
    (tmp_path / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    write(path, decision("keep", 1))
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "start")
    git("checkout", "-qb", "other")
    write(path, decision("drop", 1, 5), decision("keep", 2, 6))
    git("commit", "-qam", "other")
    git("checkout", "-q", "main")
    write(path, decision("keep", 1, 4), decision("drop", 3, 7))
    git("commit", "-qam", "mine")
    git("merge", "-q", "other", "-m", "both")
    latest = {pair.source[-1]: each.decision.value for pair, each in latest_decisions(path).items()}
    assert latest == {"1": "drop", "2": "keep", "3": "drop"}
    assert len(read_decisions(path)) == 5


def test_reviewers_at_once_lose_no_decision(tmp_path):
    """Three processes; each writes forty decisions."""
    path = tmp_path / "review.jsonl"
    write(path, decision())
    code = (
        "import sys; from pathlib import Path; from stages.pairing.decisions import append_decision, read_decisions;"
        "path = Path(sys.argv[1]); one = read_decisions(path)[0];"
        "[append_decision(path, one.model_copy(update={'remark': sys.argv[2]})) for _ in range(40)]"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen([sys.executable, "-c", code, path, name], env=environment) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = [each.remark for each in read_decisions(path)]
    assert sorted(found) == sorted([""] + 40 * ["a"] + 40 * ["b"] + 40 * ["c"])
