"""A project whose registry has a champion of tiny models, made once and shared by the tests that only read it."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from stages.core.files import folder_digest, write_json
from stages.core.params import Params, Sampling
from stages.core.params_file import read_params
from stages.editing.request import EditRequest
from tests.support import ROOT, tiny

SAMPLING = Sampling(
    solver="ddim", steps=2, strength=1.0, guidance_scale=2.0, mask_threshold=0.5, mask_margin=0.0, mask_draft=False
)
EXAMPLE = EditRequest(image=Image.new("RGB", (32, 32), "green"), prompt="a red dog", term="dog", source_term="cat")


def train(params: Params, folder: Path, dataset_digest: str = "d" * 64):
    """Open the run of a training in the store of the current folder, with its state file in another folder."""
    from stages.tracking.training_run import TrainingInputs, start_training

    inputs = TrainingInputs(
        stage="train",
        params=params,
        dataset=Path("data/training"),
        dataset_digest=dataset_digest,
        samples=7,
        figures={"retrieve": {"recall at 1": 0.75}},
        tags={},
    )
    return start_training(inputs, folder / "run.json")


def make_registered_project(folder: Path) -> None:
    """Make a project with a champion, its model and segmenter, a photo, and a params.yaml that names the segmenter."""
    from stages.tracking import history, registration, runs, store

    tiny.tiny_diffusion(folder / "models" / "iedit")
    write_json(folder / "models" / "iedit" / "iedit.json", {"sampling": SAMPLING.model_dump()})
    tiny.tiny_segmenter(folder / "segmenter")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["evaluate"]["segmenter"]["name"] = str(folder / "segmenter")
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    Image.linear_gradient("L").resize((48, 40)).convert("RGB").save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        store.connect()
        digest = folder_digest(folder / "models/iedit")
        with train(read_params(), folder) as run:
            run.finish(digest)
        made = registration.register(
            folder / "models/iedit",
            folder / "segmenter",
            metrics={"clip_score": 61.5},
            example=EXAMPLE,
            run_id=runs.find_run(digest),
        )
        assert made.run_id == run.run_id
        history.promote(made.version, "the first")
