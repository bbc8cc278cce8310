"""What comes from outside is data and never code: model folders, tables, shards and words, each as hostile as can be."""

import gzip
import io
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.caption import caption
from stages.common.parquet import read_table, write_table
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params import ModelName, Params
from stages.corpus.samples import (
    CorpusReader,
    CorpusSample,
    EditSample,
    read_corpus,
    read_edits,
    read_metadata,
    write_corpus,
    write_edits,
)
from stages.corpus.webdataset import _read_tar
from stages.editing.inputs import check_prompt, decode_picture, read_picture, read_sampling
from stages.models import captioner, clip, hub, latent_diffusion, segmenter, vgg
from stages.models.hub import ModelError
from stages.pairing.columns import EDITS_TABLE, PAIR_COLUMNS
from tests.support import ROOT, tiny

ESCAPES = "\x1b[2J\x1b]0;title\x07\u202e\x9b31m\x00"  # what a terminal takes for commands
HOSTILE = f'a <script>alert(1)</script> "car" {ESCAPES}\n../../etc/passwd {{{{ 7 * 7 }}}}'


# Model folders.

LOADERS = {
    "captioner": (tiny.tiny_captioner, captioner.load_captioner),
    "clip": (tiny.tiny_clip, clip.load_clip),
    "segmenter": (tiny.tiny_segmenter, segmenter.load_segmenter),
    "vgg": (tiny.tiny_vgg, vgg.load_vgg),
    "diffusion": (tiny.tiny_diffusion, latent_diffusion.load_diffusion),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind, (make, _) in LOADERS.items():
        make(folder / kind)
    return folder


@pytest.fixture
def copies(whole, tmp_path) -> Path:
    hub.locate.cache_clear()  # it remembers folders by their names
    return Path(shutil.copytree(whole, tmp_path / "models"))


def load(kind: str, folder: Path) -> object:
    return LOADERS[kind][1](named(folder))


def named(folder: Path) -> ModelName:
    """A model as params.yaml names it, by a key of its own."""
    model = ModelName(name=str(folder))
    model._key = "train.base"
    return model


class Trap:
    """Pickled, it makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.mkdir, (self.marker,)


def files_of(kind: str) -> list[str]:
    """The files without which a model of this kind cannot be loaded rightly."""
    tokenizer = {"captioner": "", "clip": "", "segmenter": "", "vgg": None, "diffusion": "tokenizer/"}[kind]
    names = {
        "captioner": ["config.json", "model.safetensors", "processor_config.json"],
        "clip": ["open_clip_config.json", "open_clip_model.safetensors"],
        "segmenter": ["config.json", "model.safetensors", "processor_config.json"],
        "vgg": ["model.safetensors"],
        "diffusion": [
            "scheduler/scheduler_config.json",
            *(f"{part}/config.json" for part in ("text_encoder", "unet", "vae")),
            *(f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")),
            "text_encoder/model.safetensors",
        ],
    }[kind]
    return names + ([] if tokenizer is None else [f"{tokenizer}tokenizer.json"])


@pytest.mark.parametrize("kind", LOADERS)
def test_whole_folder_is_loaded(copies, kind):
    assert load(kind, copies / kind)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in LOADERS for name in files_of(kind)])
def test_incomplete_or_cut_folder_is_told_with_its_parameter(copies, kind, name):
    path = copies / kind / name
    data = path.read_bytes()
    for content in (None, b"", data[: len(data) // 2], b"[]", b"{}"):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        if content == b"{}" and name.rpartition("/")[2] in ("config.json", "scheduler_config.json"):
            continue  # the libraries have a default for everything, and that of a network takes its time to make
        hub.locate.cache_clear()
        with pytest.raises(ModelError) as error:
            load(kind, copies / kind)
        assert str(error.value).startswith(f"train.base.name = '{copies / kind}': ")
        assert str(error.value).isprintable()


@pytest.mark.parametrize("kind", LOADERS)
def test_weights_that_are_missing_are_not_left_to_chance(copies, kind):
    for path in (copies / kind).rglob("*.safetensors"):
        weights = load_file(path)
        del weights[max(weights)]
        save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="incomplete or damaged"):
        load(kind, copies / kind)


def test_missing_folder_is_told_with_its_parameter():
    with pytest.raises(ModelError, match=r"^train\.base\.name = 'nowhere': neither a folder nor a hub id"):
        hub.locate(named(Path("nowhere")))


def test_hub_that_is_not_there_is_told_in_one_line(monkeypatch):
    def fail(*_: object, **__: object) -> str:
        raise OSError("no route\nto the host\x1b[2J")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    model = ModelName(name="owner/model", revision="abc")
    with pytest.raises(ModelError, match=r"^owner/model: no such folder, and the hub gives none: no route$"):
        hub.locate(model)


@pytest.mark.parametrize("kind", LOADERS)
def test_pickled_weights_are_never_read(copies, kind, tmp_path):
    marker = tmp_path / "unpickled"
    weights = list((copies / kind).rglob("*.safetensors"))
    for path in weights:
        for name in ("pytorch_model.bin", "open_clip_pytorch_model.bin", "diffusion_pytorch_model.bin", "model.pth"):
            path.with_name(name).write_bytes(pickle.dumps({"weight": Trap(marker)}))
    assert load(kind, copies / kind)  # beside the weights they do no harm
    hub.locate.cache_clear()
    weights[-1].unlink()
    with pytest.raises(ModelError, match=r"pickled weights \(.*\), which are never|incomplete"):
        load(kind, copies / kind)
    spare = copies / kind / "elsewhere" / "model.safetensors"  # so that there are some at all
    spare.parent.mkdir()
    save_file({"weight": torch.zeros(1)}, spare)
    hub.locate.cache_clear()
    with pytest.raises(ModelError, match="incomplete"):
        load(kind, copies / kind)
    assert not marker.exists()


EVIL = "import pathlib\npathlib.Path({marker!r}).mkdir()\nclass Evil: pass\n"


def asking_for_code(kind: str) -> list[tuple[str, dict]]:
    """Configurations by which the libraries would run a file of the folder: (file, what is added to it)."""
    remote = {"auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor"), "evil.Evil")}
    trusting = {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}}
    return {
        "captioner": [("config.json", remote), ("tokenizer_config.json", remote), ("processor_config.json", remote)],
        "clip": [("open_clip_config.json", trusting), ("tokenizer_config.json", remote)],
        "segmenter": [("config.json", remote), ("processor_config.json", remote)],
        "vgg": [],
        "diffusion": [("unet/config.json", remote), ("tokenizer/tokenizer_config.json", remote)],
    }[kind]


@pytest.mark.parametrize(("kind", "name", "added"), [(kind, *each) for kind in LOADERS for each in asking_for_code(kind)])
def test_folder_that_asks_for_code_to_be_run_is_refused(copies, kind, name, added, tmp_path):
    path, marker = copies / kind / name, tmp_path / "run"
    config = json.loads(path.read_text())
    if "model_cfg" in added:
        config["model_cfg"]["text_cfg"] |= added["model_cfg"]["text_cfg"]
    else:
        config |= added
    path.write_text(json.dumps(config).replace("auto_map", "auto\\u005fmap"))  # the same key to a reader of JSON
    for folder in {path.parent, copies / kind}:
        (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    with pytest.raises(ModelError, match=rf"{re.escape(name)} asks for code to be run"):
        load(kind, copies / kind)
    assert not marker.exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
def test_classes_are_ours_whatever_the_folder_names(copies, part, tmp_path, monkeypatch):
    folder, marker = copies / "diffusion", tmp_path / "run"
    index = json.loads((folder / "model_index.json").read_text())
    index[part] = ["evil", "Evil"]
    (folder / "model_index.json").write_text(json.dumps(index))
    for place in (folder, folder / part, tmp_path):
        (place / "evil.py").write_text(EVIL.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)  # as the working directory is on the path of `python -m`
    assert load("diffusion", folder)
    assert not marker.exists()


def test_stage_tells_a_model_that_is_missing_in_one_line(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["caption"]["model"]["name"] = "models/captioner"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    done = subprocess.run(
        [sys.executable, "-m", "stages", "caption"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    told = "caption.model.name = 'models/captioner': neither a folder nor a hub id (owner/name) with a revision"
    assert done.stderr == f"error: {told}\n"


@pytest.mark.parametrize("listens", [False, True], ids=["nobody listens", "nobody answers"])
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_stage_tells_in_one_line_that_mlflow_cannot_be_reached(tmp_path, stage, listens):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes a connection and says nothing
        port = server.getsockname()[1] if listens else 9  # the port of the discard service
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"http://user:secret@127.0.0.1:{port}", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "stages", stage]
        started = time.monotonic()
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert time.monotonic() - started < 10
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(rf"error: tracking server http://127\.0\.0\.1:{port}: .+\n", done.stderr)
    assert "secret" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"params.yaml", "logs"}


# Tables.

ROW = dict.fromkeys(EDITS_TABLE, "a")


def test_table_comes_back(tmp_path):
    rows = [dict.fromkeys(PAIR_COLUMNS, "b") | {name: 0.5 for name, kind in PAIR_COLUMNS.items() if kind == "float32"}]
    write_table(tmp_path / "a.parquet", rows, PAIR_COLUMNS)
    assert read_table(tmp_path / "a.parquet", PAIR_COLUMNS) == rows
    assert read_table(tmp_path / "a.parquet", {"key": "string"}) == [{"key": "b"}]


BAD_TABLES = {
    "missing column": (pa.table({"caption": ["a"]}), "has no column key"),
    "column twice": (pa.table([["a"], ["b"]], names=["key", "key"]), "has no column key"),
    "numbers": (pa.table({"key": [1], "caption": ["a"]}), "column key is int64, must be string"),
    "bytes": (pa.table({"key": [b"1"], "caption": ["a"]}), "column key is binary, must be string"),
    "lists": (pa.table({"key": ["a"], "caption": [["a"]]}), r"column caption is list<.*>, must be string"),
    "empty cell": (pa.table({"key": ["a"], "caption": pa.array([None], pa.string())}), "column caption has an empty cell"),
    "not UTF-8": (pa.table({"key": ["a"], "caption": pa.array([b"\xff"]).view(pa.string())}), "damaged, or not Parquet"),
    "text": (b"key,caption\n", "damaged, or not Parquet"),
    "nothing": (b"", "damaged, or not Parquet"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_table_of_another_kind_is_told_with_file_and_column(tmp_path, name):
    content, told = BAD_TABLES[name]
    path = tmp_path / "00000.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: {told}") as error:
        read_table(path, {"key": "string", "caption": "string"})
    assert str(error.value).isprintable()


# Shards.


def picture(mode: str = "RGB", size: int = 8) -> Image.Image:
    levels = np.random.default_rng(0).integers(256, size=(size, size, len(mode)), dtype=np.uint8)
    return Image.fromarray(levels.squeeze()) if mode == "L" else Image.fromarray(levels[..., :3]).convert(mode)


def edit_sample(**changes) -> EditSample:
    words = dict.fromkeys(("source_caption", "edit_prompt", "source_diff", "target_diff", "target_alt_text"), "a car")
    pictures = {"source": picture(), "target": picture(), "source_mask": picture("L"), "target_mask": picture("L")}
    return EditSample(**{"key": "000000000", "metadata": {"relation": "noun"}} | words | pictures | changes)


def with_member(path: Path, name: str, data: bytes | None) -> None:
    """Write one member of a tar anew, or leave it out."""
    with tarfile.open(path) as tar:
        found = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for member, content in found:
            new = data if member.name == name else content
            if new is not None:
                member.size = len(new)
                tar.addfile(member, io.BytesIO(new))


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


EDIT = json.dumps(vars(edit_sample()), default=lambda _: None)
BAD_MEMBERS = {
    "no json": ("json", None, "has no json"),
    "half json": ("json", EDIT[:40].encode(), "Unterminated|Expecting"),
    "list": ("json", b"[]", "json is not an object"),
    "deep json": ("json", b"[" * 100_000, "recursion"),
    "number for words": ("json", json.dumps(json.loads(EDIT) | {"edit_prompt": 7}).encode(), "edit_prompt of another type"),
    "words missing": ("json", b'{"metadata": {}}', "has no source_caption"),
    "text for metadata": ("json", json.dumps(json.loads(EDIT) | {"metadata": "x"}).encode(), "metadata of another type"),
    "no picture": ("source.png", None, r"has no source\.png"),
    "half a picture": ("source.png", encoded(picture())[:60], "truncated or damaged image"),
    "grey picture": ("target.png", encoded(picture("L")), "a picture of mode L in the place of one of mode RGB"),
    "coloured mask": ("source_mask.png", encoded(picture()), "a picture of mode RGB in the place of one of mode L"),
    "other size": ("target_mask.png", encoded(picture("L", 9)), "pictures of different sizes"),
    "other format": ("source.png", encoded(picture(), "jpeg"), r"not an image \(PNG\)"),
    "large picture": ("source.png", encoded(Image.new("RGB", (2049, 2048))), "more than 4,194,304 pixels"),
}


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_sample_of_another_kind_is_told_with_shard_and_key(tmp_path, name):
    member, data, told = BAD_MEMBERS[name]
    path = tmp_path / "00000.tar"
    write_edits(path, [edit_sample()])
    with_member(path, f"000000000.{member}", data)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: sample 000000000: .*({told})") as error:
        list(read_edits(path))
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("member", "data"), [("json", b"[]"), ("json", None), ("txt", b"\xff"), ("txt", None), ("png", b"x"), ("png", None)]
)
def test_corpus_sample_of_another_kind_is_told_with_shard_and_key(tmp_path, member, data):
    path = tmp_path / "00000.tar"
    write_corpus(path, [CorpusSample(key="000000000", image=picture(), alt_text="a", metadata={})])
    with_member(path, f"000000000.{member}", data)
    with pytest.raises(InputError, match=r"00000\.tar: sample 000000000: "):
        list(read_corpus(path))
    if member == "json":
        with pytest.raises(InputError, match=r"00000\.tar: sample 000000000: "):
            list(read_metadata(path))
    if member == "png":
        with pytest.raises(InputError, match="000000000"):
            CorpusReader([path]).image("000000000")


def test_shard_that_is_cut_compressed_or_full_of_links_is_told(tmp_path, monkeypatch):
    path = tmp_path / "00000.tar"
    write_edits(path, [edit_sample()])
    data = path.read_bytes()
    for content in (data[:700], data[:-9000], b"", gzip.compress(data)):
        path.write_bytes(content)
        for read in (read_edits, read_metadata, lambda shard: [CorpusReader([shard])]):
            with pytest.raises(InputError, match=r"00000\.tar: truncated or damaged tar"):
                list(read(path))
    with tarfile.open(path, "w") as tar:
        for name in ("0.png", "0.json"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    assert list(read_edits(path)) == []
    with pytest.raises(InputError, match="the corpus has no image '0'"):
        CorpusReader([path]).image("0")
    write_edits(path, [edit_sample()])
    monkeypatch.setattr("stages.corpus.samples.MAX_BYTES", 20)
    with pytest.raises(InputError, match=r"a member of \d+ bytes"):
        list(read_edits(path))


class Repeated(io.RawIOBase):
    """A file that begins with one block many times over; nothing of that is in memory or on a disk."""

    def __init__(self, block: bytes, count: int, end: bytes) -> None:
        self.block, self.start, self.end, self.place = block, len(block) * count, end, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self.place = place + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.start + len(self.end)}[whence]
        return self.place

    def readinto(self, buffer) -> int:
        rest = self.block[self.place % len(self.block) :] if self.place < self.start else self.end[self.place - self.start :]
        data = rest[: len(buffer)]
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def member_of(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of an empty member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("write", "read", "member", "count"),
    [
        (
            write_corpus,
            lambda file: _read_tar(SimpleNamespace(open=lambda *_: file), "0.tar", "0.tar"),
            member_of("0.seg.png"),  # of the same sample as what comes after it
            1_000_000,
        ),
        (
            write_edits,
            lambda file: read_edits(SimpleNamespace(open=lambda _: file)),
            member_of("0.png", tarfile.SYMTYPE),
            100_000,
        ),
    ],
    ids=["of a source", "of a shard"],
)
def test_a_million_members_leave_nothing_in_memory(tmp_path, write, read, member, count):
    sample = (
        CorpusSample(key="0", image=picture(), alt_text="a", metadata={}) if write is write_corpus else edit_sample(key="0")
    )
    write(tmp_path / "0.tar", [sample])
    before = sys.getallocatedblocks()
    samples = read(Repeated(member, count, (tmp_path / "0.tar").read_bytes()))
    next(samples)
    assert sys.getallocatedblocks() - before < count / 10  # a member that is remembered takes some twenty
    assert list(samples) == []


# Words.


def test_words_of_a_shard_are_clean_lines(tmp_path):
    words = ("source_caption", "edit_prompt", "source_diff", "target_diff", "target_alt_text")
    write_edits(tmp_path / "0.tar", [edit_sample(key=f"0{ESCAPES[:5]}", **dict.fromkeys(words, HOSTILE))])
    (sample,) = read_edits(tmp_path / "0.tar")
    for name in ("key", *words):
        assert getattr(sample, name).isprintable()
    assert "<script>" in sample.edit_prompt


def test_captions_of_a_model_are_clean_lines(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [HOSTILE, ESCAPES, " "]
    monkeypatch.setattr("stages.models.captioner.Captioner.caption", lambda self, images, _: texts[: len(images)])
    Path("data/corpus").mkdir(parents=True)
    samples = [CorpusSample(key=f"{n:09d}", image=picture(size=32), alt_text=HOSTILE, metadata={}) for n in range(3)]
    write_corpus(Path("data/corpus/00000.tar"), samples)
    sidecar = {"fingerprint": "", "digest": "", "done": 3, "dropped": {}, "notes": []}
    Path("data/corpus/00000.done.json").write_text(json.dumps(sidecar))
    caption(params_with(caption={"model": {"name": str(whole / "captioner")}}))
    rows = read_table(Path("data/captions/00000.parquet"), {"key": "string", "caption": "string"})
    assert [row["key"] for row in rows] == ["000000000", "000000001"]
    assert all(row["caption"].isprintable() for row in rows)
    assert read_json(Path("logs/caption.json"))["dropped"] == {"empty caption": 1}


def params_with(**changes: dict) -> Params:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, entries in changes.items():
        values[section] |= entries
    return Params.model_validate(values)


LONG = "a red dog on the beach " * 200


def test_prompts_beyond_the_context_are_cut_off(whole):
    clip, diffusion = load("clip", whole / "clip"), load("diffusion", whole / "diffusion")
    segmenter = load("segmenter", whole / "segmenter")
    segmenter.processor.tokenizer.model_max_length = diffusion.tokenizer.model_max_length = 10**30  # as where a file lacks it
    longer = LONG + "and a cat"
    assert clip.embed_texts([LONG]).equal(clip.embed_texts([longer]))
    assert diffusion.embed_prompts([LONG]).equal(diffusion.embed_prompts([longer]))
    found = [segmenter.probabilities([picture(size=32)], [text]) for text in (LONG, longer)]
    assert found[0].equal(found[1])


@pytest.mark.parametrize("text", ["海滩上的红色汽车", "красная машина", "🚗" * 50, HOSTILE, LONG, "a" * 10_000])
def test_any_words_can_be_embedded(whole, text):
    assert load("clip", whole / "clip").embed_texts([text]).isfinite().all()
    assert load("diffusion", whole / "diffusion").embed_prompts([text]).isfinite().all()


# Requests.


def test_prompts_are_clean_lines_or_refused():
    assert check_prompt(" a red\tcar\x1b[31m\ud800 ") == "a red car [31m"
    for blank in ("", " \n\t", "\x00\x1b\u200b", None, 7):
        with pytest.raises(InputError, match="prompt: must not be blank"):
            check_prompt(blank)


def test_pictures_of_requests(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for kind in ("png", "jpeg", "webp"):
        data = np.frombuffer(encoded(picture(size=32), kind), dtype=np.uint8)
        for _ in range(40):  # any damage is refused or decoded, and never a crash
            broken = data.copy()
            broken[rng.integers(len(data), size=4)] = rng.integers(256, size=4)
            (tmp_path / "a").write_bytes(broken[: rng.integers(1, len(data) + 1)].tobytes())
            with suppress(InputError):
                assert read_picture(tmp_path / "a").size
    for name, told in (("none", "no such file"), (".", "not a file"), ("new\nline\x1b", r"new\\nline\\x1b: no such file")):
        with pytest.raises(InputError, match=told):
            read_picture(tmp_path / name)
    (tmp_path / "b").write_bytes(encoded(picture()))
    monkeypatch.setattr("stages.editing.inputs.MAX_BYTES", 20)
    with pytest.raises(InputError, match="larger than 20 bytes"):
        read_picture(tmp_path / "b")
    with pytest.raises(InputError, match="image: not base64"):
        decode_picture("\x1b[2J")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sampling": 3}', '{"sampling": {"steps": 3}}', "\ufeffx"])
def test_settings_of_a_model_that_are_damaged_are_told(tmp_path, content):
    (tmp_path / "iedit.json").write_text(content)
    with pytest.raises(InputError, match=r"iedit\.json: ") as error:
        read_sampling(tmp_path)
    assert str(error.value).isprintable()
