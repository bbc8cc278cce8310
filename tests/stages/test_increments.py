"""A pipeline that ran on some images, and again with new ones, has the bytes of one that ran on all at once.

And the second run pays for what is new alone: as many captions as there are new images, and as many pairs masked as have a new
picture or phrase.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from stages.core.files import read_json
from tests.support import harness

FEW = 5  # images: one whole shard and a part of the next
UNTOUCHED = [  # files that the new images do not affect
    *(f"data/{name}" for name in ("corpus/00000.tar", "captions/00000.parquet", "edits/00000.parquet")),
    "data/pairs/embeddings/00000.images.safetensors",
    "data/pairs/embeddings/00000.texts.safetensors",
]
Found = dict[str, set[tuple[str, ...]]]  # shard → what was made in it


def run_all(project: harness.Project) -> None:
    for stage in harness.STAGES:
        ended = project.run(stage)
        assert (ended.code, ended.errors) == (0, []), ended.said


def tables(folder: Path) -> Iterator[tuple[str, list[dict]]]:
    """Yield the shards of a folder, each with the rows of its table."""
    for path in sorted(folder.glob("*.parquet")):
        yield path.stem, pq.read_table(path).to_pylist()


def pixels(project: harness.Project) -> dict[str, str]:
    """Return the digest of the pixels of every image."""
    return {row["key"]: row["pixels"] for _, rows in tables(project.folder / "data/corpus") for row in rows}


def captioned(project: harness.Project) -> Found:
    """Return the pixels that are captioned."""
    known = pixels(project)
    return {shard: {(known[row["key"]],) for row in rows} for shard, rows in tables(project.folder / "data/captions")}


def masked(project: harness.Project) -> Found:
    """Return for every pair the two pictures and the two phrases that its masks are made from."""
    known = pixels(project)
    return {
        shard: {(known[row["key"]], row["source_diff"], known[row["target_key"]], row["target_diff"]) for row in rows}
        for shard, rows in tables(project.folder / "data/pairs")
    }


def halves(pairs: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return the picture and the phrase of both sides of pairs."""
    return {half for pair in pairs for half in (pair[:2], pair[2:])}


def check_costs(project: harness.Project, captions: Found, masks: Found) -> None:
    """Check by the logs that the last run has made what the runs before it had not.

    Args:
        project: where it ran.
        captions: what was captioned before.
        masks: what was masked before.
    """

    def made(stage: str) -> int:
        return read_json(project.folder / f"logs/{stage}.json")["done"]

    assert made("caption") == sum(len(found - captions.get(shard, set())) for shard, found in captioned(project).items())
    changed = {
        shard: [pair for pair in found if not halves({pair}) <= halves(masks.get(shard, set()))]
        for shard, found in masked(project).items()
    }
    assert made("masks") == sum(map(len, changed.values())) > 0


@pytest.mark.exhaustive
def test_two_runs_give_the_bytes_of_one_and_pay_once(project):
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
    captions, masks = captioned(project), masked(project)
    before = {name: (project.folder / name).stat().st_ino for name in UNTOUCHED}
    params.write_text(everything)
    run_all(project)
    for stage in harness.STAGES:
        assert project.digests(stage) == project.wanted[stage], stage
    assert {name: (project.folder / name).stat().st_ino for name in UNTOUCHED} == before
    check_costs(project, captions, masks)
