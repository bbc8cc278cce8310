"""What holds for any mask, caption and shard, tried on many. The properties of params.yaml are in test_params.py."""

import os
import signal
import tarfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from PIL import Image

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.params import Segment
from stages.core.shards import ShardResult, ShardTask, StageCounts, map_shards
from stages.corpus.parts import printable
from stages.corpus.samples import CorpusSample, EditSample, read_corpus, read_edits, read_metadata, write_corpus, write_edits
from stages.diffusion.masks import shrink_mask
from stages.diffusion.sampling import edit_latents
from stages.metrics.clip import crop_regions
from stages.pairing.masking import mask_image, mask_objection
from stages.report.pictures import TINT, overlay
from tests.support.strikes import Strike, strike

quick = settings(max_examples=60, derandomize=True, deadline=None, database=None)
sides = st.integers(1, 12)
shares = st.sampled_from([0.0, 1.0]) | st.floats(0, 1, width=32)


def masks(height: int, width: int) -> st.SearchStrategy[np.ndarray]:
    """Boolean masks, the empty one, the full one and single pixels among them."""
    some = arrays.arrays(bool, (height, width))
    return st.one_of(st.just(np.zeros((height, width), bool)), st.just(np.ones((height, width), bool)), some)


@st.composite
def masks_of_any_size(draw) -> np.ndarray:
    return draw(masks(draw(sides), draw(sides)))


def as_tensor(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask).float()[None, None]


# Masks.


@quick
@given(factor=st.integers(1, 4), height=sides, width=sides, threshold=st.sampled_from([0.25, 0.5, 1.0]), data=st.data())
def test_mask_at_latent_size_is_the_share_of_each_cell_against_the_threshold(factor, height, width, threshold, data):
    mask = data.draw(masks(height * factor, width * factor))
    shrunk = shrink_mask(as_tensor(mask), (height, width), threshold)
    covered = mask.reshape(height, factor, width, factor).mean(axis=(1, 3))
    assert shrunk.shape == (1, 1, height, width)
    np.testing.assert_array_equal(shrunk[0, 0].numpy(), covered >= threshold)


@quick
@given(mask=masks_of_any_size(), height=sides, width=sides, data=st.data())
def test_mask_at_any_size_grows_with_what_it_covers_and_keeps_empty_and_full(mask, height, width, data):
    less = mask & data.draw(masks(*mask.shape))
    shrunk, smaller = (shrink_mask(as_tensor(each), (height, width), 0.5) for each in (mask, less))
    assert set(shrunk.unique().tolist()) <= {0, 1}
    assert (smaller <= shrunk).all()
    if not mask.any():
        assert not shrunk.any()
    if mask.all():
        assert shrunk.all()


@quick
@given(side=st.integers(2, 16), margin=st.floats(0, 2), data=st.data())
def test_crop_of_a_mask_is_a_square_of_the_picture_with_all_of_the_mask(side, margin, data):
    mask = data.draw(masks(side, side))
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1 if mask.any() else side
    expected = min(round(longer * (1 + 2 * margin)), side)  # so large that nothing is resized
    places = torch.arange(side * side).reshape(side, side) / side**2
    pictures = torch.stack([as_tensor(mask)[0, 0], places, places])[None]
    crop = crop_regions(pictures, as_tensor(mask), expected, margin)
    assert crop.shape == (1, 3, expected, expected)
    assert crop[0, 0].sum() == mask.sum()
    first = round(crop[0, 1, 0, 0].item() * side**2)
    top, left = divmod(first, side)
    assert torch.equal(crop[0, 1], places[top : top + expected, left : left + expected])


@quick
@given(mask=masks(4, 4), steps=st.integers(1, 6), strength=st.sampled_from([0.5, 1.0]), seed=st.integers(0, 9))
def test_blending_leaves_all_outside_of_any_mask_exactly(mask, steps, strength, seed):
    if int(steps * strength) == 0:
        strength = 1.0
    generator = torch.Generator().manual_seed(seed)
    source, noise = torch.randn(2, 1, 3, 4, 4, generator=generator)

    def edit(where: torch.Tensor | None) -> torch.Tensor:
        scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
        options = {"steps": steps, "strength": strength, "guidance_scale": 2.0, "mask": where}
        prompt = torch.ones(1, 2, 2)
        return edit_latents(_predict, scheduler, source, noise, prompt, torch.zeros(1, 2, 2), **options)

    edited = edit(as_tensor(mask))
    inside = torch.from_numpy(mask).expand_as(source)
    assert torch.equal(edited[~inside], source[~inside])
    if mask.all():
        assert torch.equal(edited, edit(None))
    if mask.any():
        assert not torch.equal(edited[inside], source[inside])


