"""Caption, retrieve, segment, train and evaluate on tiny random models: what each writes, and what a second run does."""

import csv
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file
from transformers import BlipForConditionalGeneration, BlipProcessor, CLIPSegForImageSegmentation, CLIPSegProcessor

from stages import mutate
from stages.__main__ import stage_named
from stages.caption import caption
from stages.common.parquet import read_table, write_table
from stages.comparison.standard import current_standard
from stages.comparison.systems import Models, chosen_systems
from stages.core import run as process
from stages.core.errors import InputError
from stages.core.files import read_json, write_json
from stages.core.params import Params
from stages.core.paths import EDITED
from stages.core.shards import ShardResult, ShardTask, map_shards
from stages.corpus.samples import CorpusSample, read_edits, write_corpus, write_edits
from stages.editing.editor import Editor
from stages.evaluate import evaluate
from stages.instruct import instruct
from stages.models.latent_diffusion import load_diffusion
from stages.pairing.columns import PAIR_COLUMNS, SCORES
from stages.report.story import PANELS
from stages.retrieve import retrieve
from stages.segment import segment
from stages.tracking import store
from stages.tracking.evaluations import load_scores
from stages.tracking.gate import LABELS
from stages.tracking.registry import current_champion
from stages.train import train
from tests.support import ROOT, tiny

CORPUS, CAPTIONS, EDITS, PAIRS = (Path("data") / name for name in ("corpus", "captions", "edits", "pairs"))
TRAINING, HELD_OUT = Path("data/training"), Path("data/heldout")
SIZE = 6  # samples of a shard
ANIMALS = ("dog", "cat", "cow", "pig", "hen", "fox")


def image(number: int) -> Image.Image:
    """A rectangle of its own colour and place on a ground of its own colour."""
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", (32, 32), tuple(rng.integers(256, size=3).tolist()))
    left, top = rng.integers(2, 14, size=2).tolist()
    picture.paste(tuple(rng.integers(256, size=3).tolist()), (left, top, left + 14, top + 14))
    return picture


def corpus_sample(number: int) -> CorpusSample:
    return CorpusSample(
        key=f"{number:09d}", image=image(number), alt_text=f"IMG {number}", metadata={"origin": {"name": f"test/{number}"}}
    )


def edit_row(number: int) -> dict[str, str]:
    source, target = ANIMALS[number % 6], ANIMALS[(number + 1) % 6]
    row = {"key": f"{number:09d}", "caption": f"a {source}", "edit_prompt": f"a {target}", "relation": "co-hyponym"}
    row |= {"source_term": source, "target_term": target, "source_diff": source, "target_diff": target}
    assert mutate.COLUMNS.keys() <= row.keys(), "the stage mutate writes more than this test knows"
    return row


def write_shards(folder: Path, suffix: str, shards: int, write) -> None:
    """Write shards of six, with their sidecars: ``write`` gets a path and the numbers of a shard's samples."""

    def work(task: ShardTask, output: Path, advance) -> ShardResult:
        write(output, task.settings["numbers"])
        return ShardResult(done=len(task.settings["numbers"]))

    tasks = [
        ShardTask(
            name=f"{shard:05d}",
            inputs=(),
            samples=SIZE,
            settings={"numbers": list(range(shard * SIZE, (shard + 1) * SIZE))},
        )
        for shard in range(shards)
    ]
    map_shards(stage="test", tasks=tasks, folder=folder, suffix=suffix, settings={}, work=work)


def write_world(shards: int) -> None:
    """Write a corpus, and edits of every second image, below the working directory."""
    write_shards(CORPUS, ".tar", shards, lambda path, numbers: write_corpus(path, map(corpus_sample, numbers)))

    def write_edits(path, numbers):
        rows = [edit_row(number) for number in numbers if number % 2 == 0]
        write_table(path, rows, mutate.COLUMNS)

    write_shards(EDITS, ".parquet", shards, write_edits)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("models")
    made = SimpleNamespace(
        captioner=tiny.tiny_captioner(folder / "captioner"),
        clip=tiny.tiny_clip(folder / "clip"),
        judge=tiny.tiny_clip(folder / "judge", seed=1),
        segmenter=tiny.tiny_segmenter(folder / "segmenter"),
        vgg=tiny.tiny_vgg(folder / "vgg"),
        diffusion=tiny.tiny_diffusion(folder / "diffusion"),
    )
    # The median, so that the masks of a random CLIPSeg are neither empty nor full.
    made.threshold = float(np.median([masks_of(made, image(number), "dog") for number in range(3)]))
    return made


