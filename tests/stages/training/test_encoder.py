"""What is encoded, and when: only what is drawn and new, with the same bytes whoever encodes and whatever was there before."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from stages.core.params import ModelName
from stages.core.shards import SERIAL
from stages.corpus.corpus import Corpus
from stages.corpus.shard import pixel_digest
from stages.models.clip import load_clip
from stages.models.conditioning import Conditioning
from stages.models.latent_diffusion import load_diffusion
from stages.models.stable_diffusion import OneTextEncoder
from stages.pairing.training_set import pack_mask
from stages.training import encoder
from stages.training.dataset import TrainingSet
from stages.training.encoder import PICTURES, TEXTS, encode_training_set, in_batches
from stages.training.order import draw_ranks
from tests.support import ROOT
from tests.support.corpora import located, write_corpus_of
from tests.support.training import (
    DyingPairWorker,
    encode,
    files_of,
    pair_row,
    params_for,
    picture_key,
    write_training_set,
)
from tests.support.workers import PROCESSES, RAY

SHARDS = {"00000": [0, 1, 2], "00001": [3, 4], "00002": [5]}


@pytest.fixture
def config(tools):
    return params_for(tools.folder).train


@contextmanager
def recorded(monkeypatch) -> Iterator[tuple[list[str], list[str]]]:
    """Record the keys of the pictures that are decoded, and the prompts that are embedded, padding apart."""
    pictures: list[str] = []
    prompts: list[str] = []
    picture, embed = Corpus.picture, OneTextEncoder.embed
    with monkeypatch.context() as patch:
        patch.setattr(Corpus, "picture", lambda corpus, place: pictures.append(place.key) or picture(corpus, place))
        patch.setattr(OneTextEncoder, "embed", lambda self, texts: prompts.extend(texts) or embed(self, texts))
        yield pictures, prompts


def test_only_drawn_pairs_are_encoded(tools, config, tmp_path, monkeypatch):
    write_training_set(tmp_path / "training", SHARDS)
    with recorded(monkeypatch) as (pictures, prompts):
        counts = encode(tools, config, tmp_path / "cache", tmp_path / "training", draws=4)
    ranks = draw_ranks([picture_key(2 * number) for number in range(6)], config.seed, 0)
    drawn = sorted(np.argsort(ranks)[:4].tolist())
    assert counts.done == 4
    assert sorted(pictures) == sorted(picture_key(place) for number in drawn for place in (2 * number, 2 * number + 1))
    assert set(prompts) == {f"a dog {number}" for number in drawn}
    assert len(TrainingSet(tmp_path / "cache")) == 4


def test_equal_pictures_and_texts_are_encoded_once(tools, config, tmp_path, monkeypatch):
    pairs = [pair_row(0), pair_row(1, target=0), replace(pair_row(2, target=0), edit_prompt="a dog 0")]
    write_training_set(tmp_path / "training", {"00000": pairs, "00001": [replace(pair_row(3), edit_prompt="a dog 0")]})
    with recorded(monkeypatch) as (pictures, _):
        encode(tools, config, tmp_path / "cache", tmp_path / "training")
    assert sorted(pictures) == sorted([picture_key(place) for place in (0, 2, 4, 1)] + [picture_key(6), picture_key(7)])
    texts = [np.load(path)["digest"] for path in (tmp_path / "cache/texts").glob("*.text.npy")]
    assert sum(map(len, texts)) == 2


def test_the_progress_of_texts_ends_at_its_total(tools, config, tmp_path, monkeypatch):
    write_training_set(tmp_path / "training", {"00000": [pair_row(0), pair_row(1)], "00001": [pair_row(2), pair_row(0)]})
    totals: dict[str, int] = {}
    made = encoder.map_shards

    def note(*, stage, tasks, **options):
        totals[stage] = sum(task.samples for task in tasks)
        return made(stage=stage, tasks=tasks, **options)

    monkeypatch.setattr(encoder, "map_shards", note)
    encode(tools, config, tmp_path / "cache", tmp_path / "training")
    assert totals["encode texts"] == sum(len(np.load(path)) for path in (tmp_path / "cache/texts").glob("*.npy"))


CHANGES = {
    "nothing": (SHARDS, []),
    "a shard more": ({**SHARDS, "00003": [6, 7]}, [12, 13, 14, 15]),
    "a shard less": ({name: SHARDS[name] for name in ("00000", "00002")}, []),
    "a shard replaced": ({**SHARDS, "00001": [6, 7]}, [12, 13, 14, 15]),
    "a pair more": ({**SHARDS, "00001": [3, 4, 6]}, [12, 13]),
    "a pair less": ({**SHARDS, "00000": [0, 2]}, []),
    "another target": ({**SHARDS, "00000": [0, pair_row(1, target=7), 2]}, [15]),
    "a target known in its shard": ({**SHARDS, "00000": [0, pair_row(1, target=2), 2]}, []),
    "a target known in another shard": ({**SHARDS, "00000": [0, pair_row(1, target=3), 2]}, []),
    "shards renamed": ({"00004": SHARDS["00000"], "00005": SHARDS["00002"], "00006": SHARDS["00001"]}, []),
    "shards merged": ({"00000": [place for places in SHARDS.values() for place in places]}, []),
    "another prompt": ({**SHARDS, "00000": [0, replace(pair_row(1), edit_prompt="a pig"), 2]}, []),
}


@pytest.mark.parametrize(("after", "encoded"), CHANGES.values(), ids=CHANGES)
def test_only_changed_pairs_are_encoded_again(tools, config, tmp_path, monkeypatch, after, encoded):
    write_training_set(tmp_path / "training", SHARDS)
    encode(tools, config, tmp_path / "cache", tmp_path / "training")
    write_training_set(tmp_path / "training", after)
    with recorded(monkeypatch) as (pictures, prompts):
        encode(tools, config, tmp_path / "cache", tmp_path / "training")
    assert sorted(pictures) == sorted(picture_key(place) for place in encoded)
    new = {f"a dog {place // 2}" for place in encoded if place % 2 == 0}
    assert set(prompts) == ({"a pig"} if "a pig" in str(after) else new)
    encode(tools, config, tmp_path / "nothing", tmp_path / "training")
    assert files_of(tmp_path / "cache") == files_of(tmp_path / "nothing")


def test_one_draw_more_encodes_one_pair_more(tools, config, tmp_path):
    write_training_set(tmp_path / "training", SHARDS)
    for draws in range(1, 7):
        counts = encode(tools, config, tmp_path / "cache", tmp_path / "training", draws=draws)
        assert (counts.done, counts.reused) == (1, draws - 1)
    fewer = encode(tools, config, tmp_path / "cache", tmp_path / "training", draws=3)
    assert (fewer.done, fewer.reused) == (0, 3)


def test_other_prompts_leave_the_latents(tools, config, tmp_path, monkeypatch):
    write_training_set(tmp_path / "training", SHARDS)
    encode(tools, config, tmp_path / "cache", tmp_path / "training")
    with recorded(monkeypatch) as (pictures, prompts):
        encode(tools, config.model_copy(update={"prompts": "alt"}), tmp_path / "cache", tmp_path / "training")
    assert pictures == []
    assert set(prompts) == {f"IMG {number}" for number in range(6)}


ENGINES = [PROCESSES, pytest.param(RAY, marks=pytest.mark.exhaustive)]


@pytest.mark.parametrize("execution", ENGINES, ids=["processes", "ray"])
def test_every_engine_writes_the_same_bytes(tools, config, tmp_path, execution):
    write_training_set(tmp_path / "training", SHARDS)
    encode(tools, config, tmp_path / "serial", tmp_path / "training")
    encode(tools, config, tmp_path / "other", tmp_path / "training", execution=execution)
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "other")


@pytest.mark.parametrize("execution", ENGINES, ids=["processes", "ray"])
def test_a_worker_killed_in_the_middle_changes_nothing(tools, config, tmp_path, monkeypatch, execution):
    write_training_set(tmp_path / "training", SHARDS)
    encode(tools, config, tmp_path / "wanted", tmp_path / "training")
    monkeypatch.setattr(encoder, "PairWorker", DyingPairWorker)
    encode(tools, config, tmp_path / "cache", tmp_path / "training", execution=execution)
    assert len(list((tmp_path / "cache").glob("died-*"))) == 3
    for path in (tmp_path / "cache").glob("died-*"):
        path.unlink()
    assert files_of(tmp_path / "cache") == files_of(tmp_path / "wanted")


@pytest.mark.parametrize("family", ["tiny", "nano"])
def test_an_encoding_does_not_depend_on_its_company(tools, family):
    """Alone, among others, and at any place among them: the same bits."""
    nano = ROOT / "nano/models"
    diffusion, clip = (
        (tools.diffusion, tools.clip)
        if family == "tiny"
        else (load_diffusion(ModelName(name=str(nano / "diffusion"))), load_clip(ModelName(name=str(nano / "clip"))))
    )
    rng = np.random.default_rng(0)
    side = 32 if family == "tiny" else 64
    pictures = list(torch.from_numpy(rng.random((11, 3, side, side), np.float32)))
    texts = ["a dog", "", "a red cat on the beach", *(f"a dog number {number}" for number in range(8))]
    ways = (
        (pictures, PICTURES, lambda batch: {"value": diffusion.encode(torch.stack(batch))}),
        (texts, TEXTS, lambda batch: diffusion.embed_prompts(batch).columns()),
        (texts, TEXTS, lambda batch: {"value": clip.embed_texts(batch)}),
    )
    for items, size, encode_batch in ways:
        alone = [encodings([item], size, encode_batch) for item in items]
        for _ in range(3):
            order = rng.permutation(len(items))
            together = encodings([items[place] for place in order], size, encode_batch)
            assert all(torch.equal(together[[row]], alone[place]) for row, place in enumerate(order))


def encodings(items: list, size: int, encode_batch) -> torch.Tensor:
    """The encodings of some items, each of which has one value."""
    return torch.cat([values for found in in_batches(items, size, encode_batch, int) for values in found.values()])


class Sized:
    """Encoders with the shapes of Stable Diffusion 1.4 and CLIP ViT-B/32."""

    width = 512

    def __init__(self):
        self.shapes = {"text": (77, 768)}

    def embed(self, texts):
        return Conditioning(torch.ones(len(texts), 77, 768))

    def embed_texts(self, texts):
        return torch.ones(len(texts), self.width)


class SizedPictures:
    def shape(self, width, height):
        return 4, height // 8, width // 8

    def encode_images(self, images):
        return torch.ones(len(images), *self.shape(*images[0].size))


def blob(number: int) -> np.ndarray:
    """A mask of 384 × 384 pixels with a rough outline, as CLIPSeg's are."""
    rng = np.random.default_rng(number)
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radii = rng.uniform(60, 150) + rng.normal(0, 6, 120)
    image = Image.new("1", (384, 384))
    ImageDraw.Draw(image).polygon(
        [(192 + r * np.cos(a), 192 + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)], fill=1
    )
    return np.asarray(image)


