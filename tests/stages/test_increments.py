"""A pipeline that ran on some images, and again on others, has the bytes of one that ran on those at once.

And the second run pays for what is new alone: as many captions as there are new images, as many pairs masked as have a new
picture or phrase, and as many encoded as have a new picture.
"""

from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from stages.caption import caption
from stages.core.files import read_json
from stages.core.params import Params
from stages.corpus import world
from stages.corpus.drawing import render
from stages.ingest import ingest
from stages.mutate import mutate
from stages.retrieve import retrieve
from stages.segment import segment
from stages.training.encoder import encode_training_set
from tests.support import ROOT, harness
from tests.support.samples import encoded
from tests.support.sources import tar_of
from tests.support.training import files_of

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


def pixels(project: Path) -> dict[str, str]:
    """Return the digest of the pixels of every image."""
    return {row["key"]: row["pixels"] for _, rows in tables(project / "data/corpus") for row in rows}


def captioned(project: Path) -> Found:
    """Return the pixels that are captioned."""
    known = pixels(project)
    return {shard: {(known[row["key"]],) for row in rows} for shard, rows in tables(project / "data/captions")}


def masked(project: Path) -> Found:
    """Return for every pair the two pictures and the two phrases that its masks are made from."""
    known = pixels(project)
    return {
        shard: {(known[row["key"]], row["source_diff"], known[row["target_key"]], row["target_diff"]) for row in rows}
        for shard, rows in tables(project / "data/pairs")
    }


def trained(project: Path) -> Found:
    """Return for every usable pair the two pictures that are encoded of it."""
    return {
        shard: {(row["key"], row["source_pixels"], row["target_pixels"]) for row in rows}
        for shard, rows in tables(project / "data/training")
    }


def together(found: Found) -> set[tuple[str, ...]]:
    """Return what was made in any shard."""
    return set().union(*found.values())


def halves(pairs: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return the picture and the phrase of both sides of pairs."""
    return {half for pair in pairs for half in (pair[:2], pair[2:])}


def check_costs(project: Path, captions: Found, masks: Found) -> None:
    """Check by the logs that the last run has made what the runs before it had not.

    Args:
        project: where it ran.
        captions: what was captioned before.
        masks: what was masked before.
    """

    def made(stage: str) -> int:
        return read_json(project / f"logs/{stage}.json")["done"]

    known = together(captions)
    assert made("caption") == sum(len(found - known) for found in captioned(project).values())
    known = halves(together(masks))
    changed = [pair for found in masked(project).values() for pair in found if not halves({pair}) <= known]
    assert made("masks") == len(changed)


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
    captions, masks = captioned(project.folder), masked(project.folder)
    before = {name: (project.folder / name).stat().st_ino for name in UNTOUCHED}
    params.write_text(everything)
    run_all(project)
    for stage in harness.STAGES:
        assert project.digests(stage) == project.wanted[stage], stage
    assert {name: (project.folder / name).stat().st_ino for name in UNTOUCHED} == before
    check_costs(project.folder, captions, masks)


SCENES = {"a": range(6), "b": range(6, 12), "c": range(12, 18)}  # of the embedded world in each tar
OTHERS = range(18, 24)
CHANGES = {
    "appended": SCENES | {"d": OTHERS},
    "replaced": SCENES | {"b": OTHERS},
    "resharded": {"ab": range(9), "bc": range(9, 18)},
    "removed": {name: scenes for name, scenes in SCENES.items() if name != "a"},
}


@pytest.fixture(scope="module")
def params(tmp_path_factory) -> Params:
    """Parameters for tars of small pictures, with tiny models."""
    models = tmp_path_factory.mktemp("models")
    harness.make_models(models)
    values = harness.params_for(models)
    values["ingest"]["source"] = {"kind": "webdataset", "path": "tars/*.tar"}
    return Params.model_validate(values)


def make(folder: Path, tars: Mapping[str, range], params: Params) -> int:
    """Run everything up to the encoder in a folder on tars of drawn scenes; return how many pairs were encoded."""
    (folder / "tars").mkdir(parents=True, exist_ok=True)
    for tar in (folder / "tars").iterdir():
        if tar.stem not in tars:
            tar.unlink()
    for name, scenes in tars.items():
        pictures = [(f"{n}.png", encoded(render(world.draw_scene(0, "train", n), params.ingest.size)[0])) for n in scenes]
        (folder / f"tars/{name}.tar").write_bytes(tar_of([*pictures, *((f"{n}.txt", b"alt text %d" % n) for n in scenes)]))
    with chdir(folder):
        nltk = Path("data/nltk")
        if not nltk.exists():
            nltk.parent.mkdir()
            nltk.symlink_to(ROOT / nltk)
        for stage in (ingest, caption, mutate, retrieve, segment):
            stage(params)
        return encode_training_set(params.train, 1000, params.execution).done


@pytest.mark.parametrize(
    "change", [pytest.param(name, marks=[] if name == "replaced" else pytest.mark.exhaustive) for name in CHANGES]
)
def test_a_changed_shard_is_paid_for_once(params, tmp_path, change):
    changed, alone = tmp_path / "changed", tmp_path / "alone"
    assert make(changed, SCENES, params) > 0
    captions, masks, encodings = captioned(changed), masked(changed), trained(changed)
    done = make(changed, CHANGES[change], params)
    check_costs(changed, captions, masks)
    pictures = {picture for _, *both in together(encodings) for picture in both}
    new = [pair for pairs in trained(changed).values() for pair in pairs if not {*pair[1:]} <= pictures]
    assert done == len(new)
    make(alone, CHANGES[change], params)
    assert files_of(changed / "data") == files_of(alone / "data")
