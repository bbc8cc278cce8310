"""The whole recipe, with one step for every round: each training writes what its stage declares, and all of it is measured."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from PIL import Image

import nano.diffusion
import nano.fit
import nano.measure
import nano.settings
from nano.settings import NANO

STAGES = yaml.safe_load((NANO / "dvc.yaml").read_text())["stages"]
MODULES = {name: stage["cmd"].split()[2] for name, stage in STAGES.items() if name != "code"}
SCENES = {"train": 1024, "held_out": 16}  # the autoencoder's scale is taken from 1,024 pictures


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the family with the recipe's files and the smallest settings, in which all its modules work."""
    settings = nano.settings.read_settings() | {"scenes": SCENES}
    for section in settings.values():
        if isinstance(section, dict) and "lr" in section:
            section |= {"steps": [1] * len(section["steps"]), "batch": 8, "precision": "fp32"}
    settings["measure"] |= {"samples": 8, "steps": 2, "guidance_scales": [2.0], "guidance_samples": 8}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "dvc.yaml").write_text((NANO / "dvc.yaml").read_text())
    for name in MODULES.values():
        digests = tmp_path / "data/code" / f"{name.removeprefix('nano.')}.json"
        digests.parent.mkdir(parents=True, exist_ok=True)
        digests.write_text("{}")
    for module in [nano.settings, nano.fit, *map(import_module, sorted(set(MODULES.values())))]:
        for constant in ("NANO", "MODELS", "BUILD", "FOLDER", "VAE_FOLDER"):
            if hasattr(module, constant):
                monkeypatch.setattr(module, constant, tmp_path / getattr(module, constant).relative_to(NANO))
    monkeypatch.setattr(nano.diffusion, "CUT_OUTS", 64)
    monkeypatch.setattr(nano.fit, "NORM_BATCHES", 2)
    monkeypatch.setattr(nano.measure, "SHEET", (2, 2))
    return tmp_path


def test_every_stage_writes_what_it_declares(family, monkeypatch):
    for name, module in MODULES.items():
        monkeypatch.setattr(sys, "argv", STAGES[name]["cmd"].split()[2:])
        import_module(module).main()
        for out in STAGES[name]["outs"]:
            assert (family / (out if isinstance(out, str) else next(iter(out)))).exists(), out
    figures = json.loads((family / "metrics.json").read_text())
    measured = ("vae", "captioner", "clip", "judge", "segmenter", "referee", "vgg", "diffusion")
    assert {name: row["n"] for name, row in figures.items()} == dict.fromkeys(measured, SCENES["held_out"]) | {"diffusion": 8}
    side = yaml.safe_load((family / "params.yaml").read_text())["size"]
    with Image.open(family / "samples.png") as sheet:
        assert sheet.size == (2 * side, 2 * side)
