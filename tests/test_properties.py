"""What holds for any mask and any caption, tried on many. The properties of params.yaml are in test_params.py."""

import numpy as np
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from stages.corpus.parts import printable
from stages.corpus.samples import CorpusSample, EditSample, read_corpus, read_edits, read_metadata, write_corpus, write_edits
from stages.diffusion.sampling import edit_latents, shrink_mask
from stages.metrics.clip import crop_regions
from stages.params import Segment
from stages.report.page import TINT, overlay
from stages.segment import _image, _objection
from stages.words import one_line

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
    fields = {"model": {"name": "a"}, "batch": 1, "threshold": 0.5, "min_area": least, "max_area": most}
    area = torch.from_numpy(mask).float().mean().item()
    reason = _objection(torch.from_numpy(mask), "source", Segment.model_validate(fields))
    assert (reason is None) == (0 < area < 1 and least <= area <= most)
    assert np.array_equal(np.asarray(_image(torch.from_numpy(mask))) == 255, mask)


@quick
@given(mask=masks_of_any_size())
def test_overlay_changes_nothing_outside_of_any_mask(mask):
    picture = np.full((*mask.shape, 3), 40, dtype=np.uint8)
    shown = np.asarray(overlay(Image.fromarray(picture), _image(torch.from_numpy(mask))))
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
