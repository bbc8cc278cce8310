"""Several jobs edited together: each gets what it would get alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from stages.editing.editor import Editor
from stages.editing.job import EditJob, Progress, Result
from stages.editing.request import EditRequest, MaskMode
from stages.models.tensors import to_tensor
from tests.support.editing_inputs import DRAFTED, SAMPLING, find_a_cat_and_drafted_dogs, half, photo, request


def difference(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of two pictures, in levels."""
    return np.abs(np.asarray(first, int) - np.asarray(second, int)).max()


def jobs(mode: MaskMode, **changes: object) -> list[EditJob]:
    """Three jobs that differ in everything that jobs of a batch may differ in."""
    mask = half() if mode is MaskMode.GIVEN else None
    requests = [
        request(prompt="a red dog", term="dog", mask=mask),
        request(image=photo(seed=1), prompt="a cat on the beach", negative_prompt="a dog", mask=mask),
        request(image=photo(70, 64, seed=2), prompt="a blue cat", negative_prompt="a beach", mask=mask and half(70, 64)),
    ]
    settings = {"mask_mode": mode, "sampling": SAMPLING} | changes
    return [EditJob(request=each, images=n + 1, seed=10 + n, **settings) for n, each in enumerate(requests)]


def together(editor: Editor, asked: list[EditJob]) -> list[Result]:
    return editor.edit_many([editor.plan(job) for job in asked])


@pytest.mark.parametrize("mode", list(MaskMode))
def test_company_changes_no_result(editor, mode, monkeypatch):
    monkeypatch.setattr(type(editor.segmenter), "probabilities", right_halves)
    asked = jobs(mode)
    found = together(editor, asked)
    for job, result in zip(asked, found, strict=True):
        (alone,) = together(editor, [job])
        assert len(result.images) == job.images
        assert all(difference(*pair) <= 1 for pair in zip(result.images, alone.images, strict=True))
        assert (result.mask is None) == (mode is MaskMode.NONE)
        assert result.mask is None or difference(result.mask, alone.mask) == 0


def right_halves(_: object, images: list[Image.Image], prompts: list[str]) -> torch.Tensor:
    """A segmenter that finds the right half of every picture."""
    width, height = images[0].size
    found = torch.zeros(len(prompts), 1, height, width)
    found[..., width // 2 :] = 1
    return found


def test_jobs_of_a_batch_keep_their_own_seed_and_words(editor):
    job = jobs(MaskMode.NONE)[0]
    others = [replace(job, seed=1), replace(job, request=replace(job.request, negative_prompt="a cat"))]
    results = together(editor, [job, *others])
    pictures = {result.images[0].tobytes() for result in results}
    assert len(pictures) == 3


def test_an_edit_is_its_job_alone(editor):
    asked = {"mask_mode": MaskMode.GIVEN, "sampling": SAMPLING, "images": 2, "seed": 4}
    (wanted,) = together(editor, [EditJob(request=request(mask=half()), **asked)])
    found = editor.edit(request(mask=half()), **asked)
    assert [each.tobytes() for each in found] == [each.tobytes() for each in wanted.images]


def test_rows_take_their_own_seed_and_negative_prompt(editor):
    pictures = to_tensor([photo()] * 2)

    mixed = editor.edit_batch(
        pictures,
        ["a dog"] * 2,
        masks=None,
        sampling=SAMPLING,
        seed=[1, 2],
        keys=["0", "0"],
        negative_prompt=["a cat", "a beach"],
    )
    for row, (seed, negative) in enumerate([(1, "a cat"), (2, "a beach")]):
        uniform = editor.edit_batch(
            pictures, ["a dog"] * 2, masks=None, sampling=SAMPLING, seed=seed, keys=["0", "0"], negative_prompt=negative
        )
        torch.testing.assert_close(mixed[row], uniform[row], rtol=1e-4, atol=1e-4)


class TestProgress:
    def progress(self, editor: Editor, asked: list[EditJob]) -> list[Progress]:
        seen: list[Progress] = []
        editor.edit_many([editor.plan(job) for job in asked], seen.append)
        return seen

    def test_every_step_of_every_batch_counts(self, editor):
        """Pictures of two sizes are two batches; a strength of 0.8 leaves 3 of 4 steps."""
        seen = self.progress(editor, jobs(MaskMode.NONE))
        assert [(each.step, each.of) for each in seen] == [(number, 6) for number in range(1, 7)]

    def test_drafts_count_too(self, editor, monkeypatch):
        find_a_cat_and_drafted_dogs(editor, monkeypatch, DRAFTED)
        asked = request(term="dog", source_term="cat")
        seen = self.progress(editor, [EditJob(request=asked, mask_mode=MaskMode.PREDICTED, sampling=DRAFTED)])
        assert [(each.step, each.of) for each in seen] == [(number, 6) for number in range(1, 7)]

    def test_the_last_preview_is_nearly_the_result(self, editor):
        job = EditJob(request=request(image=photo(64, 64), mask=half(64, 64)), mask_mode=MaskMode.GIVEN, sampling=SAMPLING)
        shown: list[Image.Image] = []
        (result,) = editor.edit_many([editor.plan(job)], lambda progress: shown.append(progress.previews()[0][0]))
        kept = [np.abs(np.asarray(each, int) - np.asarray(result.images[0], int))[:, 36:].mean() for each in shown]
        assert kept[-1] < kept[0]
        assert {each.size for each in shown} == {(64, 64)}
        assert all(each.crop((0, 0, 28, 64)).tobytes() == photo(64, 64).crop((0, 0, 28, 64)).tobytes() for each in shown)

    def test_previews_of_large_pictures_are_small(self, editor):
        asked: EditRequest = request(image=photo(1500, 900))
        seen = self.progress(editor, [EditJob(request=asked, mask_mode=MaskMode.NONE, sampling=SAMPLING, images=2)])
        assert [each.size for each in seen[0].previews()[0]] == [(512, 307)] * 2
