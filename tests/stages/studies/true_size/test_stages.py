"""The run of `make true-size`, on tiny models and pictures of 32 pixels."""

import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.studies.true_size.photographs import CAPTIONS
from stages.studies.true_size.stages import STAGES, models_for, renewed, rows_lacking, run_stages, runs_for, stage_lines
from stages.studies.usage import Usage
from tests.support.tiny import tiny_captioner, tiny_clip, tiny_diffusion, tiny_referee, tiny_segmenter, tiny_vgg

MAKERS = {
    "caption.model": tiny_captioner,
    "retrieve.clip": tiny_clip,
    "train.clip": tiny_clip,
    "evaluate.judge": tiny_clip,
    "segment.model": tiny_segmenter,
    "evaluate.segmenter": tiny_segmenter,
    "evaluate.referee": tiny_referee,
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


def test_a_part_is_run_with_what_it_reads():
    runs = runs_for(["segment"])
    assert [name for name, *_ in runs] == ["ingest", "caption as given", "mutate", "retrieve", "segment"]
    assert models_for(runs) == {"ingest", "mutate", "retrieve", "segment"}
    assert "caption by BLIP" in [name for name, *_ in runs_for(["caption"])]
    assert runs_for([]) == STAGES
    with pytest.raises(InputError, match=r"^segmnt: no such part; there are ingest, caption, mutate, "):
        runs_for(["segment", "segmnt"])


def test_parts_renew_their_own_rows_alone():
    used = {"retrieve": Usage(cpu=1, wall=2, peak=3 * 10**9), "segment": Usage(cpu=4, wall=5, peak=6 * 10**9)}
    throughputs = "| Network | Precision | Images a second |\n|---|---|---:|\n| segment | fp32 | 7.0 |\n"
    report = "\n".join([*stage_lines(used), "", throughputs])
    assert renewed(report, []) == report
    anew = stage_lines({"segment": Usage(cpu=8, wall=9, peak=10 * 10**9)})[2:]
    assert renewed(report, anew) == report.replace("| segment | 5 s | 4 s | 6.0 GB |", "| segment | 9 s | 8 s | 10.0 GB |")


def test_rows_that_could_not_be_renewed_are_known():
    report = "| VGG-16 | 138.4 M |  |\n| segment | 5 s | 4 s | 6.0 GB |\n"
    assert rows_lacking(report, ["| VGG-16 | 138.5 M |  |"], ["segment"]) == []
    assert rows_lacking(report, ["| DINO | 85.8 M |  |"], ["segment", "caption"]) == [
        "DINO",
        "caption by BLIP",
        "caption as given",
    ]
