"""DiffEdit and Prompt-to-Prompt as systems."""

from dataclasses import replace

import pytest
import torch

from stages.comparison.systems import Models
from stages.comparison.training_free import TRAINING_FREE, chosen_training_free, training_free_system
from stages.core.params import Params
from stages.editing.batch_editor import BatchEditor
from stages.models.latent_diffusion import load_diffusion
from stages.models.tensors import to_tensor
from tests.support.editing_inputs import SAMPLING, case, photo
from tests.support.tiny_corpus import params_for

PROMPTS = ("a red dog", "a blue car")
SETTINGS = {
    "diffedit": {"strength": 0.8, "guidance_scale": 3.0},
    "prompt_to_prompt": {"guidance_scale": 3.0, "cross_share": 0.5, "self_share": 0.5},
}


@pytest.fixture
def loaded(editor) -> Models:
    return Models(base=editor, instructed=editor.diffusion, tuned=editor, identities={"base": "the base"})


@pytest.mark.parametrize("name", TRAINING_FREE)
def test_an_edit_does_not_depend_on_its_company(loaded, name):
    system = training_free_system(loaded, name, SAMPLING, SETTINGS[name])
    cases = [replace(case(), key=str(number), source=photo(seed=number)) for number in range(3)]
    together = system.edit(cases, None, 0).pictures
    assert together.shape == (3, 3, 32, 32)
    assert together.min() >= 0
    assert together.max() <= 1
    for number, each in enumerate(cases):
        torch.testing.assert_close(system.edit([each], None, 0).pictures[0], together[number], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", TRAINING_FREE)
def test_an_edit_follows_its_prompt_and_keeps_more_than_nothing(loaded, name):
    system = training_free_system(loaded, name, SAMPLING, SETTINGS[name])
    one, other = (system.edit([replace(case(), edit_prompt=prompt)], None, 0).pictures for prompt in PROMPTS)
    assert (one - other).abs().max() > 1e-3
    kept = loaded.base.diffusion.decode(loaded.base.diffusion.encode(to_tensor([photo()]))).clamp(0, 1)
    assert (one - kept).abs().mean() < 0.5


def test_diffedit_fails_where_the_prompts_ask_for_the_same(loaded):
    """Its mask is where they differ."""
    system = training_free_system(loaded, "diffedit", SAMPLING, SETTINGS["diffedit"])
    cases = [case(), replace(case(), edit_prompt=case().source_caption)]
    assert system.edit(cases, None, 0).failed.tolist() == [False, True]


def test_settings_are_those_that_decide_the_edits(loaded, models):
    values = params_for(models).model_dump(mode="json")
    chosen = chosen_training_free(loaded, Params.model_validate(values))
    assert tuple(chosen) == TRAINING_FREE
    before = {name: system.settings for name, system in chosen.items()}
    values["benchmark"] |= {
        "diffedit": {"strength": 0.5, "guidance_scale": 9.0},
        "prompt_to_prompt": {"guidance_scale": 9.0, "cross_share": 1.0, "self_share": 0.0},
    }
    after = {name: each.settings for name, each in chosen_training_free(loaded, Params.model_validate(values)).items()}
    different = {name: {key for key in after[name] if after[name][key] != before[name][key]} for name in after}
    assert different["diffedit"] == {"strength", "guidance_scale"}
    assert different["prompt_to_prompt"] == {"guidance_scale", "cross_share", "self_share"}


def test_every_system_brings_the_base(loaded, models, monkeypatch):
    brought = []
    monkeypatch.setattr(Models, "bring", lambda _, diffusion: brought.append(id(diffusion)))
    other = load_diffusion(models.diffusion)
    models_apart = replace(loaded, instructed=other, tuned=BatchEditor(other))
    for system in chosen_training_free(models_apart, params_for(models)).values():
        system.prepare()
    assert brought == [id(loaded.base.diffusion)] * len(TRAINING_FREE)
