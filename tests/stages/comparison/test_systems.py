"""The systems that are compared, and what each is set to."""

from stages.comparison.systems import Models, chosen_systems
from stages.core.params import Params
from stages.editing.editor import Editor
from stages.models.latent_diffusion import load_diffusion
from tests.support.tiny_corpus import params_for


def test_claims_compare_with_sdedit_at_the_same_strength_and_its_own_guidance(models):
    values = params_for(models, sampling={"strength": 1.0, "guidance_scale": 3.0}).model_dump(mode="json")
    values["evaluate"]["systems"]["iedit"] = {"strength": 0.5, "guidance_scale": 2.0}
    params = Params.model_validate(values)
    editor = Editor(load_diffusion(models.diffusion))
    known = dict.fromkeys(("base", "instructed", "tuned"), "")
    everything = Models(base=editor, instructed=editor.diffusion, tuned=editor, identities=known)
    chosen = chosen_systems(everything, params)
    settings = ("strength", "guidance_scale")
    shown = {name: tuple(chosen[name].settings[key] for key in settings) for name in chosen if "sdedit" in name}
    assert shown == {"sdedit": (0.7, 4.0), "sdedit_as_iedit": (0.5, 4.0), "sdedit_as_iedit_m": (1.0, 4.0)}
    assert chosen["sdedit_as_iedit_m"].masks is None
