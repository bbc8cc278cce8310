"""Worker processes: the bytes and counts of one process, whoever works, and whichever of them dies."""

import signal
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.making import WorkerError
from stages.core.shards import SERIAL, list_shards
from tests.support.drivers import end_driver_by
from tests.support.workers import PROCESSES, outputs, upper_case

TEXTS = ["a", "b", "c", "b", "e"]
pytestmark = pytest.mark.usefixtures("workplace")


def loaded() -> int:
    return len(list(Path().glob("loaded-*")))


def test_bytes_and_counts_are_those_of_one_process():
    alone = upper_case(TEXTS, SERIAL, folder=Path("alone"))
    together = upper_case(TEXTS)
    assert outputs() == outputs(Path("alone"))
    assert together == alone
    assert loaded() == 3  # this process and two more
    again = upper_case(TEXTS)
    assert (again.done, again.reused, again.shards_reused) == (0, 5, 5)
    assert loaded() == 3


def test_the_first_shard_may_end_last():
    texts = ["wait", "a", "b", "a", "go"]
    together = upper_case(texts)
    assert together == upper_case(texts, SERIAL, folder=Path("alone"))
    assert outputs() == outputs(Path("alone"))
    times = {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.out")}
    assert max(times, key=times.get) == "0.out"


def test_no_more_processes_start_than_there_are_shards():
    upper_case(TEXTS)
    before = loaded()
    upper_case([*TEXTS[:4], "new"], PROCESSES.model_copy(update={"workers": 8}))
    assert loaded() == before + 1


def test_shard_of_a_dead_process_is_made_by_another(capsys):
    upper_case(["a", "die once", "c", "d"])
    assert "out/1.out: the worker that was making it died\n" in capsys.readouterr().err
    assert outputs()["1.out"] == b"DIE ONCE"
    assert len(list_shards(Path("out"), ".out")) == 4


def test_shard_that_always_kills_is_named_and_no_other():
    with pytest.raises(
        InputError, match=r"^out/1\.out: 3 workers died while making it, the last one killed by SIGKILL, perhaps"
    ):
        upper_case(["a", "die", "c", "d"])
    assert {name.partition(".")[0] for name in outputs()} >= {"0"}
    assert "1.out" not in outputs()


def test_bad_input_is_the_same_line_and_not_tried_again():
    with pytest.raises(InputError, match=r"^in/1: refused$"):
        upper_case(["a", "refuse"])
    assert set(outputs()) <= {"0.out", "0.len", "0.done.json"}


def test_defect_shows_its_traceback_and_shard():
    with pytest.raises(WorkerError, match=r"(?s)^shard 1:\nTraceback.*RuntimeError: a defect"):
        upper_case(["a", "break"])


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_is_left_when_the_driver_ends(by, handles_interrupts):
    end_driver_by(by, "PROCESSES")
