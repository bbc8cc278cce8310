"""Table 1 on sources that the base model drew."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from PIL import Image

from stages.comparison.systems import SYSTEMS
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params import Params
from stages.corpus.samples import read_edits
from stages.diffusion.sampling import draw_noise
from stages.metrics.table import METRICS
from stages.models.segmenter import Segmenter, load_segmenter
from stages.models.tensors import mask_to_tensor, to_tensor
from stages.studies import generated_cases
from stages.studies.generated import generated
from tests.support.compared import copy_trained_models, left_half, write_cases
from tests.support.tiny_corpus import params_for

REPORTS = Path("reports/latest/generated")


@dataclass
class Study:
    """What a run of the study left, and what it asked for on the way."""

    folder: Path
    params: Params
    masked: list[list[Image.Image]] = field(default_factory=list)  # batches of pictures that the referee saw
    noise: list[tuple] = field(default_factory=list)  # arguments of every draw of noise


@pytest.fixture(scope="module")
def study(models, tmp_path_factory) -> Study:
    """A run in which the referee finds the left half of every picture and the segmenter the right half."""
    folder = tmp_path_factory.mktemp("generated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_cases(Path("data/evaluation"), 4)
        copy_trained_models(models)
        evaluate = {"cases": "data/evaluation", "batch": 2}
        study = Study(folder, params_for(models, evaluate=evaluate))
        weight = load_segmenter(study.params.evaluate.referee).model.clip.text_projection.weight

        def probabilities(self: Segmenter, images, texts) -> torch.Tensor:
            assert len(images) == len(texts)
            if not torch.equal(self.model.clip.text_projection.weight, weight):
                return 1 - left_half(images)
            study.masked.append(list(images))
            return left_half(images)

        def recorded(shape, *key):
            study.noise.append(key)
            return draw_noise(shape, *key)

        patch.setattr(Segmenter, "probabilities", probabilities)
        patch.setattr("stages.editing.batch_editor.draw_noise", recorded)
        generated(study.params)
    return study


@pytest.fixture
def here(study, tmp_path, monkeypatch) -> Study:
    """A copy of what the run left, as the working directory."""
    shutil.copytree(study.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return study


def test_sources_are_new_and_words_are_those_of_the_cases(here):
    wanted = list(read_edits(Path("data/evaluation/00000.tar")))
    drawn = [case for shard in sorted(Path("data/generated").glob("*.tar")) for case in read_edits(shard)]
    assert [case.key for case in drawn] == [case.key for case in wanted]
    for name in ("source_caption", "edit_prompt", "source_diff", "target_diff", "metadata"):
        assert [getattr(case, name) for case in drawn] == [getattr(case, name) for case in wanted]
    pictures = to_tensor([case.source for case in drawn])
    assert not torch.equal(pictures, to_tensor([case.source for case in wanted]))
    assert (pictures[0] - pictures[1]).abs().mean() > 0.01  # each has noise of its own
    assert torch.equal(mask_to_tensor([case.source_mask for case in drawn]), left_half([case.source for case in drawn]))
    assert [len(images) for images in here.masked[:2]] == [2, 2]  # the referee alone, once each
    assert len(here.masked) == 2


def test_sources_start_from_other_noise_than_their_edits(study):
    sources, edits = ({key[1] for key in study.noise if str(key[1]).startswith("source") == wanted} for wanted in (True, False))
    assert len(sources) == len(edits) == 4


def test_report_has_tables_claims_and_the_sheet(here):
    metrics = json.loads((REPORTS / "metrics.json").read_text())
    assert metrics["cases"] == 4
    assert set(metrics["systems"]) == set(SYSTEMS)
    assert all({metric.key for metric in METRICS if not metric.needs} <= set(row) for row in metrics["systems"].values())
    assert metrics["models"]["referee"]["identity"] != metrics["models"]["segmenter"]["identity"]
    assert metrics["models"]["tuned"]["identity"]
    assert {path.name for path in REPORTS.iterdir()} == {
        "claims.md", "metrics.json", "pairs.csv", "pairs.md", "sheet.png", "table.csv", "table.md",
    }  # fmt: skip
    table = (REPORTS / "table.md").read_text()
    assert "| Inpainting (referee's masks) |" in table
    assert (metrics["masks"], metrics["left_out"]) == ("referee", 0)
    assert "Left out" not in table
    assert "true masks" not in table + (REPORTS / "claims.md").read_text()
    assert read_json(Path("logs/generated.json"))["done"] > 0
    assert not Path("logs/evaluate.json").exists()  # those are the stage's counts


def test_a_second_run_reuses_everything_and_writes_the_same(here):
    before = {path.name: path.read_bytes() for path in REPORTS.iterdir()}
    shutil.rmtree(REPORTS)
    generated(here.params)
    assert {path.name: path.read_bytes() for path in REPORTS.iterdir()} == before
    for stage in ("sources", "generated"):
        assert read_json(Path(f"logs/{stage}.json"))["done"] == 0


def test_a_referee_that_finds_nothing_is_an_error(params, monkeypatch):
    monkeypatch.setattr(generated_cases, "DRAWS", 2)
    monkeypatch.setattr(Segmenter, "probabilities", lambda _, images, __: left_half(images) * 0)
    with pytest.raises(InputError, match=r"^evaluate\.referee\.name = '.*referee': finds nothing in what evaluate\.base = "):
        generated(params)
