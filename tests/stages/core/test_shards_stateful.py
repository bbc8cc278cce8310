"""map_shards under any sequence of changes, damage, kills and runs ends with the bytes of a run from nothing."""

import os
import signal
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, StageCounts, shard_notes
from tests.support.shards import map_in_process
from tests.support.strategies import quick
from tests.support.strikes import Strike, strike


class Shards(RuleBasedStateMachine):
    """Change inputs and settings, damage and remove shards, kill runs; compare with a run from nothing."""

    names = st.sampled_from(["0", "1", "2", "3"])
    texts = st.sampled_from(["a", "b", "c", None])  # None removes the shard

    def __init__(self) -> None:
        super().__init__()
        self.temporary = TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.texts_now, self.setting = {"0": "a", "1": "b"}, 0
        self.kept: dict[str, tuple[object, int]] = {}  # complete shards of the last run: their origin and inode

    def teardown(self) -> None:
        self.temporary.cleanup()

    @initialize()
    def start(self) -> None:
        self.run_to_the_end()

    @rule(name=names, text=texts, setting=st.none() | st.integers(0, 1))
    def change(self, name: str, text: str | None, setting: int | None) -> None:
        if text is None:
            self.texts_now.pop(name, None)
        else:
            self.texts_now[name] = text
        self.setting = self.setting if setting is None else setting

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def damage(self, data) -> None:
        path = data.draw(st.sampled_from(self.files()))
        if data.draw(st.booleans()):
            path.unlink()
        else:
            other = data.draw(st.sampled_from(self.files()))
            path.write_bytes(data.draw(st.sampled_from([b"", path.read_bytes()[:-2], other.read_bytes()])))
        self.kept.pop(path.name.partition(".")[0], None)

    @rule(change=st.integers(1, 25), fails=st.booleans())
    def start_and_strike(self, change: int, fails: bool) -> None:
        self.kept = self.untouched()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with chdir(self.folder):
                    strike(Strike(change=change))
                    self.run(self.folder / "out", fail_at="1" if fails else "")
                code = 0
            except KeyboardInterrupt:
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
        assert {name: self.inode(name) for name in self.kept} == {name: inode for name, (_, inode) in self.kept.items()}

    @rule()
    def run_to_the_end(self) -> None:
        untouched = self.untouched()
        counts = self.run(self.folder / "out")
        with TemporaryDirectory() as empty:
            from_nothing = self.run(Path(empty))
            wanted = {path.name: path.read_bytes() for path in Path(empty).iterdir()}
            notes = list(shard_notes(Path(empty)))
        assert {path.name: path.read_bytes() for path in (self.folder / "out").iterdir()} == wanted
        assert (counts.dropped, list(shard_notes(self.folder / "out"))) == (from_nothing.dropped, notes)
        assert counts.done + counts.reused == from_nothing.done
        assert {name: self.inode(name) for name in untouched} == {name: inode for name, (_, inode) in untouched.items()}
        self.kept = {name: (self.origin(name), self.inode(name)) for name in self.texts_now}
        assert self.run(self.folder / "out").shards_done == 0

    def run(self, folder: Path, fail_at: str = "") -> StageCounts:
        inputs = self.folder / "in"
        inputs.mkdir(exist_ok=True)
        for name, text in self.texts_now.items():
            (inputs / name).write_text(text)

        def work(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
            output = files.output
            output.write_text("half of it")
            if task.name == fail_at:
                raise KeyboardInterrupt
            advance(1)
            text = task.inputs[0].read_text()
            output.write_text(f"{text} {self.setting}")
            result = ShardResult(done=1, notes=[{"text": text}])
            result.dropped[text] += 1
            return result

        tasks = [ShardTask(name=name, inputs=(inputs / name,), samples=2) for name in sorted(self.texts_now)]
        with chdir(self.folder):  # whose logs/ no test in another process clears up
            return map_in_process(work, tasks, folder, ".out", {"setting": self.setting})

    def files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "out").glob("*") if path.is_file())

    def origin(self, name: str) -> object:
        return self.texts_now.get(name), self.setting

    def inode(self, name: str) -> int:
        return (self.folder / "out" / f"{name}.out").stat().st_ino

    def untouched(self) -> dict[str, tuple[object, int]]:
        """The shards that a run must reuse, because neither they nor their inputs have changed."""
        return {name: kept for name, kept in self.kept.items() if name in self.texts_now and kept[0] == self.origin(name)}


class TestShards(Shards.TestCase):
    settings = settings(quick, max_examples=5, stateful_step_count=20, phases=[Phase.generate])  # shrinking takes minutes


@pytest.mark.exhaustive
class TestManyShards(Shards.TestCase):
    settings = settings(quick, max_examples=15, stateful_step_count=20, phases=[Phase.generate])
