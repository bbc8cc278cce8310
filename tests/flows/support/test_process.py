import os
import sys
from contextlib import suppress

import psutil
import pytest

from flows.support import process
from flows.support.process import CommandError, calm_lines, run_command

INTERRUPTED = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid)
child.wait()
"""


class TestLines:
    def lines(self, *chunks: bytes, seconds: float = 0.0) -> list[str]:
        out, into = os.pipe()
        times = iter(float(number) * seconds for number in range(1000))
        with os.fdopen(out, "rb") as stream:
            os.write(into, b"".join(chunks))
            os.close(into)
            return list(calm_lines(stream, lambda: next(times)))

    def test_only_the_end_of_a_bar_is_passed_on(self):
        assert self.lines(b"a\n\n\rbar 1\rbar 2\rbar 3\nlast") == ["a", "bar 3", "last"]

    def test_a_slow_bar_shows_a_line_now_and_then(self):
        shown = self.lines(*(b"\rbar %d" % number for number in range(40)), b"\nend\n", seconds=process.PROGRESS_SECONDS / 10)
        assert shown[-2:] == ["bar 39", "end"]
        assert 3 <= len(shown) <= 7

    def test_windows_line_ends_and_foreign_bytes(self):
        assert self.lines(b"one\r\ntwo\xff\r\n") == ["one", "two�"]


class TestCommand:
    def test_a_failure_shows_its_last_lines(self):
        lines: list[str] = []
        with pytest.raises(CommandError, match=r"exit code 3; its last lines:\nl1\nl2"):
            run_command(["sh", "-c", "echo l1; echo l2 >&2; exit 3"], lines.append)
        assert lines == ["l1", "l2"]

    def test_it_has_its_own_variables_and_holds_the_given_locks(self, tmp_path):
        lines = []
        with (tmp_path / "lock").open("w") as lock:
            script = f"import os; print(os.environ['COLOUR']); os.write({lock.fileno()}, b'held')"
            run_command([sys.executable, "-c", script], lines.append, environment={"COLOUR": "red"}, held=[lock.fileno()])
        assert lines == ["red"]
        assert (tmp_path / "lock").read_text() == "held"

    def test_an_interrupt_ends_it_and_its_children(self, handles_interrupts):
        def interrupt(line: str) -> None:
            pids.append(int(line))
            raise KeyboardInterrupt

        pids: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            run_command([sys.executable, "-c", INTERRUPTED], interrupt)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pids[0]).wait(10)  # it got the signal too, and is left for others to reap
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)

    def test_it_is_killed_if_it_ignores_an_interrupt(self, monkeypatch):
        def interrupt(line: str) -> None:
            pids.append(int(line))
            raise KeyboardInterrupt

        monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
        pids: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            run_command(["sh", "-c", "trap '' INT; echo $$; while true; do sleep 0.1; done"], interrupt)
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)
