"""The model card names the data with their counts, models with licences, scores, use and limits."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from stages.core.params_file import read_params
from stages.core.params_ingest import FolderSource
from stages.core.paths import CORPUS, TRAINING_SET
from stages.models.hub import identity, locate
from stages.report.card import model_card
from stages.report.claims import ClaimTable
from tests.support import ROOT

METRICS = json.loads((ROOT / "reports" / "metrics.json").read_text())
CLAIMS = [
    ClaimTable(title="Claims", heading=("Claim", "n", "Holds"), rows=[("iEdit-M is best", "300", "no")], note="All of them.")
]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """The current folder: a project whose corpus and training set have two shards each, the last with ten samples fewer."""
    locate.cache_clear()
    identity.cache_clear()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "nano").symlink_to(ROOT / "nano")
    monkeypatch.chdir(tmp_path)
    for folder, counts in ((CORPUS, (1000, 990)), (TRAINING_SET, (40, 30))):
        folder.mkdir(parents=True)
        for number, done in enumerate(counts):
            sidecar = {"fingerprint": "f", "settings": "s", "digests": [], "done": done, "dropped": {}, "notes": []}
            (folder / f"{number:05}.done.json").write_text(json.dumps(sidecar))
    return tmp_path


def rows(card: str, heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head."""
    lines = [line for line in card.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_card_counts_the_data_and_names_every_model():
    params = read_params()
    card = model_card(params, METRICS, CLAIMS)
    assert rows(card, "Data") == [["images accepted", "1,990"], ["pairs trained on", "70"]]
    models = {row[0]: row[1:] for row in rows(card, "Models")}
    assert set(models) == {"caption.model", "retrieve.clip", "segment.model", "train.base", "train.clip", "train.vgg"}
    assert models["train.base"] == ["nano/models/diffusion", identity(params.train.base), "not stated"]
    assert "Source: kind openmoji, images 6000, cases 300. Licence: OpenMoji artwork, CC BY-SA 4.0." in card
    assert "Outputs are not filtered" in card


def test_card_of_ones_own_corpus_counts_its_licences(monkeypatch):
    params = read_params()
    source = FolderSource.model_validate({"kind": "folder", "path": "photos", "text": None})
    own = params.model_copy(update={"ingest": params.ingest.model_copy(update={"source": source})})
    monkeypatch.setattr("stages.report.card.count_licences", lambda: {"<img src=x> `[CC](u)": 1200, "not stated": 3})
    stated = "Licence: as the source states it, `<img src=x> [CC](u)` (images: 1,200); `not stated` (images: 3). The rights"
    assert stated in model_card(own, METRICS, CLAIMS)
    monkeypatch.setattr("stages.report.card.count_licences", dict)
    assert "Licence: the source states none. The rights" in model_card(own, METRICS, CLAIMS)


def test_card_of_given_captions_names_no_captioner():
    params = read_params()
    given = params.model_copy(update={"caption": params.caption.model_copy(update={"use": "given"})})
    assert "- Captions, pairs and masks were made by the models above" in model_card(params, METRICS, CLAIMS)
    card = model_card(given, METRICS, CLAIMS)
    assert {row[0] for row in rows(card, "Models")} == {
        "retrieve.clip",
        "segment.model",
        "train.base",
        "train.clip",
        "train.vgg",
    }
    assert "- Captions are those of the source; pairs and masks were made by the models above" in card


def test_card_of_a_lora_names_its_file():
    params = read_params()
    assert "pytorch_lora_weights" not in model_card(params, METRICS, CLAIMS)
    lora = params.model_copy(update={"train": params.train.model_copy(update={"parameters": "lora"})})
    assert "`pytorch_lora_weights.safetensors` is what was trained, a LoRA" in model_card(lora, METRICS, CLAIMS)


def test_card_has_the_scores_of_every_system():
    found = {row[0]: row[1:] for row in rows(model_card(read_params(), METRICS, CLAIMS), "Scores")}
    assert len(found) == len(METRICS["systems"])
    shown = f"{METRICS['systems']['iedit_m']['clip_score']:.2f}"
    assert any(shown in cell for cell in found["iEdit-M"])


def test_card_has_the_claims_and_when_they_hold():
    card = model_card(read_params(), METRICS, CLAIMS)
    assert rows(card, "Claims") == [["iEdit-M is best", "300", "no"]]
    assert "All of them.\n\nn counts the cases" in card


LICENCES = {
    "an identifier": ("license: openrail++", {"license": "openrail++"}),
    "a name": ("license: other\nlicense_name: sai-nc-community", {"license": "other", "license_name": "sai-nc-community"}),
    "free text": ('license: "mine: a | b\\nc"', {"license": "other", "license_name": "mine: a | b"}),
    "none": ("tags: [art]", {"license": "other"}),
}


@pytest.mark.parametrize(("stated", "keys"), LICENCES.values(), ids=LICENCES)
def test_head_is_yaml_with_the_licence_of_the_base(project, stated, keys):
    base = Path(shutil.copytree(ROOT / "nano/models/diffusion", project / "base"))
    (base / "README.md").write_text(f"---\n{stated}\n---\n")
    text = (project / "params.yaml").read_text().replace("nano/models/diffusion", "base")
    (project / "params.yaml").write_text(text)
    card = model_card(read_params(), METRICS, CLAIMS)
    head = yaml.safe_load(card.split("---\n")[1])
    assert head == {"library_name": "diffusers", "pipeline_tag": "image-to-image"} | keys
    shown = keys.get("license_name", keys["license"]) if stated != "tags: [art]" else "not stated"
    assert f"| {shown} |" in card.replace("\\|", "|")
