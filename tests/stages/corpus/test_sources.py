"""Three sources, one interface: the same pictures give the same shards, and a missing source is one line."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from stages.core import digests
from stages.core.errors import InputError
from stages.core.files import file_digest
from stages.core.paths import DIGESTS
from stages.corpus import world
from stages.corpus.alt_texts import alt_text_of
from stages.corpus.drawing import render
from stages.ingest import ingest
from tests.support.samples import encoded
from tests.support.sources import FOLDER, SIZE, params_for, tar_of, write_folder

pytestmark = pytest.mark.usefixtures("workplace")


def _export_world(count: int) -> None:
    """Write the embedded world's first scenes losslessly as a folder and as tars."""
    rows, members = [], []
    for index in range(count):
        scene = world.draw_scene(0, "train", index)
        data, text = encoded(render(scene, SIZE)[0]), alt_text_of(scene, 0, str(index))
        rows.append((f"{index}.png", text, data))
        members += [(f"{index:04d}.png", data), (f"{index:04d}.txt", text.encode()), (f"{index:04d}.json", b"{}")]
    write_folder(rows)
    for part, start in enumerate(range(0, 3 * count, 24)):  # eight samples each, like the shards
        Path(f"{part:05d}.tar").write_bytes(tar_of(members[start : start + 24]))


def test_all_sources_give_the_same_shards():
    _export_world(20)
    written = []
    for source in (
        {"kind": "openmoji", "images": 20, "cases": 1},
        FOLDER,
        {"kind": "webdataset", "path": "*.tar"},
    ):
        ingest(params_for(source))
        members = []
        for path in sorted(Path("data/corpus").glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    data = tar.extractfile(member).read()
                    if member.name.endswith(".json"):  # only the origin may differ between sources
                        data = {key: value for key, value in json.loads(data).items() if key != "origin"}
                    extension = member.name.rpartition(".")[2]
                    members.append((extension, data))  # a folder's shards have names of their own
        written.append(sorted(members, key=repr))
    assert len(written[0]) == 60
    assert written[0] == written[1] == written[2]


def _shards() -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in Path("data/corpus").glob("*.tar")}


@pytest.mark.parametrize("source", [FOLDER, {"kind": "webdataset", "path": "*.tar"}])
def test_an_unchanged_source_is_known_without_its_bytes(source, monkeypatch):
    _export_world(20)
    monkeypatch.setattr(digests, "SETTLED", 0.0)
    read: list[Path] = []
    monkeypatch.setattr(digests, "file_digest", lambda path: read.append(path) or file_digest(path))
    ingest(params_for(source))
    first, shards = len(read), _shards()
    assert first >= 3
    ingest(params_for(source))
    assert len(read) == first
    shutil.rmtree(DIGESTS)  # as docs/operations.md says
    ingest(params_for(source))
    assert len(read) >= 2 * first
    assert _shards() == shards


TARS = {"kind": "webdataset", "path": "tars/*.tar"}


@pytest.mark.parametrize(("source", "after"), [(FOLDER, "moved"), (TARS, "moved/*.tar")], ids=["folder", "webdataset"])
def test_a_source_that_moves_remakes_nothing(source, after):
    _export_world(20)
    Path("tars").mkdir()
    for tar in Path().glob("*.tar"):
        tar.rename("tars" / tar)
    ingest(params_for(source))
    shards = _shards()
    Path(source["path"].partition("/")[0]).rename("moved")
    ingest(params_for(source | {"path": after}))
    assert _shards() == shards


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FOLDER | {"path": "nowhere"}, "ingest.source.path = 'nowhere': no such folder"),
        ({"kind": "webdataset", "path": "nowhere/*.tar"}, r"ingest.source.path = 'nowhere/\*.tar': no such file"),
        ({"kind": "webdataset", "path": "nosuch://a/*.tar"}, "ingest.source.path = .*nosuch"),
    ],
)
def test_missing_source_is_one_line(source, message):
    with pytest.raises(InputError, match=message):
        ingest(params_for(source))
