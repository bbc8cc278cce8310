"""What earlier shards hold is not made again, whatever shard it stands in, and whenever an earlier run was killed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core import earlier
from stages.core.earlier import PLACES, Hashes, hashes_of_texts, write_table
from stages.core.files import TEMPORARY_SUFFIX
from stages.core.shards import ShardFiles, ShardResult, ShardTask, StageCounts
from tests.support.memory import least_peak
from tests.support.shards import map_in_process

BEFORE = {"a": "one two three", "b": "four five", "c": "six seven"}
CHANGES = {
    "renamed": {"x": "one two three", "y": "four five", "z": "six seven"},
    "names exchanged": {"a": "six seven", "b": "one two three", "c": "four five"},
    "merged": {"a": "one two three four five six seven"},
    "split": {"a": "one", "b": "two three", "c": "four", "d": "five six", "e": "seven"},
    "moved by one": {"a": "new one two", "b": "three four", "c": "five six", "d": "seven"},
    "removed": {"b": "four", "c": "six seven"},
    "appended": BEFORE | {"d": "one six new"},
}


class Stage:
    """Upper-cases the words of texts, and knows which of them it worked on."""

    def __init__(self, folder: Path) -> None:
        self.inputs, self.outputs = folder / "in", folder / "out"
        self.inputs.mkdir(parents=True)
        self.made: list[str] = []
        self.fail_at: str | None = None

    def run(self, texts: Mapping[str, str], settings: dict[str, int] | None = None) -> StageCounts:
        self.made.clear()
        for name, text in texts.items():
            (self.inputs / name).write_text(text)
        tasks = [ShardTask(name=name, inputs=(self.inputs / name,), samples=1) for name in texts]
        return map_in_process(self._work, tasks, self.outputs, ".out", settings, _contents)

    def _work(self, task: ShardTask, files: ShardFiles, _) -> ShardResult:
        words, known = task.inputs[0].read_text().split(), {}
        for (path,) in files.earlier.holding(hashes_of_texts(words)):
            known |= dict(line.split() for line in path.read_text().splitlines())
        new = [word for word in words if word not in known]
        self.made += new
        if task.name == self.fail_at:
            raise KeyboardInterrupt
        files.output.write_text("".join(f"{word} {known.get(word, word.upper())}\n" for word in words))
        return ShardResult(done=len(words), reused=len(words) - len(new))

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.outputs.rglob("*")}  # a leftover folder would raise


def _contents(outputs: tuple[Path, ...]) -> Hashes:
    return hashes_of_texts(line.split()[0] for line in outputs[0].read_text().splitlines())


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def from_nothing(folder: Path, texts: Mapping[str, str]) -> dict[str, bytes]:
    alone = Stage(folder / "alone")
    alone.run(texts)
    return alone.files()


@pytest.mark.parametrize("change", CHANGES)
def test_only_new_contents_are_made(stage, tmp_path, change):
    stage.run(BEFORE)
    counts = stage.run(CHANGES[change])
    words = " ".join(CHANGES[change].values()).split()
    assert set(stage.made) == {word for word in words if word == "new"}
    assert (counts.done, counts.reused) == (len(stage.made), len(words) - len(stage.made))
    assert stage.files().keys() == {f"{name}{ending}" for name in CHANGES[change] for ending in (".out", ".done.json")}
    for name, content in from_nothing(tmp_path, CHANGES[change]).items():
        if name.endswith(".out"):
            assert stage.files()[name] == content


@pytest.mark.parametrize("fail_at", ["a", "b", "c", "d"])
def test_an_interrupted_run_loses_nothing_that_was_made(stage, fail_at):
    stage.run(BEFORE)
    stage.fail_at = fail_at
    with pytest.raises(KeyboardInterrupt):
        stage.run(CHANGES["moved by one"])
    was_made = "new" in stage.made and fail_at != "a"
    stage.fail_at = None
    stage.run(CHANGES["split"] | {"f": "new"})
    assert stage.made == ([] if was_made else ["new"])
    assert not (stage.outputs / earlier.FOLDER).exists()


@pytest.mark.parametrize("moves", range(6))
def test_a_run_killed_while_it_sets_shards_aside_loses_nothing(stage, monkeypatch, moves):
    stage.run(BEFORE)
    with monkeypatch.context() as patch:
        left, replace = iter(range(moves)), Path.replace

        def replace_or_die(path: Path, to: Path) -> Path:
            if earlier.FOLDER in to.parts and next(left, None) is None:
                raise KeyboardInterrupt
            return replace(path, to)

        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(KeyboardInterrupt):
            stage.run(CHANGES["renamed"])
    stage.run(CHANGES["moved by one"])
    assert stage.made == ["new"]


def test_what_a_killed_run_had_yet_to_remove_is_removed(stage):
    stage.run(BEFORE)
    before = stage.files()
    left = stage.outputs / f"{earlier.FOLDER}{TEMPORARY_SUFFIX}"
    left.mkdir()
    (left / f"a{earlier.MARK}0123.out").write_text("one WRONG\n")
    stage.run(BEFORE)
    assert stage.files() == before


def test_contents_made_with_other_settings_are_not_read(stage):
    stage.run(BEFORE, {"model": 1})
    stage.run(CHANGES["renamed"], {"model": 2})
    assert len(stage.made) == 7
    stage.fail_at = "b"
    with pytest.raises(KeyboardInterrupt):
        stage.run(CHANGES["moved by one"], {"model": 2})
    stage.fail_at = None
    stage.run(BEFORE, {"model": 1})
    assert len(stage.made) == 7


def test_a_shard_that_lies_aside_damaged_is_not_read(stage):
    stage.run(BEFORE)
    stage.fail_at = "x"
    with pytest.raises(KeyboardInterrupt):
        stage.run(CHANGES["renamed"])
    next((stage.outputs / earlier.FOLDER).glob("b*.out")).write_text("four WRONG\n")
    stage.fail_at = None
    stage.run(CHANGES["renamed"])
    assert stage.made == ["four", "five"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sets(st.integers(0, 30)), max_size=30), st.lists(st.integers(0, 40)))
def test_the_shards_found_hold_all_that_is_known(tmp_path_factory, shards, wanted):
    folder = tmp_path_factory.mktemp("table")
    held = {(Path(str(number)),): contents for number, contents in enumerate(shards)}
    table = write_table(folder / "table", list(held), lambda outputs: spread(held[outputs]))
    found = list(table.holding(spread(wanted)))
    assert set(wanted) & set().union(*shards) <= set().union(*(held[outputs] for outputs in found))
    assert len(set(found)) == len(found) <= len(set(wanted))
    assert all(held[outputs].intersection(wanted) for outputs in found)


def spread(contents) -> Hashes:
    """Hashes over all of 64 bits, some of them in one bucket."""
    return np.array(list(contents), np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def test_the_shard_that_holds_most_is_read_alone(tmp_path):
    held = {(Path(str(number)),): {number, 50} for number in range(4 * PLACES)} | {(Path("all"),): set(range(8))}
    table = write_table(tmp_path / "table", list(held), lambda outputs: spread(held[outputs]))
    assert list(table.holding(spread(range(8)))) == [(Path("all"),)]


def test_memory_of_the_table_does_not_grow_with_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(earlier, "MOST", 64)

    def write(shards: int) -> None:
        write_table(
            tmp_path / "table",
            [(Path(str(number)),) for number in range(shards)],
            lambda outputs: np.random.default_rng(int(outputs[0].name)).integers(2**64, size=20_000, dtype=np.uint64),
        )

    few, many = (least_peak(lambda shards=shards: write(shards)) for shards in (4, 24))
    assert many - few < 2_000_000  # bytes for 20 shards more, whose hashes with their numbers take 6.4 MB
