"""A pipeline that ran on some images, and again with new ones, has the bytes of one that ran on all at once."""

import pytest
import yaml

from tests.support import harness

FEW = 5  # images: one whole shard and a part of the next
UNTOUCHED = [  # files that the new images do not affect
    *(f"data/{name}" for name in ("corpus/00000.tar", "captions/00000.parquet", "edits/00000.parquet")),
    "data/pairs/embeddings/00000.images.safetensors",
    "data/pairs/embeddings/00000.texts.safetensors",
]


def run_all(project: harness.Project) -> None:
    for stage in harness.STAGES:
        ended = project.run(stage)
        assert (ended.code, ended.errors) == (0, []), ended.said


@pytest.mark.exhaustive
def test_two_runs_give_the_bytes_of_one(project):
    """The fixture's pipeline has run once, on all images."""
    params = project.folder / "params.yaml"
    project.prepare(harness.STAGES[0])
    everything = params.read_text()
    values = yaml.safe_load(everything)
    assert values["ingest"]["source"]["images"] > FEW > values["ingest"]["shard_size"]
    values["ingest"]["source"]["images"] = FEW
    params.write_text(yaml.safe_dump(values))
    run_all(project)
    for stage in harness.STAGES:
        assert project.digests(stage) != project.wanted[stage], stage
    before = {name: (project.folder / name).stat().st_ino for name in UNTOUCHED}
    params.write_text(everything)
    run_all(project)
    for stage in harness.STAGES:
        assert project.digests(stage) == project.wanted[stage], stage
    assert {name: (project.folder / name).stat().st_ino for name in UNTOUCHED} == before
