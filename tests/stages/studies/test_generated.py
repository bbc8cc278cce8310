"""Table 1 on sources that the base model made up: what is drawn, what it is masked by, and what is written."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.comparison.systems import SYSTEMS, load_models
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params import Params
from stages.corpus.samples import read_edits
from stages.diffusion.sampling import draw_noise
from stages.metrics.table import METRICS
from stages.models.latent_diffusion import load_diffusion
from stages.models.segmenter import Segmenter, load_segmenter
from stages.models.tensors import mask_to_tensor, to_tensor
from stages.studies.generated import generated
from stages.studies.generated_cases import NOT_FOUND, draw_sources
from stages.training.instruct_pix2pix import widen
from tests.stages.training.test_training import write_training_set
from tests.support.tiny_corpus import params_for


@pytest.fixture
def params(models, workplace) -> Params:
    """Four cases, models that are there, and a referee that is another than the segmenter."""
    write_training_set(Path("data/evaluation"), {"00000": [0, 1, 2, 3]})
    for name in ("iedit", "instruct_pix2pix"):
        shutil.copytree(models.diffusion.name, f"models/{name}")
    widen(load_diffusion(models.diffusion).unet).save_pretrained("models/instruct_pix2pix/unet")
    shutil.copytree(models.segmenter.name, "referee")
    weights = load_file("referee/model.safetensors")
    save_file({name: weight * 1.01 for name, weight in weights.items()}, "referee/model.safetensors", {"format": "pt"})
    return params_for(models, evaluate={"cases": "data/evaluation", "batch": 2}, generated={"referee": {"name": "referee"}})


def left_half(images) -> torch.Tensor:
    found = torch.zeros(len(images), 1, images[0].height, images[0].width)
    found[..., : images[0].width // 2] = 1
    return found


@pytest.fixture
def asked(params, monkeypatch) -> list[list[Image.Image]]:
    """What the referee, which finds the left half of everything, was asked for; the segmenter finds the right half."""
    referee, pictures = load_segmenter(params.generated.referee), []
    weight = next(referee.model.parameters())

    def probabilities(self: Segmenter, images, texts) -> torch.Tensor:
        assert len(images) == len(texts)
        if not torch.equal(next(self.model.parameters()), weight):
            return 1 - left_half(images)
        pictures.append(list(images))
        return left_half(images)

    monkeypatch.setattr(Segmenter, "probabilities", probabilities)
    return pictures


def test_sources_are_drawn_anew_with_the_words_of_the_cases(params, asked):
    generated(params)
    wanted = list(read_edits(Path("data/evaluation/00000.tar")))
    made = [case for shard in sorted(Path("data/generated").glob("*.tar")) for case in read_edits(shard)]
    assert [case.key for case in made] == [case.key for case in wanted]
    for name in ("source_caption", "edit_prompt", "source_diff", "target_diff", "metadata"):
        assert [getattr(case, name) for case in made] == [getattr(case, name) for case in wanted]
    pictures = to_tensor([case.source for case in made])
    assert not torch.equal(pictures, to_tensor([case.source for case in wanted]))
    assert (pictures[0] - pictures[1]).abs().mean() > 0.01  # each has noise of its own
    assert torch.equal(mask_to_tensor([case.source_mask for case in made]), left_half([case.source for case in made]))
    assert [len(images) for images in asked] == [2, 2]  # the referee alone, once each


def test_sources_begin_with_other_noise_than_their_edits(params, asked, monkeypatch):
    drawn = []
    monkeypatch.setattr("stages.editing.editor.draw_noise", lambda shape, *key: drawn.append(key) or draw_noise(shape, *key))
    generated(params)
    sources, edits = ({key[1] for key in drawn if str(key[1]).startswith("source") == wanted} for wanted in (True, False))
    assert len(sources) == len(edits) == 4


def test_tables_claims_and_pictures_are_written_of_every_system(params, asked):
    generated(params)
    reports = Path("reports/latest/generated")
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics["cases"] == 4
    assert set(metrics["systems"]) == set(SYSTEMS)
    assert all({metric.key for metric in METRICS} <= set(row) for row in metrics["systems"].values())
    assert metrics["models"]["referee"]["identity"] != metrics["models"]["segmenter"]["identity"]
    assert metrics["models"]["tuned"]["identity"]
    assert {path.name for path in reports.iterdir()} == {
        "claims.md", "metrics.json", "pairs.csv", "pairs.md", "sheet.png", "table.csv", "table.md",
    }  # fmt: skip
    told = (reports / "table.md").read_text()
    assert "| Inpainting (given masks) |" in told
    assert "true masks" not in told + (reports / "claims.md").read_text()
    assert read_json(Path("logs/generated.json"))["done"] > 0
    assert not Path("logs/evaluate.json").exists()  # which is of the stage


def test_a_second_run_draws_and_edits_nothing_and_writes_the_same(params, asked):
    generated(params)
    before = {path.name: path.read_bytes() for path in Path("reports/latest/generated").iterdir()}
    generated(params)
    assert {path.name: path.read_bytes() for path in Path("reports/latest/generated").iterdir()} == before
    for stage in ("sources", "generated"):
        assert read_json(Path(f"logs/{stage}.json"))["done"] == 0


def test_a_source_without_its_thing_is_drawn_again(params, monkeypatch):
    seen: list[list[Image.Image]] = []

    def third_time(self: Segmenter, images, texts) -> torch.Tensor:  # finds in every second picture
        seen.append(list(images))
        return left_half(images) * (torch.arange(len(images)) % 2 == 0).view(-1, 1, 1, 1)

    referee, base = load_segmenter(params.generated.referee), load_models(params).base
    monkeypatch.setattr(Segmenter, "probabilities", third_time)
    cases = list(read_edits(Path("data/evaluation/00000.tar")))
    made = draw_sources(cases, base, referee, params.sampling, 0)
    assert [len(images) for images in seen] == [4, 2, 1]
    assert [case.key for case in made] == [case.key for case in cases]
    again = [np.asarray(images[-1], dtype=float) for images in seen]  # the last case, three times
    assert all(np.abs(one - other).mean() > 1 for one, other in pairwise(again))


def test_a_case_that_is_never_found_is_left_out_and_counted(params, monkeypatch):
    cases = list(read_edits(Path("data/evaluation/00000.tar")))

    def where_there_are_more_than_one(self: Segmenter, images, texts) -> torch.Tensor:
        found = left_half(images)
        return found if len(images) > 1 else found * 0

    monkeypatch.setattr(Segmenter, "probabilities", where_there_are_more_than_one)
    values = params.model_dump(mode="json")
    values["evaluate"] |= {"batch": 3}
    generated(Params.model_validate(values))
    assert read_json(Path("logs/sources.json"))["dropped"] == {NOT_FOUND: 1}
    assert json.loads(Path("reports/latest/generated/metrics.json").read_text())["cases"] == len(cases) - 1


def test_a_referee_that_finds_nothing_is_told(params, monkeypatch):
    monkeypatch.setattr(Segmenter, "probabilities", lambda _, images, __: left_half(images) * 0)
    with pytest.raises(InputError, match=r"^generated\.referee = 'referee': finds nothing in what evaluate\.base = "):
        generated(params)
