"""Table 1 on sources that the base model made up: what is drawn, what it is masked by, and what is written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import generated as stage
from stages.corpus.samples import read_edits
from stages.errors import InputError
from stages.generated import generated
from stages.metrics.scores import METRICS
from stages.models import Segmenter, load_diffusion, load_segmenter, mask_to_tensor, to_tensor
from stages.params import Params
from stages.systems import SYSTEMS
from stages.training.instruction import widen
from tests import test_stages as harness
from tests.test_training import write_training_set

models, workplace = harness.models, harness.workplace


@pytest.fixture
def params(models, workplace, monkeypatch) -> Params:
    """Four cases, models that are there, and a referee that finds the left half of everything."""
    write_training_set(Path("data/evaluation"), {"00000": [0, 1, 2, 3]})
    for name in ("iedit", "instruct_pix2pix"):
        shutil.copytree(models.diffusion.name, f"models/{name}")
    widen(load_diffusion(models.diffusion).unet).save_pretrained("models/instruct_pix2pix/unet")
    return harness.params_for(models, evaluate={"cases": "data/evaluation", "referee": {"name": models.segmenter.name}})


def left_half(self: Segmenter, images, texts) -> torch.Tensor:
    found = torch.zeros(len(images), 1, images[0].height, images[0].width)
    found[..., : images[0].width // 2] = 1
    return found


def test_sources_are_drawn_anew_with_the_words_of_the_cases(params, monkeypatch):
    monkeypatch.setattr(Segmenter, "probabilities", left_half)
    generated(params)
    (asked, made) = (list(read_edits(Path(f"data/{name}/00000.tar"))) for name in ("evaluation", "generated"))
    assert [case.key for case in made] == [case.key for case in asked]
    for name in ("source_caption", "edit_prompt", "source_diff", "target_diff", "metadata"):
        assert [getattr(case, name) for case in made] == [getattr(case, name) for case in asked]
    pictures = to_tensor([case.source for case in made])
    assert not torch.equal(pictures, to_tensor([case.source for case in asked]))
    assert (pictures[0] - pictures[1]).abs().mean() > 0.01  # each has noise of its own
    assert torch.equal(mask_to_tensor([case.source_mask for case in made]), left_half(None, [c.source for c in made], []))


def test_tables_claims_and_pictures_are_written_of_every_system(params, monkeypatch):
    monkeypatch.setattr(Segmenter, "probabilities", left_half)
    generated(params)
    reports = Path("reports/generated")
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics["cases"] == 4
    assert set(metrics["systems"]) == set(SYSTEMS)
    assert all({metric.key for metric in METRICS} <= set(row) for row in metrics["systems"].values())
    assert metrics["models"]["referee"]["name"] == params.evaluate.referee.name
    assert {path.name for path in reports.iterdir()} == {
        "claims.md", "metrics.json", "pairs.csv", "pairs.md", "sheet.png", "table.csv", "table.md",
    }  # fmt: skip
    assert "a segmenter that no system uses" in (reports / "table.md").read_text()


def test_a_second_run_draws_and_edits_nothing_and_writes_the_same(params, monkeypatch):
    monkeypatch.setattr(Segmenter, "probabilities", left_half)
    generated(params)
    before = {path.name: path.read_bytes() for path in Path("reports/generated").iterdir()}
    monkeypatch.setattr("stages.editor.Editor.edit_batch", lambda *_, **__: pytest.fail("it was made again"))
    generated(params)
    assert {path.name: path.read_bytes() for path in Path("reports/generated").iterdir()} == before


def test_a_source_without_its_thing_is_drawn_again(params, monkeypatch):
    asked: list[int] = []

    def third_time(self: Segmenter, images, texts) -> torch.Tensor:
        asked.append(len(images))
        found = left_half(self, images, texts)
        return found * (torch.arange(len(images)) % 2 == 0).view(-1, 1, 1, 1) if len(asked) < 3 else found

    referee, base = load_segmenter(params.evaluate.referee), stage.load_models(params).base
    monkeypatch.setattr(Segmenter, "probabilities", third_time)
    cases = list(read_edits(Path("data/evaluation/00000.tar")))
    made = stage._draw_sources(cases, base, referee, params.sampling, 0, lambda _: None)
    assert asked == [4, 2, 1]
    assert [case.key for case in made] == [case.key for case in cases]
    assert all(np.asarray(case.source_mask).any() for case in made)


def test_a_case_that_is_never_drawn_is_told(params, monkeypatch):
    monkeypatch.setattr(Segmenter, "probabilities", lambda self, images, texts: left_half(self, images, texts) * 0)
    with pytest.raises(InputError, match=r"^evaluate\.referee: finds no '.*' in 20 pictures of '.*' that evaluate\.base drew"):
        generated(params)
    assert not Path("data/generated/00000.tar").exists()