def _predict(latents: torch.Tensor, _: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """A noise of its own for every prompt, which depends on no place but its own."""
    return 0.3 * latents + 0.1 * text.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)


@quick
@given(mask=masks_of_any_size(), least=shares, most=shares)
def test_mask_is_kept_if_and_only_if_it_is_neither_empty_nor_full_nor_out_of_range(mask, least, most):
    least, most = sorted([least, most])
    fields = {"model": {"name": "a"}, "batch": 1, "targets": "retrieved", "threshold": 0.5}
    fields |= {"min_area": least, "max_area": most}
    area = torch.from_numpy(mask).float().mean().item()
    reason = mask_objection(torch.from_numpy(mask), "source", Segment.model_validate(fields))
    assert (reason is None) == (0 < area < 1 and least <= area <= most)
    assert np.array_equal(np.asarray(mask_image(torch.from_numpy(mask))) == 255, mask)


@quick
@given(mask=masks_of_any_size())
def test_overlay_changes_nothing_outside_of_any_mask(mask):
    picture = np.full((*mask.shape, 3), 40, dtype=np.uint8)
    shown = np.asarray(overlay(Image.fromarray(picture), mask_image(torch.from_numpy(mask))))
    assert (shown[~mask] == 40).all()
    tinted = np.abs(shown[mask].astype(int) - TINT).sum(axis=1)
    assert (tinted < np.abs(np.array([40, 40, 40]) - TINT).sum()).all()


# Words and samples.


@quick
@given(text=st.text(st.characters()))  # broken ones and control characters too
def test_any_text_becomes_one_line_and_stays_it(text):
    line = one_line(text)
    assert line.isprintable()
    assert line == one_line(line) == line.strip()
    assert line.encode().decode() == line
    assert printable(text).isprintable()


METADATA = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=9), max_size=3)


def pictures(mode: str, side: int) -> st.SearchStrategy[Image.Image]:
    shape = (side, side) if mode == "L" else (side, side, 3)
    return arrays.arrays(np.uint8, shape).map(Image.fromarray)


@quick
@given(texts=st.lists(st.text(), max_size=4), metadata=METADATA, data=st.data())
def test_corpus_samples_come_back_whatever_their_words(tmp_path_factory, texts, metadata, data):
    samples = [
        CorpusSample(key=f"{n:09d}", image=data.draw(pictures("RGB", 3)), alt_text=text, metadata=metadata)
        for n, text in enumerate(texts)
    ]
    path = tmp_path_factory.getbasetemp() / "corpus.tar"
    assert write_corpus(path, samples) == len(texts)
    found = list(read_corpus(path))
    assert [(each.key, each.alt_text, each.metadata, each.image.tobytes()) for each in found] == [
        (each.key, each.alt_text, each.metadata, each.image.tobytes()) for each in samples
    ]
    assert list(read_metadata(path)) == [metadata] * len(texts)


WORDS = ("source_caption", "edit_prompt", "source_diff", "target_diff", "target_alt_text")


@quick
@given(words=st.lists(st.text(st.characters()), min_size=5, max_size=5), metadata=METADATA, side=sides, data=st.data())
def test_edit_samples_come_back_as_clean_lines(tmp_path_factory, words, metadata, side, data):
    words = [word.encode("utf-8", "replace").decode() for word in words]  # a shard is UTF-8
    seen = {name: data.draw(pictures(mode, side)) for name, mode in (("source", "RGB"), ("target", "RGB"))}
    seen |= {f"{name}_mask": data.draw(pictures("L", side)) for name in ("source", "target")}
    sample = EditSample(key="000000000", **seen, **dict(zip(WORDS, words, strict=True)), metadata=metadata)
    path = tmp_path_factory.getbasetemp() / "edits.tar"
    write_edits(path, [sample])
    (found,) = read_edits(path)
    assert [getattr(found, name) for name in WORDS] == list(map(one_line, words))
    assert found.metadata == metadata
    assert all(getattr(found, name).tobytes() == picture.tobytes() for name, picture in seen.items())


# Shards.

