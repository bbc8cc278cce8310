"""The systems that are compared: their settings, and that they make the edits that users get."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.comparison.systems import Models, chosen_systems, edited_by, instruction_of, load_models
from stages.core.errors import InputError
from stages.core.params import Params
from stages.editing.batch_editor import BatchEditor
from stages.editing.blending import match_colours
from stages.editing.job import EditJob
from stages.editing.request import MaskMode
from stages.models.hub import identity
from stages.models.latent_diffusion import load_diffusion
from stages.models.tensors import to_images, to_tensor
from tests.support.compared import copy_trained_models
from tests.support.editing_inputs import DRAFTED, SAMPLING, case, find_a_cat_and_drafted_dogs, photo, request
from tests.support.tiny_corpus import params_for


def models_of(editor) -> Models:
    known = dict.fromkeys(("base", "instructed", "tuned"), "")
    return Models(base=editor, instructed=editor.diffusion, tuned=editor, identities=known)


def test_controls_have_sdedits_guidance_at_each_strength(models, editor):
    values = params_for(models, sampling={"strength": 1.0, "guidance_scale": 3.0}).model_dump(mode="json")
    values["evaluate"]["systems"]["iedit"] = {"strength": 0.5, "guidance_scale": 2.0}
    chosen = chosen_systems(models_of(editor), Params.model_validate(values))
    settings = ("strength", "guidance_scale")
    shown = {name: tuple(chosen[name].settings[key] for key in settings) for name in chosen if "sdedit" in name}
    assert shown == {"sdedit": (0.7, 4.0), "sdedit_as_iedit": (0.5, 4.0), "sdedit_as_iedit_m": (1.0, 4.0)}
    assert chosen["sdedit_as_iedit_m"].masks is None


@pytest.mark.parametrize(("name", "scale"), [("gan", 1.5), ("instruct_pix2pix", None)])
def test_an_unknown_or_incomplete_system_is_refused(editor, name, scale):
    with pytest.raises(ValueError, match=f"{name}: no such system, or a scale is missing; there are sdedit, inpainting"):
        models_of(editor).system(name, SAMPLING, scale)


@pytest.mark.parametrize(
    ("masks", "decisive"),
    [(None, set()), ("given", {"mask_margin"}), ("predicted", {"mask_margin", "mask_draft", "mask_threshold"})],
)
def test_settings_are_those_that_decide_the_edits(editor, masks, decisive):
    changes = {"mask_margin": 0.2, "mask_draft": False, "mask_threshold": 0.7}
    settings = edited_by(editor, "", DRAFTED, masks=masks).settings
    changed = {
        name: edited_by(editor, "", DRAFTED.model_copy(update={name: value}), masks=masks).settings
        for name, value in changes.items()
    }
    assert {name for name in changes if changed[name] != settings} == decisive


def test_predicted_masks_give_the_edits_that_users_get(editor, monkeypatch):
    where = find_a_cat_and_drafted_dogs(editor, monkeypatch, DRAFTED)
    asked = request(term="dog", source_term="cat")
    (users,) = editor.edit_many([editor.plan(EditJob(request=asked, mask_mode=MaskMode.PREDICTED, sampling=DRAFTED))])
    masks = editor.predict_masks([photo()], ["dog"], ["cat"], DRAFTED.mask_threshold)
    found = edited_by(editor, "", DRAFTED, masks="predicted").edit([case()], masks, 0).pictures
    (found,) = to_images(match_colours(found, to_tensor([photo()]), where, editor.size.cell))
    inside = np.asarray(users.mask) == 255
    assert inside[where[0, 0].bool().numpy()].all()
    np.testing.assert_array_equal(np.asarray(found)[inside], np.asarray(users.images[0])[inside])


def test_an_empty_predicted_mask_returns_the_source(editor, monkeypatch):
    find_a_cat_and_drafted_dogs(editor, monkeypatch, DRAFTED)
    source = to_images(editor.diffusion.decode(editor.diffusion.encode(to_tensor([photo()]))))[0]
    edited = edited_by(editor, "", DRAFTED, masks="predicted").edit([case()], torch.zeros(1, 1, 32, 32), 0)
    (found,) = to_images(edited.pictures)
    assert edited.failed.tolist() == [True]
    assert np.abs(np.asarray(found, int) - np.asarray(source, int)).max() <= 1


@pytest.mark.parametrize("masks", ["predicted", "given"])
def test_an_edit_fails_where_no_latent_cell_is_marked(editor, monkeypatch, masks):
    """A pixel is a quarter of a cell of 2 × 2, too little where a mask has to cover half; the picture stays as it was."""
    for module in ("stages.comparison.systems", "stages.editing.batch_editor"):
        monkeypatch.setattr(f"{module}.EDIT_MASK_COVERAGE", 0.5)
    found, cases = torch.zeros(3, 1, 32, 32), [replace(case(), key=str(number)) for number in range(3)]
    found[1, :, 0, 0] = 1
    found[2, :, :8, :8] = 1
    edited = edited_by(editor, "", SAMPLING, masks=masks).edit(cases, found, 0)
    kept = editor.diffusion.decode(editor.diffusion.encode(to_tensor([photo()]))).clamp(0, 1)[0]
    assert edited.failed.tolist() == [True, True, False]
    assert [torch.allclose(picture, kept, atol=1e-4) for picture in edited.pictures] == [True, True, False]


def test_an_edit_of_the_whole_picture_never_fails(editor):
    assert edited_by(editor, "", SAMPLING).edit([case()] * 2, None, 0).failed.tolist() == [False, False]


def test_a_system_edits_around_its_true_mask(editor):
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 12:20, 12:20] = 1
    wider = torch.zeros_like(mask)
    wider[..., 8:24, 8:24] = 1
    tight, wide = (
        edited_by(editor, "", SAMPLING.model_copy(update={"mask_margin": margin}), masks="given").edit
        for margin in (0.0, 4 / 32)
    )
    found = wide([case()], mask, 0).pictures
    assert torch.equal(found, tight([case()], wider, 0).pictures)
    assert not torch.equal(found, tight([case()], mask, 0).pictures)


def test_a_model_that_is_not_trained_yet_is_named(models, workplace):
    copy_trained_models(models)
    (workplace / "models/instruct_pix2pix").rename(workplace / "elsewhere")
    with pytest.raises(InputError, match=r"^models/instruct_pix2pix: no such model; the pipeline trains it: `dvc repro`$"):
        load_models(params_for(models))


def test_a_released_model_is_told_what_to_do(models, workplace):
    copy_trained_models(models)
    (workplace / "models/instruct_pix2pix").rename(workplace / "released")
    values = params_for(models).model_dump(mode="json")
    values["evaluate"]["systems"]["instruct_pix2pix"]["model"] = {"name": "released", "revision": None}
    params = Params.model_validate(values)
    found = load_models(params)
    assert found.identities["instructed"] == identity(params.evaluate.systems.instruct_pix2pix.model)
    assert instruction_of(case()) == "turn the cat into a red dog"
    owl = replace(case(), edit_prompt="cat on an owl", target_diff="owl")
    assert instruction_of(owl) == "turn the cat into an owl"
    assert instruction_of(replace(owl, edit_prompt="owls in the wood", target_diff="owls")) == "turn the cat into owls"
    assert instruction_of(replace(case(), metadata={"instruction": "shave the cat"})) == "shave the cat"
    instructed = replace(case(), edit_prompt="turn the cat into a red dog")
    released, trained = (
        replace(found, is_released=is_released).system("instruct_pix2pix", SAMPLING, 1.5).edit for is_released in (True, False)
    )
    found = released([case()], None, 0).pictures
    assert torch.equal(found, trained([instructed], None, 0).pictures)
    assert not torch.equal(found, trained([case()], None, 0).pictures)


class Placed:
    """A diffusion model of which only the place is known: on the CPU alone, no place differs from the device."""

    place = "device"

    def to(self, place: str) -> None:
        self.place = place


def test_models_take_turns_on_the_device(monkeypatch):
    monkeypatch.setattr("stages.comparison.systems.HOST", "host")
    monkeypatch.setattr("stages.comparison.systems.device", lambda: "device")
    base, instructed, tuned = parts = Placed(), Placed(), Placed()
    found = Models(base=BatchEditor(base), instructed=instructed, tuned=BatchEditor(tuned), identities={})
    turns = [
        (edited_by(found.base, "", SAMPLING), base),
        (edited_by(found.tuned, "", SAMPLING), tuned),
        (edited_by(found.base, "", SAMPLING), instructed),
    ]
    for system, wanted in turns:
        found.in_turn(wanted, system).prepare()
        assert [part for part in parts if part.place == "device"] == [wanted]
    found.bring(None)
    assert {part.place for part in parts} == {"host"}


def test_every_system_brings_its_model(editor, models, monkeypatch):
    brought = []
    monkeypatch.setattr(Models, "bring", lambda self, diffusion: brought.append(diffusion))
    found = models_of(editor)
    found = replace(found, base=BatchEditor(load_diffusion(models.diffusion)), instructed=load_diffusion(models.diffusion))
    for system in chosen_systems(found, params_for(models)).values():
        system.prepare()
    base, instructed, tuned = found.base.diffusion, found.instructed, found.tuned.diffusion
    assert [id(each) for each in brought] == [id(each) for each in (base, base, instructed, tuned, tuned, base, base)]
