"""Fixtures for the tests of the command ``iedit``."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from transformers import CLIPTokenizer

from stages.editing.editor import Editor
from stages.editing.job import EditJob, Result
from tests.support import ROOT


@dataclass(frozen=True)
class Painter:
    """An editor that returns noise, which no picture format compresses well, and reads prompts as the small models do."""

    diffusion = SimpleNamespace(
        prompts=SimpleNamespace(tokenizer=CLIPTokenizer.from_pretrained(ROOT / "nano/models/diffusion/tokenizer"))
    )

    def plan(self, job: EditJob) -> EditJob:
        return job

    def edit_many(self, jobs: list[EditJob]) -> list[Result]:
        size = jobs[0].request.image.size
        noise = [Image.effect_noise(size, 90).convert("RGB") for _ in range(jobs[0].images)]
        return [Result(images=noise, mask=None)]


@pytest.fixture
def photo_folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with a photo, params.yaml, and a model that any path loads."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(Editor, "load", lambda *_: Painter())
    return tmp_path
