"""The run of `make true-size`, on tiny models and pictures of 32 pixels."""

import pytest
from PIL import Image

from stages.core.files import read_json
from stages.studies.true_size.photographs import CAPTIONS
from stages.studies.true_size.stages import STAGES, run_stages, stage_lines
from tests.support.tiny import tiny_captioner, tiny_clip, tiny_diffusion, tiny_segmenter, tiny_vgg

MAKERS = {
    "caption.model": tiny_captioner,
    "retrieve.clip": tiny_clip,
    "train.clip": tiny_clip,
    "evaluate.judge": tiny_clip,
    "segment.model": tiny_segmenter,
    "evaluate.segmenter": tiny_segmenter,
    "generated.referee": tiny_segmenter,
    "train.vgg": tiny_vgg,
    "evaluate.vgg": tiny_vgg,
    "train.base": tiny_diffusion,
    "evaluate.base": tiny_diffusion,
}


@pytest.mark.exhaustive
def test_every_stage_runs_on_the_photographs(tmp_path):
    models = {}
    for name, make in MAKERS.items():
        models[name] = tmp_path / "models" / make.__name__
        if not models[name].exists():
            make(models[name])
    project = tmp_path / "project"
    used = run_stages(project, models, 1, "ingest.size=32", "ingest.quality=100")
    assert list(used) == [name for name, *_ in STAGES]
    assert len(stage_lines(used)) == 2 + len(STAGES)
    assert Image.open(project / "edit.png").size == (451, 300)
    assert read_json(project / "logs/ingest.json")["done"] == len(CAPTIONS)
