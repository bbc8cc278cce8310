"""Shards are made once, remade when something behind them changes, and never read half-written."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from stages.core.counts import read_figures
from stages.core.errors import InputError
from stages.core.files import TEMPORARY_SUFFIX, read_json, write_json
from stages.core.shards import (
    Advance,
    ShardFiles,
    ShardResult,
    ShardTask,
    StageCounts,
    count_samples,
    list_shards,
    pass_on_counts,
    read_counts,
    shard_notes,
)
from tests.support.memory import least_peak
from tests.support.shards import map_in_process


class Stage:
    """Upper-cases four text files, and records the shards it works on."""

    def __init__(self, folder: Path) -> None:
        self.inputs, self.outputs = folder / "in", folder / "out"
        self.inputs.mkdir()
        self.worked = list[str]()
        self.fail_at = ""
        for number in range(4):
            (self.inputs / f"{number}.txt").write_text(f"text {number}")

    def run(self, settings: dict[str, int] | None = None, shards: int = 4) -> StageCounts:
        self.worked.clear()
        tasks = [ShardTask(name=str(n), inputs=(self.inputs / f"{n}.txt",), samples=2) for n in range(shards)]
        return map_in_process(self._work, tasks, self.outputs, ".out", settings)

    def _work(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        output = files.output
        self.worked.append(task.name)
        output.write_text("half of it")
        if task.name == self.fail_at:
            raise KeyboardInterrupt
        advance(1)
        output.write_text(task.inputs[0].read_text().upper())
        result = ShardResult(done=1, notes=[{"shard": task.name}])
        result.dropped["odd"] += 1
        return result

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.outputs.rglob("*")}  # a leftover folder would raise


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_second_run_does_nothing_and_counts_the_same(stage):
    first = stage.run()
    before = stage.files()
    second = stage.run()
    assert stage.worked == []
    assert stage.files() == before
    assert (first.done, first.reused, second.done, second.reused) == (4, 0, 0, 4)
    assert first.dropped == second.dropped == {"odd": 4}
    assert list(shard_notes(stage.outputs)) == [{"shard": str(number)} for number in range(4)]
    assert [count_samples(path, ".out") for path in list_shards(stage.outputs, ".out")] == [1] * 4


def test_interrupted_run_resumes_and_ends_with_the_same_bytes(stage):
    stage.run()
    whole = stage.files()
    for path in stage.outputs.iterdir():
        path.unlink()
    stage.fail_at = "2"
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert [path.name for path in list_shards(stage.outputs, ".out")] == ["0.out", "1.out"]
    assert not any(b"half" in content for content in stage.files().values())
    stage.fail_at = ""
    stage.run()
    assert stage.worked == ["2", "3"]
    assert stage.files() == whole


def test_leftovers_of_a_kill_are_never_read(stage):
    stage.run()
    whole = stage.files()
    (stage.outputs / "1.done.json").unlink()  # killed after the rename, before the sidecar
    (stage.outputs / "1.out").write_text("half of it")
    for name in ("3.out", "3.done.json", "9.out"):
        (stage.outputs / f"{name}{TEMPORARY_SUFFIX}").mkdir()
        (stage.outputs / f"{name}{TEMPORARY_SUFFIX}" / name).write_text("half of it")
    assert [path.name for path in list_shards(stage.outputs, ".out")] == ["0.out", "2.out", "3.out"]
    stage.run()
    assert stage.worked == ["1"]
    assert stage.files() == whole


def test_changed_input_redoes_its_shard_alone(stage):
    stage.run()
    (stage.inputs / "1.txt").write_text("new")
    stage.run()
    assert stage.worked == ["1"]
    assert stage.files()["1.out"] == b"NEW"


def test_changed_settings_redo_everything(stage):
    stage.run()
    stage.run(settings={"size": 2})
    assert stage.worked == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("2.out", b"TEXT X"), *(("2.done.json", content) for content in (b"", b"{", b"{}", b"[]", b"\xff", b'"\xed\xa0\x80"'))],
)
def test_damaged_output_or_sidecar_is_redone(stage, name, content):
    stage.run()
    whole = stage.files()
    (stage.outputs / name).write_bytes(content)
    stage.run()
    assert stage.worked == ["2"]
    assert stage.files() == whole


@pytest.mark.parametrize(
    "change",
    [
        {"done": "1"},
        {"done": -1},
        {"done": None},
        {"done": True},
        {"dropped": ["odd"]},
        {"dropped": {"odd": "1"}},
        {"notes": None},
        {"notes": ["odd"]},
        {"digests": "abc"},
        {"digests": [1]},
        {"settings": 1},
        {"more": 1},
    ],
)
def test_sidecar_with_a_wrong_value_is_damaged(stage, change):
    stage.run()
    whole = stage.files()
    sidecar = stage.outputs / "2.done.json"
    write_json(sidecar, read_json(sidecar) | change)
    with pytest.raises(InputError, match=r"2\.done\.json: damaged"):
        count_samples(stage.outputs / "2.out", ".out")
    stage.run()
    assert stage.worked == ["2"]
    assert stage.files() == whole


def test_missing_input_is_named_and_whole_shards_stay(stage):
    stage.run()
    whole = stage.files()
    (stage.inputs / "2.txt").unlink()
    with pytest.raises(InputError, match=r"in/2\.txt: cannot be read: No such file or directory$"):
        stage.run()
    assert stage.files() == whole


def test_shard_without_a_sidecar_says_what_to_do(stage):
    stage.run()
    (stage.outputs / "2.done.json").unlink()
    with pytest.raises(InputError, match=r"2\.done\.json: no such file; run the stage that writes it$"):
        count_samples(stage.outputs / "2.out", ".out")


def test_unknown_shards_are_removed_and_other_files_stay(stage):
    stage.run()
    (stage.outputs / "refused.csv").write_text("kept")
    stage.run(shards=2)
    assert stage.worked == []
    assert set(stage.files()) == {"0.out", "0.done.json", "1.out", "1.done.json", "refused.csv"}


def test_folder_without_shards_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no \.tar shards"):
        list_shards(tmp_path, ".tar")


def counts_of(stage: str, **dropped: int) -> StageCounts:
    return StageCounts(stage=stage, done=7, dropped=Counter(dropped))


class TestCounts:
    def test_they_travel_downstream_in_the_pipelines_order(self, tmp_path):
        first, second, third = folders = [tmp_path / name for name in ("a", "b", "c")]
        for folder in folders:
            folder.mkdir()
        pass_on_counts(counts_of("mutate", small=2, dark=1), first)
        pass_on_counts(counts_of("caption"), second, first)
        pass_on_counts(counts_of("ingest", odd=3), third, second)
        assert list(read_counts(third).items()) == [
            ("mutate", {"dark": 1, "small": 2}),
            ("caption", {}),
            ("ingest", {"odd": 3}),
        ]
        assert list(read_counts(first)["mutate"]) == ["dark", "small"]

    def test_measured_figures_travel_downstream(self, tmp_path):
        first, second = tmp_path / "a", tmp_path / "b"
        first.mkdir()
        second.mkdir()
        pass_on_counts(StageCounts(stage="retrieve", figures={"recall at 1": 0.5}), first)
        pass_on_counts(counts_of("segment"), second, first)
        assert read_figures(second) == {"retrieve": {"recall at 1": 0.5}}
        pass_on_counts(counts_of("retrieve"), first)
        pass_on_counts(counts_of("segment"), second, first)
        assert read_figures(second) == {}

    def test_same_counts_are_same_bytes_whatever_was_reused(self, tmp_path):
        pass_on_counts(counts_of("caption", b=1, a=2), tmp_path)
        before = (tmp_path / "counts.json").read_bytes()
        pass_on_counts(StageCounts(stage="caption", reused=9, dropped=Counter(a=2, b=1)), tmp_path)
        assert (tmp_path / "counts.json").read_bytes() == before

    def test_missing_counts_name_the_file(self, tmp_path):
        with pytest.raises(InputError, match=r"counts\.json: no such file; run the stage that writes it$"):
            pass_on_counts(counts_of("caption"), tmp_path, tmp_path / "none")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": 1}', b'{"a": {"b": "1"}}', b'{"a": {"b": -1}}'])
    def test_damaged_counts_name_the_file(self, tmp_path, content):
        (tmp_path / "counts.json").write_bytes(content)
        with pytest.raises(InputError, match=r"counts\.json: damaged; run the stage that writes it$"):
            read_counts(tmp_path)


def test_driver_keeps_neither_samples_nor_notes(tmp_path, monkeypatch):
    """Per shard it may keep the digests of some files, but not the megabyte of notes."""
    monkeypatch.chdir(tmp_path)

    def work(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        files.output.write_text(task.name)
        notes = [{"origin": f"{task.name}/{number:010000}", "reason": "too small"} for number in range(100)]
        return ShardResult(done=1, notes=notes)

    def make(shards: int) -> None:
        tasks = [ShardTask(name=f"{number:05d}", inputs=(), samples=1000) for number in range(shards)]
        shutil.rmtree("out", ignore_errors=True)
        map_in_process(work, tasks, Path("out"), ".out")

    few, many = (least_peak(lambda shards=shards: make(shards)) for shards in (5, 25))
    assert many - few < 4_000_000  # bytes for 20 shards more, whose notes would take 20 MB
    assert sum(1 for _ in shard_notes(Path("out"))) == 2_500