BLOCK = tarfile.BLOCKSIZE


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> Path:
    """A shard of two samples of edits."""
    folder = tmp_path_factory.mktemp("shards")
    mask, picture = Image.new("L", (3, 3), 255), Image.new("RGB", (3, 3), "red")
    seen = {"source": picture, "target": picture, "source_mask": mask, "target_mask": mask}
    samples = [EditSample(key=f"{n:09d}", **seen, **dict.fromkeys(WORDS, "a car"), metadata={"n": n}) for n in range(2)]
    write_edits(folder / "whole.tar", samples)
    return folder / "whole.tar"


def with_checksum(header: bytes) -> bytes:
    """The header of a member with the checksum that belongs to its other fields."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


@settings(quick, max_examples=300)
@given(data=st.data())
def test_damaged_shard_is_told_in_one_line_or_read_as_samples(shard, data):
    content = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        headers = [member.offset for member in tar]
        inside = [member.offset_data + place for member in tar for place in range(member.size)]
    places = st.sampled_from([at + place for at in headers for place in range(BLOCK)]) | st.sampled_from(inside)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=4)).items():
        content[place] = value
    kinds = st.sampled_from(b"0123456789LKDSxgMNVX\0")
    for at, kind in data.draw(st.dictionaries(st.sampled_from(headers), kinds, max_size=2)).items():
        content[at + 156] = kind
    if data.draw(st.booleans()):  # so that what is changed in a header is believed
        for at in headers:
            content[at : at + BLOCK] = with_checksum(content[at : at + BLOCK])
    damaged = shard.with_name("damaged.tar")
    damaged.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    told, samples = "", []
    try:
        samples = list(read_edits(damaged))
    except InputError as error:
        told = str(error)
    assert told == "" or (told.startswith(f"{damaged}: ") and told.isprintable())
    for sample in samples:
        assert all(getattr(sample, name).isprintable() for name in (*WORDS, "key"))
        pictures = (sample.source, sample.target, sample.source_mask, sample.target_mask)
        assert [picture.mode for picture in pictures] == ["RGB", "RGB", "L", "L"]
        assert len({picture.size for picture in pictures}) == 1


class Shards(RuleBasedStateMachine):
    """Shards whose inputs and settings change, which are damaged, killed and removed, against those of a run from nothing."""

    names = st.sampled_from(["0", "1", "2", "3"])
    texts = st.sampled_from(["a", "b", "c", None])  # None: the shard goes

    def __init__(self) -> None:
        super().__init__()
        self.temporary = TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.texts_now, self.setting = {"0": "a", "1": "b"}, 0
        self.kept: dict[str, tuple[object, int]] = {}  # shards that were whole when a run ended, what from, their inodes

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
        with TemporaryDirectory() as anew:
            from_nothing = self.run(Path(anew))
            wanted = {path.name: path.read_bytes() for path in Path(anew).iterdir()}
        assert {path.name: path.read_bytes() for path in (self.folder / "out").iterdir()} == wanted
        assert (counts.dropped, counts.notes) == (from_nothing.dropped, from_nothing.notes)
        assert counts.done + counts.reused == from_nothing.done
        assert {name: self.inode(name) for name in untouched} == {name: inode for name, (_, inode) in untouched.items()}
        self.kept = {name: (self.origin(name), self.inode(name)) for name in self.texts_now}
        assert self.run(self.folder / "out").shards_done == 0

    def run(self, folder: Path, fail_at: str = "") -> StageCounts:
        inputs = self.folder / "in"
        inputs.mkdir(exist_ok=True)
        for name, text in self.texts_now.items():
            (inputs / name).write_text(text)

        def work(task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:
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
        kind = {"stage": "test", "folder": folder, "suffix": ".out", "settings": {"setting": self.setting}}
        return map_shards(**kind, tasks=tasks, work=work)

    def files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "out").glob("*") if path.is_file())

    def origin(self, name: str) -> object:
        return self.texts_now.get(name), self.setting

    def inode(self, name: str) -> int:
        return (self.folder / "out" / f"{name}.out").stat().st_ino

    def untouched(self) -> dict[str, tuple[object, int]]:
        """The shards that a run must reuse: nothing became of them, nor of what they are made from."""
        return {name: kept for name, kept in self.kept.items() if name in self.texts_now and kept[0] == self.origin(name)}


TestShards = Shards.TestCase
TestShards.settings = settings(
    quick, max_examples=15, stateful_step_count=20, phases=[Phase.generate]
)  # to shrink takes minutes
