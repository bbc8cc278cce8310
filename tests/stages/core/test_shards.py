"""Samples and shards: the same bytes every time, and nothing half-written is ever taken for whole."""

import errno
import io
import os
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import SafetensorError

from stages.core.errors import InputError
from stages.core.files import TEMPORARY_SUFFIX, NoRoomError, read_json, write_json, written_aside
from stages.core.shards import (
    ShardResult,
    ShardTask,
    StageCounts,
    count_dropped,
    count_samples,
    list_shards,
    map_shards,
    pass_on_counts,
    read_counts,
)
from stages.corpus.samples import (
    CorpusReader,
    CorpusSample,
    EditSample,
    read_corpus,
    read_edits,
    read_metadata,
    write_corpus,
    write_edits,
)


def _noise(seed: int, mode: str = "RGB", size: int = 8) -> Image.Image:
    rng = np.random.default_rng(seed)
    if mode == "L":
        return Image.fromarray((rng.integers(2, size=(size, size)) * 255).astype(np.uint8))
    return Image.fromarray(rng.integers(256, size=(size, size, 3), dtype=np.uint8))


def _corpus_sample(number: int) -> CorpusSample:
    text = f"ein Bär № {number}\n"
    return CorpusSample(key=f"{number:09d}", image=_noise(number), alt_text=text, metadata={"origin": {"name": f"é{number}"}})


def _edit_sample(number: int) -> EditSample:
    return EditSample(
        key=f"{number:09d}",
        source=_noise(1),
        target=_noise(2),
        source_mask=_noise(3, "L"),
        target_mask=_noise(4, "L"),
        source_caption="a red car",
        edit_prompt="a blue car",
        source_diff="red car",
        target_diff="blue car",
        target_alt_text="IMG_7.jpg",
        metadata={"relation": "colour", "score": 0.25},
    )


def test_corpus_samples_come_back_and_give_the_same_bytes(tmp_path):
    samples = [_corpus_sample(number) for number in range(3)]
    assert write_corpus(tmp_path / "a.tar", samples) == 3
    assert write_corpus(tmp_path / "b.tar", samples) == 3
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    for written, read in zip(samples, read_corpus(tmp_path / "a.tar"), strict=True):
        assert (read.key, read.alt_text, read.metadata) == (written.key, written.alt_text, written.metadata)
        assert read.image.mode == "RGB"
        assert read.image.tobytes() == written.image.tobytes()
    assert list(read_metadata(tmp_path / "a.tar")) == [sample.metadata for sample in samples]


def test_corpus_reader_finds_images_in_any_shard(tmp_path):
    write_corpus(tmp_path / "a.tar", [_corpus_sample(0), _corpus_sample(1)])
    write_corpus(tmp_path / "b.tar", [_corpus_sample(2)])
    reader = CorpusReader([tmp_path / "a.tar", tmp_path / "b.tar"])
    assert reader.shard("000000002") == tmp_path / "b.tar"
    assert reader.image("000000001").tobytes() == _noise(1).tobytes()


def test_edit_samples_come_back_and_give_the_same_bytes(tmp_path):
    samples = [_edit_sample(number) for number in range(2)]
    write_edits(tmp_path / "a.tar", samples)
    write_edits(tmp_path / "b.tar", samples)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    for written, read in zip(samples, read_edits(tmp_path / "a.tar"), strict=True):
        for name, value in vars(written).items():
            got = getattr(read, name)
            same = got.tobytes() == value.tobytes() if isinstance(value, Image.Image) else got == value
            assert same, name
        assert read.source_mask.mode == "L"


class Stage:
    """Upper-cases text files, four of them, and remembers which shards it worked on."""

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
        kind = {"stage": "test", "folder": self.outputs, "suffix": ".out"}
        return map_shards(**kind, tasks=tasks, settings=settings or {}, work=self._work)

    def _work(self, task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:
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
        return {path.name: path.read_bytes() for path in self.outputs.rglob("*")}  # reading a folder would fail


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
    assert first.notes == second.notes
    assert [count_samples(path, ".out") for path in list_shards(stage.outputs, ".out")] == [1] * 4


def test_interrupted_run_goes_on_where_it_was_and_ends_with_the_same_bytes(stage):
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


def test_what_a_kill_leaves_is_never_read(stage):
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
        {"digest": 1},
        {"more": 1},
    ],
)
def test_sidecar_with_a_wrong_value_vouches_for_nothing(stage, change):
    stage.run()
    whole = stage.files()
    sidecar = stage.outputs / "2.done.json"
    write_json(sidecar, read_json(sidecar) | change)
    with pytest.raises(InputError, match=r"2\.done\.json: damaged"):
        count_samples(stage.outputs / "2.out", ".out")
    with pytest.raises(InputError, match=r"2\.done\.json: damaged"):
        count_dropped(stage.outputs)
    stage.run()
    assert stage.worked == ["2"]
    assert stage.files() == whole