def masks_of(models, picture: Image.Image, words: str) -> np.ndarray:
    """CLIPSeg's probabilities for one image and one prompt, from transformers itself."""
    network = CLIPSegForImageSegmentation.from_pretrained(models.segmenter.name).eval()
    processor = CLIPSegProcessor.from_pretrained(models.segmenter.name)
    tokens = processor.tokenizer([words], truncation=True, max_length=tiny.CONTEXT, return_tensors="pt")
    with torch.no_grad():
        logits = network(**tokens, **processor.image_processor([picture], return_tensors="pt")).logits
    assert logits.shape[-2:] == (32, 32)  # the size of the picture: nothing to resize
    return torch.sigmoid(logits).reshape(32, 32).numpy()


def params_for(models, **changes) -> Params:
    """The project's params.yaml with the tiny models, few steps and open thresholds; ``changes`` by section."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    name = {
        role: {"name": getattr(models, role).name} for role in ("captioner", "clip", "judge", "segmenter", "vgg", "diffusion")
    }
    small = {
        "caption": {"model": name["captioner"], "batch": 4},
        "retrieve": {
            "clip": name["clip"],
            "batch": 4,
            "text_weight": 0.25,
            "neighbours": 5,
            "max_uses": 3,
            "near_duplicate": 1.0,
            "min_image_image": -1,
            "min_text_image": -1,
            "min_directional": -1,
            "text_gain": False,
            "held_out": 0.0,
        },
        "segment": {"model": name["segmenter"], "batch": 4, "threshold": models.threshold, "min_area": 0.0, "max_area": 1.0},
        "train": {
            "base": name["diffusion"],
            "clip": name["clip"],
            "vgg": name["vgg"],
            "steps": 2,
            "batch": 2,
            "checkpoint_every": 2,
            "gradient_checkpointing": False,
        },
        "sampling": {"steps": 2, "strength": 1.0, "mask_threshold": models.threshold, "mask_margin": 0.0, "mask_draft": True},
        "evaluate": {
            "cases": str(TRAINING),
            "max_cases": 4,
            "systems": {
                "sdedit": {"strength": 0.7, "guidance_scale": 4.0},
                "inpainting": {"guidance_scale": 4.0},
                "instruct_pix2pix": {"guidance_scale": 4.0, "image_guidance_scale": 1.5},
                "iedit": {"strength": 0.7, "guidance_scale": 4.0},
            },
            "judge": name["judge"],
            "segmenter": name["segmenter"],
            "base": name["diffusion"],
            "vgg": name["vgg"],
            "batch": 3,
            "gallery": 2,
            "bootstrap": 10,
        },
    }
    for section in small | changes:
        values[section] |= small.get(section, {}) | changes.get(section, {})
    return Params.model_validate(values)


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes, and when they were written."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def counted(stage: str) -> tuple[int, int, int, int]:
    """(done, reused, shards done, shards reused) of the last run of a stage."""
    counts = read_json(Path("logs") / f"{stage}.json")
    return counts["done"], counts["reused"], counts["shards_done"], counts["shards_reused"]


def rows_of(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def samples_of(folder: Path) -> list:
    return [sample for path in sorted(folder.glob("*.tar")) for sample in read_edits(path)]


class TestCaption:
    def test_every_image_has_the_caption_that_blip_gives_it_alone(self, models, workplace):
        write_world(2)
        caption(params_for(models))
        network = BlipForConditionalGeneration.from_pretrained(models.captioner.name).eval()
        processor = BlipProcessor.from_pretrained(models.captioner.name)
        wanted = {}
        for number in range(2 * SIZE):
            inputs = processor(images=image(number), return_tensors="pt")
            tokens = network.generate(**inputs, max_new_tokens=params_for(models).caption.max_tokens, do_sample=False)
            wanted[f"{number:09d}"] = processor.decode(tokens[0], skip_special_tokens=True).strip()
        rows = rows_of(CAPTIONS)
        assert {row["key"]: row["caption"] for row in rows} == {key: text for key, text in wanted.items() if text}
        assert len(rows) > 0
        assert all(set(row) == {"key", "caption"} for row in rows)
        dropped = read_json(Path("logs/caption.json"))["dropped"]
        assert sum(dropped.values()) == 2 * SIZE - len(rows)

    def test_empty_captions_are_dropped_and_counted(self, models, workplace, monkeypatch):
        write_world(1)
        texts = iter(["a dog", "", "a cat", "", "", "a cow"])
        monkeypatch.setattr("stages.models.captioner.Captioner.caption", lambda self, images, _: [next(texts) for _ in images])
        caption(params_for(models))
        assert [row["key"][-1] for row in rows_of(CAPTIONS)] == ["0", "2", "5"]
        assert read_json(Path("logs/caption.json"))["dropped"] == {"empty caption": 3}

    def test_only_a_new_shard_is_captioned(self, models, workplace):
        write_world(2)
        caption(params_for(models))
        before, done = contents(CAPTIONS), counted("caption")[0]
        caption(params_for(models))
        assert counted("caption") == (0, done, 0, 2)
        assert contents(CAPTIONS) == before
        write_world(3)
        caption(params_for(models))
        assert counted("caption")[2:] == (1, 2)
        assert contents(CAPTIONS).items() >= before.items()
        assert {name.split(".")[0] for name in set(contents(CAPTIONS)) - set(before)} == {"00002"}

    def test_other_parameters_caption_anew(self, models, workplace):
        write_world(1)
        caption(params_for(models))
        caption(params_for(models, caption={"max_tokens": 3}))
        assert counted("caption")[2:] == (1, 0)


class TestRetrieve:
    def test_pairs_carry_their_edit_and_their_cosines(self, models, workplace):
        write_world(3)
        retrieve(params_for(models))
        rows = rows_of(PAIRS)
        assert [row["key"] for row in rows] == [f"{number:09d}" for number in range(0, 3 * SIZE, 2)]
        clip = open_clip.create_model(f"local-dir:{models.clip.name}").eval()
        tokenize = open_clip.get_tokenizer(f"local-dir:{models.clip.name}")
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (clip.visual.image_mean, clip.visual.image_std))
        pixels = torch.from_numpy(np.stack([np.asarray(image(number)) for number in range(3 * SIZE)]))
        with torch.no_grad():
            pictures = clip.encode_image((pixels.permute(0, 3, 1, 2) / 255 - mean) / std, normalize=True).double().numpy()
            for row in rows:
                edit = edit_row(int(row["key"]))
                assert {name: row[name] for name in edit} == edit
                prompt, before = (
                    clip.encode_text(tokenize([edit["edit_prompt"], edit["caption"]]), normalize=True).double().numpy()
                )
                source, target = pictures[int(row["key"])], pictures[int(row["target_key"])]
                assert row["image_image"] == pytest.approx(source @ target, abs=1e-4)
                assert row["text_image"] == pytest.approx(prompt @ target, abs=1e-4)
                assert row["text_source"] == pytest.approx(prompt @ source, abs=1e-4)
                mean = 0.75 * source + 0.25 * prompt
                assert row["query"] == pytest.approx(mean / np.linalg.norm(mean) @ target, abs=1e-4)
                change, asked = target - source, prompt - before
                cosine = change @ asked / np.linalg.norm(change) / np.linalg.norm(asked)
                assert row["directional"] == pytest.approx(cosine, abs=1e-3)
        assert {row["split"] for row in rows} == {"training"}
        assert all(row["key"] != row["target_key"] for row in rows)
        assert len(load_file(PAIRS / "embeddings/00001.safetensors")["images"]) == SIZE

    def test_a_second_run_does_nothing_and_a_new_shard_is_embedded_alone(self, models, workplace):
        write_world(2)
        retrieve(params_for(models))
        assert counted("retrieve")[2:] == (2, 0)
        before = contents(PAIRS)
        embeddings = {name: entry for name, entry in before.items() if name.startswith("embeddings/")}
        retrieve(params_for(models))
        assert counted("retrieve")[2:] == (0, 2)
        again = contents(PAIRS)
        assert {name: data for name, (data, _) in again.items()} == {name: data for name, (data, _) in before.items()}
        assert again.items() >= embeddings.items()
        write_world(3)
        retrieve(params_for(models))
        assert counted("retrieve")[2:] == (1, 2)
        assert contents(PAIRS).items() >= embeddings.items()
        assert len(rows_of(PAIRS)) == 9

    def test_what_finds_no_target_is_counted_with_its_reason(self, models, workplace):
        write_world(2)
        retrieve(params_for(models, retrieve={"min_text_image": 1.0}))
        assert rows_of(PAIRS) == []
        assert read_json(Path("logs/retrieve.json"))["dropped"] == {"target does not show the edit prompt": 6}

    def test_an_image_alone_in_its_corpus_has_no_neighbour(self, models, workplace):
        write_shards(CORPUS, ".tar", 1, lambda path, _: write_corpus(path, [corpus_sample(0)]))
        write_shards(EDITS, ".parquet", 1, lambda path, _: write_table(path, [edit_row(0)], mutate.COLUMNS))
        retrieve(params_for(models))
        segment(params_for(models))
        assert rows_of(PAIRS) == samples_of(TRAINING) == []
        assert read_json(Path("logs/retrieve.json"))["dropped"] == {"no other image": 1}

    def test_an_edit_of_an_image_that_is_not_there_is_told_in_one_line(self, models, workplace):
        write_world(1)
        row = edit_row(0) | {"key": "x\x1b"}
        shutil.rmtree(EDITS)
        write_shards(EDITS, ".parquet", 1, lambda path, _: write_table(path, [row], mutate.COLUMNS))
        with pytest.raises(InputError, match=r"data/edits: key 'x\\x1b' is of no image in data/corpus"):
            retrieve(params_for(models))

    @pytest.mark.parametrize("column", ["caption", "edit_prompt", "relation"])
    def test_a_table_of_another_kind_is_told_with_its_column(self, models, workplace, column):
        write_world(1)
        table = pq.read_table(EDITS / "00000.parquet")
        pq.write_table(table.drop_columns([column]), EDITS / "00000.parquet")
        with pytest.raises(InputError, match=rf"data/edits/00000\.parquet: has no column {column}"):
            retrieve(params_for(models))

    def test_a_corpus_without_an_edit_has_no_pair(self, models, workplace):
        write_world(1)
        shutil.rmtree(EDITS)
        write_shards(EDITS, ".parquet", 1, lambda path, _: write_table(path, [], mutate.COLUMNS))
        retrieve(params_for(models))
        assert rows_of(PAIRS) == []

    def test_held_out_pairs_share_no_image_with_the_others(self, models, workplace):
        write_world(6)
        retrieve(params_for(models, retrieve={"held_out": 0.5, "max_uses": 1}))
        images = {"training": set(), "heldout": set()}
        for row in rows_of(PAIRS):
            images[row["split"]] |= {row["key"], row["target_key"]}
        assert not images["training"] & images["heldout"]
        splits = [row["split"] for row in rows_of(PAIRS)]
        assert 0 < splits.count("heldout") <= len(splits) / 2


class TestSegment:
    def prepare(self, models, shards: int = 2, **changes) -> Params:
        write_world(shards)
        params = params_for(models, **changes)
        retrieve(params)
        segment(params)
        return params

    def test_samples_hold_their_pair_and_its_masks(self, models, workplace):
        self.prepare(models)
        pairs, samples = rows_of(PAIRS), samples_of(TRAINING)
        assert [sample.key for sample in samples] == [row["key"] for row in pairs]
        for sample, row in zip(samples, pairs, strict=True):
            source, target = int(row["key"]), int(row["target_key"])
            assert sample.source.tobytes() == image(source).tobytes()
            assert sample.target.tobytes() == image(target).tobytes()
            assert (sample.source_caption, sample.edit_prompt) == (row["caption"], row["edit_prompt"])
            assert (sample.source_diff, sample.target_diff) == (row["source_diff"], row["target_diff"])
            assert sample.target_alt_text == f"IMG {target}"
            assert sample.metadata["target_key"] == row["target_key"]
            assert sample.metadata["relation"] == "co-hyponym"
            assert all(sample.metadata[name] == pytest.approx(row[name], abs=1e-6) for name in SCORES)
            asked = (("source", sample.source_mask, source), ("target", sample.target_mask, target))
            for side, mask, number in asked:
                found = np.asarray(mask)
                assert set(np.unique(found)) <= {0, 255}
                assert sample.metadata[f"{side}_mask_area"] == pytest.approx((found > 0).mean(), abs=1e-6)
                probabilities = masks_of(models, image(number), row[f"{side}_diff"])
                sure = np.abs(probabilities - models.threshold) > 1e-5
                np.testing.assert_array_equal((found > 0)[sure], (probabilities >= models.threshold)[sure])
        areas = [sample.metadata["source_mask_area"] for sample in samples]
        assert any(0 < area < 1 for area in areas)

    def test_true_targets_are_refused_where_there_are_none(self, models):
        folder = {"kind": "folder", "path": "photos"}
        with pytest.raises(InputError, match=r"^segment\.targets = 'rendered': .*allowed is 'retrieved'$"):
            segment(params_for(models, segment={"targets": "rendered"}, ingest={"source": folder}))

    def test_masks_too_small_or_too_large_are_dropped_and_counted(self, models, workplace):
        self.prepare(models)
        areas = {
            each.key: (each.metadata["source_mask_area"], each.metadata["target_mask_area"]) for each in samples_of(TRAINING)
        }
        low, high = np.quantile([area for pair in areas.values() for area in pair], [0.25, 0.8]).tolist()
        segment(params_for(models, segment={"min_area": low, "max_area": high}))
        kept = [key for key, pair in areas.items() if all(low <= area <= high for area in pair)]
        assert 0 < len(kept) < len(areas)
        assert [sample.key for sample in samples_of(TRAINING)] == kept
        counts = read_json(Path("logs/segment.json"))
        assert counts["done"] == len(kept)
        assert sum(counts["dropped"].values()) == len(areas) - len(kept)
        small = sum(pair[0] < low or (pair[0] <= high and pair[1] < low) for pair in areas.values())
        assert sum(count for reason, count in counts["dropped"].items() if "min_area" in reason) == small

    @pytest.mark.parametrize(("threshold", "reason"), [(1.0, "empty or below"), (0.0, "full or above")])
    def test_empty_and_full_masks_are_dropped_whatever_the_limits(self, models, workplace, threshold, reason):
        self.prepare(models, segment={"threshold": threshold, "min_area": 0.0, "max_area": 1.0})
        assert samples_of(TRAINING) == []
        side = {"empty or below": "min_area", "full or above": "max_area"}[reason]
        assert read_json(Path("logs/segment.json"))["dropped"] == {f"source mask {reason} segment.{side}": 6}

    def test_pairs_of_another_kind_are_told_with_their_column(self, models, workplace):
        self.prepare(models)
        table = pq.read_table(PAIRS / "00000.parquet")
        place = table.column_names.index("query")
        pq.write_table(table.set_column(place, "query", table["query"].cast("float64")), PAIRS / "00000.parquet")
        with pytest.raises(InputError, match=r"data/pairs/00000\.parquet: column query is double, must be float32"):
            segment(params_for(models))

    def test_a_target_that_is_not_there_is_told_in_one_line(self, models, workplace):
        self.prepare(models)
        rows = read_table(PAIRS / "00000.parquet", PAIR_COLUMNS)
        rows[0]["target_key"] = "elsewhere"
        write_table(PAIRS / "00000.parquet", rows, PAIR_COLUMNS)
        with pytest.raises(InputError, match="the corpus has no image 'elsewhere'"):
            segment(params_for(models))

    def test_held_out_pairs_go_to_their_own_folder(self, models, workplace):
        self.prepare(models, 6, retrieve={"held_out": 0.5, "max_uses": 1})
        wanted = {"training": set(), "heldout": set()}
        for row in rows_of(PAIRS):
            wanted[row["split"]].add(row["key"])
        assert wanted["heldout"]
        assert {sample.key for sample in samples_of(TRAINING)} == wanted["training"]
        assert {sample.key for sample in samples_of(HELD_OUT)} == wanted["heldout"]

    def test_a_second_run_does_nothing(self, models, workplace):
        params = self.prepare(models)
        before = contents(TRAINING)
        segment(params)
        assert counted("segment") == (0, 6, 0, 2)
        assert contents(TRAINING) == before

    def test_only_shards_with_other_pairs_are_done(self, models, workplace):
        params = self.prepare(models)
        path = PAIRS / "00001.parquet"
        rows = read_table(path, PAIR_COLUMNS)
        rows[0]["target_diff"] = "a purple hen"  # of the same images
        write_table(path, rows, PAIR_COLUMNS)
        segment(params)
        assert counted("segment") == (3, 3, 1, 1)
        assert [sample.target_diff for sample in samples_of(TRAINING)][3] == "a purple hen"


HOSTILE = ' <script src="//evil.example">\x1b[2J\x9b31m\x00</script>\n../../../etc/passwd'


def test_train_and_evaluate(models, workplace, capsys):
    write_world(2)
    for path, first in ((EDITS / "00000.parquet", 0), (EDITS / "00001.parquet", SIZE)):
        rows = [edit_row(number) for number in range(first, first + SIZE, 2)]
        words = ("caption", "edit_prompt", "source_diff", "target_diff")
        write_table(path, [row | {name: row[name] + HOSTILE for name in words} for row in rows], mutate.COLUMNS)
    params = params_for(models)
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    for stage in (retrieve, segment, train, instruct, evaluate):
        stage(params)

    metrics = json.loads(Path("reports/latest/metrics.json").read_text())
    assert metrics["cases"] == 4
    assert set(metrics["systems"]) == {"sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m"}
    assert str(workplace) not in Path("reports/latest/metrics.json").read_text()
    cases = samples_of(TRAINING)[:4]
    predicted = [masks_of(models, case.source, case.target_diff) >= models.threshold for case in cases]
    assert all(mask.any() for mask in predicted)
    true = [np.asarray(case.source_mask) > 0 for case in cases]
    overlap = [(one & other).sum() / (one | other).sum() for one, other in zip(true, predicted, strict=True)]
    found = metrics["predicted_masks"]
    assert found["true_area"] == pytest.approx(np.mean(true), abs=1e-6)
    assert found["area"] == pytest.approx(np.mean(predicted), abs=1e-3)
    assert found["miou"] == pytest.approx(np.mean(overlap), abs=5e-3)
    client = store.connect()
    version = client.get_model_version("iedit", "1")
    evaluated = client.get_run(version.run_id).data.metrics
    for system, scores in metrics["systems"].items():
        for name, value in scores.items():
            assert evaluated.get(f"evaluate/{system}/{name}") == (None if value is None else pytest.approx(value))
    written = {path.relative_to("reports/latest").as_posix() for path in Path("reports/latest").rglob("*") if path.is_file()}
    assert {"pairs.csv", "pairs.md", "claims.md"} <= written
    seconds = read_json(Path("logs/seconds_per_edit.json"))
    assert all(seconds[system] > 0 for system in metrics["systems"])
    assert evaluated["evaluate/iedit_m/seconds_per_edit"] == seconds["iedit_m"]
    assert {"metrics.json", "cases.csv", "report.html", "sheet.png", "samples/source.png", "samples/edit.json"} <= written
    assert read_json(Path("reports/latest/samples/edit.json"))["prompt"] == samples_of(TRAINING)[0].edit_prompt

    told = {"terminal": "".join(capsys.readouterr()).encode()}  # what was in the captions is words in all that is read
    files = [path for folder in ("reports", "logs", "mlruns", "models") for path in Path(folder).rglob("*") if path.is_file()]
    told |= {str(path): path.read_bytes() for path in files if path.suffix not in (".png", ".webp", ".safetensors")}
    assert {".html", ".json", ".csv", ".md", ".yaml"} <= {path.suffix for path in files}
    with closing(sqlite3.connect("mlflow.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in tables for row in database.execute(f'SELECT * FROM "{name}"')]
    told["mlflow.db"] = "\n".join(str(value) for row in rows for value in row).encode()
    assert b"train.losses.noise" in told["mlflow.db"]
    assert [name for name, text in told.items() if "mlruns" in name and b"evil.example" in text]  # there the example is kept
    marks = [b"\x1b", b"\\u001b", b"\x00", b"\\u0000", "\x9b".encode(), b"\\u009b"]
    assert [(name, mark) for name, text in told.items() for mark in marks if mark in text] == []
    assert b"evil.example" in told["reports/latest/report.html"]
    assert b"<script" not in told["reports/latest/report.html"]
    ours = {"data", "logs", "models", "reports", "mlruns", "mlflow.db", "params.yaml"}
    assert {path.name for path in workplace.iterdir()} <= ours

    before, kept = Path("reports/latest").rename("before"), contents(EDITED)
    shutil.copytree(EDITED / "sdedit", EDITED / "of a system that was compared once")
    evaluate(params)
    assert {name for name in written if (before / name).read_bytes() != Path("reports/latest", name).read_bytes()} == set()
    assert contents(EDITED) == kept
    assert counted("evaluate") == (0, 24, 0, 12)  # the five, and SDEdit at the strength of iEdit-M

    evaluate(params_for(models, evaluate={"max_cases": 3}))  # of the two batches of three, the second goes
    assert counted("evaluate") == (0, 18, 0, 6)
    shutil.rmtree("models/iedit")
    shutil.copytree(models.diffusion.name, "models/iedit")  # another model in the same place: the base itself
    write_json(Path("models/iedit/iedit.json"), {"sampling": params.sampling.model_dump()})
    evaluate(params)
    assert counted("evaluate") == (12, 12, 8, 4)
    others = ("masks/", "sdedit", "inpainting/", "instruct_pix2pix/")
    alike = {name: data for name, (data, _) in kept.items() if name.startswith(others)}
    assert {name: data for name, (data, _) in contents(EDITED).items() if name in alike} == alike
    again = read_json(Path("reports/latest/metrics.json"))["systems"]
    assert again["sdedit"] == again["iedit"] == metrics["systems"]["sdedit"]

    fewer = params_for(models, evaluate={"max_cases": 2})  # another evaluation set: the champion is evaluated on it first
    client.set_registered_model_alias("iedit", "champion", "1")  # whichever of the two was better
    champion = current_champion()
    assert champion.version == "1"
    evaluate(fewer)
    standard = current_standard(fewer)
    kept = load_scores(client, champion.model_id, standard.evaluation_set, standard.cases)
    with Path("before/cases.csv").open(newline="") as file:
        own = [row for row in csv.DictReader(file) if row["system"] == "iedit_m"][:2]
    for name in LABELS:
        np.testing.assert_allclose(kept[name], [float(row[name]) for row in own], rtol=1e-3)


class TestRun:
    """How a stage ends, whatever it does."""

    @pytest.fixture(autouse=True)
    def small(self, workplace, monkeypatch) -> None:
        monkeypatch.setattr(process, "read_params", lambda: SimpleNamespace(threads=1))
        monkeypatch.setattr(process, "on_interrupt", lambda _: None)

    def end(self, stage) -> int:
        with pytest.raises(SystemExit) as ended:
            process.run(stage)
        return ended.value.code

    def test_of_errors_only_a_full_disk_is_told_in_a_line(self, capsys):
        def stage(_):
            raise OSError(error, os.strerror(error), "a/file")

        error = errno.ENOSPC
        assert self.end(stage) == 3
        told = "error: [Errno 28] No space left on device: 'a/file'; what is whole is kept, make room and run again\n"
        assert capsys.readouterr().err == told
        error = errno.EACCES
        with pytest.raises(PermissionError):
            process.run(stage)

    def test_an_interrupt_is_told_in_a_line(self, capsys):
        def stage(_):
            raise KeyboardInterrupt

        assert self.end(stage) == 130
        assert capsys.readouterr().err == "error: interrupted; what is whole is kept, the next run resumes from there\n"

    def test_temporary_files_lie_in_the_project_and_go(self):
        def stage(_):
            assert list(process.TEMPORARY.iterdir()) == []
            descriptor, name = tempfile.mkstemp()
            os.close(descriptor)
            assert Path(name).parent == process.TEMPORARY.absolute()

        (process.TEMPORARY / "of a stage that was killed").mkdir(parents=True)
        outside = tempfile.gettempdir()
        assert self.end(stage) == 0
        assert not process.TEMPORARY.exists()
        assert tempfile.gettempdir() == outside

    @pytest.mark.parametrize("variable", [None, "/var/tmp"])
    def test_temporary_files_of_what_a_stage_starts_lie_there_too(self, monkeypatch, variable):
        def stage(_):
            code = "import tempfile; print(tempfile.gettempdir())"
            told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            assert told.strip() == str(process.TEMPORARY.absolute())

        monkeypatch.delenv("TMPDIR", raising=False)
        if variable is not None:
            monkeypatch.setenv("TMPDIR", variable)
        assert self.end(stage) == 0
        assert os.environ.get("TMPDIR") == variable

    def test_temporary_files_of_the_second_process_are_its_own(self, monkeypatch):
        def stage(_):
            assert (process.TEMPORARY / "of the first process").exists()
            assert Path(tempfile.mkdtemp()).parent == own.absolute()

        own = process.TEMPORARY.with_name("tmp-1")
        (own / "of a stage that was killed").mkdir(parents=True)
        (process.TEMPORARY / "of the first process").mkdir(parents=True)
        monkeypatch.setenv("RANK", "1")
        assert self.end(stage) == 0
        assert (process.TEMPORARY / "of the first process").exists()
        assert not own.exists()


def test_claims_compare_with_sdedit_at_the_same_strength_and_its_own_guidance(models):
    values = params_for(models, sampling={"strength": 1.0, "guidance_scale": 3.0}).model_dump(mode="json")
    values["evaluate"]["systems"]["iedit"] = {"strength": 0.5, "guidance_scale": 2.0}
    params = Params.model_validate(values)
    editor = Editor(load_diffusion(models.diffusion))
    known = dict.fromkeys(("base", "instructed", "tuned"), "")
    everything = Models(base=editor, instructed=editor.diffusion, tuned=editor, identities=known)
    chosen = chosen_systems(everything, params)
    settings = ("strength", "guidance_scale")
    shown = {name: tuple(chosen[name].settings[key] for key in settings) for name in chosen if "sdedit" in name}
    assert shown == {"sdedit": (0.7, 4.0), "sdedit_as_iedit": (0.5, 4.0), "sdedit_as_iedit_m": (1.0, 4.0)}
    assert chosen["sdedit_as_iedit_m"].masks is None


@pytest.mark.parametrize("stage", [train, evaluate])
def test_store_that_is_not_there_is_told_before_any_work(models, workplace, monkeypatch, stage):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the port of the discard service: nobody listens
    write_world(1)
    retrieve(params_for(models))
    segment(params_for(models))
    before = contents(workplace)
    monkeypatch.setattr("stages.__main__.on_interrupt", lambda _: None)
    started = time.monotonic()
    with pytest.raises(InputError, match="tracking server"):
        stage_named(stage.__name__)(params_for(models))
    assert time.monotonic() - started < 10
    assert {name for name in contents(workplace) if contents(workplace)[name] != before.get(name)} == set()


@pytest.mark.parametrize(("stage", "role"), [(train, "vgg"), (evaluate, "judge")])
def test_model_that_is_not_there_is_told_before_any_work(models, workplace, stage, role):
    write_world(1)
    params = params_for(models, **{stage.__name__: {role: {"name": "nowhere"}}})
    retrieve(params)
    segment(params)
    with pytest.raises(InputError, match=rf"^{stage.__name__}\.{role}\.name = 'nowhere': neither a folder nor a hub id"):
        stage(params)
    assert not Path("models").exists()
    assert not Path("reports").exists()


class TestToldBeforeAnyWork:
    """What is damaged is found by reading all of it first, not when it is needed after hours of work."""

    @pytest.fixture
    def pairs(self, models, workplace) -> Params:
        """The training set, and a model and losses as if train had left the base as it is."""
        write_world(1)
        params = params_for(models)
        Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
        retrieve(params)
        segment(params)
        shutil.copytree(models.diffusion.name, "models/iedit")
        shutil.copytree(models.diffusion.name, "models/instruct_pix2pix")
        names = ["step", *chain(*PANELS.values())]
        Path("models/losses.csv").write_text(f"{','.join(names)}\n{','.join('1' for _ in names)}\n")
        return params

    @pytest.fixture(autouse=True)
    def work(self, monkeypatch) -> None:
        def begun(*_, **__):
            pytest.fail("the work was begun")

        monkeypatch.setattr("stages.editing.editor.Editor.edit_batch", begun)
        monkeypatch.setattr("stages.comparison.systems.StableDiffusionInstructPix2PixPipeline.__call__", begun)
        monkeypatch.setattr("stages.training.dataset.encode_training_set", begun)

    @pytest.mark.parametrize(
        ("stage", "role", "file"),
        [
            (train, "vgg", "model.safetensors"),
            (train, "clip", "open_clip_config.json"),
            (evaluate, "judge", "open_clip_model.safetensors"),
            (evaluate, "vgg", "model.safetensors"),
            (evaluate, "segmenter", "config.json"),
            (evaluate, "base", "vae/config.json"),
        ],
    )
    def test_a_damaged_model(self, models, pairs, tmp_path, stage, role, file):
        section = getattr(pairs, stage.__name__)
        damaged = shutil.copytree(getattr(section, role).name, tmp_path / "damaged")
        (damaged / file).write_bytes((damaged / file).read_bytes()[:-9])
        params = params_for(models, **{stage.__name__: {role: {"name": "damaged"}}})
        with pytest.raises(InputError, match=rf"^{stage.__name__}\.{role}\.name = 'damaged': "):
            stage(params)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, r"missing or damaged: .*No such file"),
            ("step,total\n1\n", "missing or damaged"),
            ("step,total\n1,2,3\n", "missing or damaged"),
            ("step,total\n1,x\n", "missing or damaged: could not convert string to float: 'x'"),
            ("step\n\udcff\n", "missing or damaged"),
            ("", "no gradient_norm of any step"),
            ("step,gradient_norm\n1,2\n", "no raw/global_clip of any step"),
        ],
    )
    def test_damaged_losses(self, pairs, content, told):
        losses = Path("models/losses.csv")
        losses.unlink() if content is None else losses.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match=rf"^models/losses\.csv: {told}.*; run the stage train$"):
            evaluate(pairs)

    def test_a_damaged_training_pair_and_sidecar(self, pairs):
        for path in (TRAINING / "00000.tar", PAIRS / "00000.done.json"):
            before = path.read_bytes()
            path.write_bytes(before[: len(before) // 2])
            with pytest.raises(InputError, match=rf"^{path}: "):
                evaluate(pairs)
            path.write_bytes(before)

    def test_no_case(self, pairs):
        with pytest.raises(InputError, match=r"^evaluate\.cases = 'data/heldout': holds no case; raise retrieve\.held_out"):
            evaluate(pairs.model_copy(update={"evaluate": pairs.evaluate.model_copy(update={"cases": "data/heldout"})}))

    @pytest.mark.parametrize("metadata", [{}, {"relation": ["noun"]}])
    def test_a_case_without_its_relation(self, pairs, metadata):
        cases = [replace(case, metadata=metadata) for case in samples_of(TRAINING)]
        write_shards(TRAINING, ".tar", 1, lambda path, _: write_edits(path, cases))
        with pytest.raises(InputError, match=r"^data/training/00000\.tar: sample 000000000: metadata has no relation$"):
            evaluate(pairs)