def test_a_drawn_pair_takes_160_kb_at_the_papers_sizes(config, tmp_path, monkeypatch):
    """Every pair with pictures and a prompt of its own: 2 latents of 18,432 bytes and a prompt of 118,272, in fp16."""
    side = 384
    pictures = [Image.new("RGB", (side, side), (number, 0, 0)) for number in range(40)]
    write_corpus_of(tmp_path / "corpus", {"pictures": pictures})
    rows = [
        replace(
            pair_row(number),
            source_pixels=pixel_digest(pictures[2 * number]),
            target_pixels=pixel_digest(pictures[2 * number + 1]),
            width=side,
            height=side,
            packed_source_mask=pack_mask(blob(2 * number)),
            packed_target_mask=pack_mask(blob(2 * number + 1)),
            edit_prompt=f"a photograph of a dog with the number {number}",
            target_diff=f"dog {number}",
        )
        for number in range(20)
    ]
    places = Corpus(tmp_path / "corpus").rows("pictures")
    write_training_set(tmp_path / "training", {"00000": [located(row, places) for row in rows]})
    monkeypatch.setattr("stages.models.latent_diffusion.load_picture_encoder", lambda _: SizedPictures())
    monkeypatch.setattr("stages.models.latent_diffusion.load_prompt_encoder", lambda _: Sized())
    monkeypatch.setattr("stages.models.clip.load_clip", lambda _: Sized())
    arguments = {"folder": tmp_path / "training", "corpus": Corpus(tmp_path / "corpus"), "cache": tmp_path / "cache"}
    encode_training_set(config, 20, SERIAL, **arguments)
    sizes = {path: path.stat().st_size for path in (tmp_path / "cache").rglob("*.npy")}
    headers = sum(128 for _ in sizes)
    per_pair = (sum(sizes.values()) - 2 * headers) / 20
    assert 2 * 18_432 + 118_272 < per_pair < 160_000