def test_input_that_is_gone_is_told_and_what_is_whole_stays(stage):
    stage.run()
    whole = stage.files()
    (stage.inputs / "2.txt").unlink()
    with pytest.raises(InputError, match=r"in/2\.txt: cannot be read: No such file or directory$"):
        stage.run()
    assert stage.files() == whole


def test_shard_without_a_sidecar_is_told_with_what_to_do(stage):
    stage.run()
    (stage.outputs / "2.done.json").unlink()
    with pytest.raises(InputError, match=r"2\.done\.json: no such file; run the stage that writes it$"):
        count_samples(stage.outputs / "2.out", ".out")


@pytest.mark.parametrize("read", [read_corpus, read_edits, read_metadata, lambda path: iter([CorpusReader([path])])])
def test_missing_tar_is_told(tmp_path, read):
    with pytest.raises(InputError, match=r"none\.tar: cannot be opened: .*No such file or directory"):
        next(read(tmp_path / "none.tar"))


def test_image_of_a_shard_that_is_gone_is_told(tmp_path):
    write_corpus(tmp_path / "a.tar", [_corpus_sample(0)])
    reader = CorpusReader([tmp_path / "a.tar"])
    (tmp_path / "a.tar").unlink()
    with pytest.raises(InputError, match=r"a\.tar: sample 000000000: .*No such file or directory"):
        reader.image("000000000")


def test_members_that_no_sample_has_are_not_read(tmp_path):
    """Of any number of them, with any extension, nothing is kept in memory."""
    size, count = 100_000, 50
    path = tmp_path / "a.tar"
    write_corpus(path, [_corpus_sample(0)])
    with tarfile.open(path, "a") as tar:
        for number in range(count):
            info = tarfile.TarInfo(f"000000000.other{number}")
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
    tracemalloc.start()
    try:
        (sample,) = read_corpus(path)
        (facts,) = read_metadata(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (sample.key, sample.metadata) == ("000000000", facts)
    assert peak < size * count / 5  # bytes


class TestFolder:
    def write(self, folder: Path, text: str, error: type[BaseException] | None = None) -> None:
        with written_aside(folder) as aside:
            aside.mkdir()
            (aside / "text").write_text(text)
            if error is not None:
                raise error

    def test_it_takes_the_place_of_the_old_one(self, tmp_path):
        for text in ("one", "two"):
            self.write(tmp_path / "a", text)
            assert {path.relative_to(tmp_path).as_posix(): path.is_dir() for path in tmp_path.rglob("*")} == {
                "a": True,
                "a/text": False,
            }
            assert (tmp_path / "a/text").read_text() == text

    def test_an_error_leaves_the_old_one(self, tmp_path):
        self.write(tmp_path / "a", "one")
        with pytest.raises(KeyboardInterrupt):
            self.write(tmp_path / "a", "half of it", KeyboardInterrupt)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert (tmp_path / "a/text").read_text() == "one"

    @pytest.mark.parametrize("left", ["a.partial/a/text", "a.partial/.tmp1234", "a.partial/old/text", "a.partial"])
    def test_what_a_kill_left_goes(self, tmp_path, left):
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).touch()
        self.write(tmp_path / "a", "one")
        assert [path.name for path in tmp_path.rglob("*")] == ["a", "text"]


class TestNoRoom:
    # What FAISS, safetensors and pyarrow say; the last is no error of a full disk.
    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
            (OSError("[Errno 27] Error writing bytes to file. Detail: [errno 27] File too large"), "File too large"),
            (RuntimeError("write error in a.faiss: 1 != 2 (No space left on device)"), "No space left on device"),
            (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "File too large"),
            (RuntimeError("shapes do not fit"), None),
        ],
    )
    def test_the_file_is_named(self, tmp_path, error, words):
        def write() -> None:
            with written_aside(tmp_path / "a") as path:
                path.touch()
                raise error

        kind = type(error) if words is None else NoRoomError
        with pytest.raises(kind, match="shapes" if words is None else f"a: {words}$"):
            write()
        assert not list(tmp_path.iterdir())


def test_strangers_are_removed_and_other_files_are_not(stage):
    stage.run()
    (stage.outputs / "refused.csv").write_text("kept")
    stage.run(shards=2)
    assert stage.worked == []
    assert set(stage.files()) == {"0.out", "0.done.json", "1.out", "1.done.json", "refused.csv"}


def test_no_shards_is_an_error_that_names_the_folder(tmp_path):
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
