"""A benchmark from its folder to its table, with tiny models."""

import csv
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from stages.benchmarks import judged, metrics
from stages.benchmarks.catalogue import BENCHMARKS
from stages.benchmarks.run import MADE_CASES, first_cases, run_benchmark
from stages.core.errors import InputError
from stages.core.files import folder_digest
from stages.editing.batch_editor import BatchEditor
from stages.models.clip import load_clip
from stages.models.tensors import to_tensor
from stages.report.contact_sheet import HEADER, LINE, MARGIN
from stages.report.pictures import thumbnail
from tests.support.benchmark_folders import edit_bench, magic_brush, own
from tests.support.compared import copy_trained_models
from tests.support.judges import saved_lpips, their_lpips, tiny_dino
from tests.support.tiny_corpus import params_for

SYSTEMS = ("sdedit", "iedit_m")


@pytest.fixture
def judges(workplace) -> dict[str, dict[str, str]]:
    """All models that measure besides CLIP, as params.yaml names them."""
    named = {
        "structure": tiny_dino(workplace / "structure"),
        "dino": tiny_dino(workplace / "dino", patch=16),
        "lpips": saved_lpips(their_lpips(), workplace / "lpips"),
    }
    return {role: {"name": model.name} for role, model in named.items()}


@pytest.fixture
def params_with(models, workplace):
    """Return parameters of tiny models with these models that measure, besides CLIP."""
    copy_trained_models(models)
    nothing = dict.fromkeys(("structure", "dino", "lpips"))
    return lambda judges=nothing: params_for(
        models, ingest={"size": 32}, evaluate={"batch": 2}, benchmark={"clip": None, **judges}
    )


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_made_benchmark_has_every_column_and_the_same_bytes_twice(params_with, judges, workplace):
    params = params_with(judges)
    text = run_benchmark("made", None, params, systems=SYSTEMS, limit=6, out=workplace / "out")
    assert text == (workplace / "out" / "table.md").read_text()
    columns = ("Structure distance ×1000 ↓", "PSNR ↑", "LPIPS ×1000 ↓", "MSE ×10000 ↓", "SSIM ×100 ↑", "CLIP whole ↑")
    assert f"| System | {' | '.join(columns)} | CLIP edited ↑ |" in text
    assert "| SDEdit |" in text
    assert "n = 6 cases." in text
    assert "–" not in text.split("\n\n")[1]
    rows = rows_of(workplace / "out" / "cases.csv")
    assert len(rows) == 12
    measures = (*BENCHMARKS["made"].measures, *BENCHMARKS["made"].others)
    assert all(math.isfinite(float(row[measure.key])) for row in rows for measure in measures)
    assert Image.open(workplace / "out" / "sheet.png").height > 6 * 192
    run_benchmark("made", None, params, systems=SYSTEMS, limit=6, out=workplace / "again")
    assert folder_digest(workplace / "again") == folder_digest(workplace / "out")


def test_without_a_model_its_columns_are_empty_and_named(params_with, workplace):
    own(workplace / "own")
    text = run_benchmark("folder", workplace / "own", params_with(), systems=["sdedit"], limit=None, out=workplace / "out")
    assert "| SDEdit | – |" in text
    assert "no model is named for Structure distance, LPIPS." in text
    assert "Undefined, and left out: PSNR 1, MSE 1, SSIM 1." in text  # of the case whose whole picture may change
    (row,) = (row for row in rows_of(workplace / "out" / "table.csv") if row["metric"] == "psnr")
    assert (row["cases"], row["undefined"]) == ("2", "1")


def test_magic_brush_scores_all_turns_or_last_turns(params_with, judges, workplace, capsys):
    folder, params = magic_brush(workplace / "magic_brush"), params_with(judges)
    found = {}
    for name in ("magic-brush", "magic-brush-multi"):
        text = run_benchmark(name, folder, params, systems=["sdedit"], limit=None, out=workplace / name)
        assert "| System | L1 ↓ | L2 ↓ | CLIP-I ↑ | DINO ↑ | CLIP-T ↑ |" in text
        found[name] = {row["case"]: row for row in rows_of(workplace / name / "cases.csv")}
    single, multi = found.values()
    assert (set(single), set(multi)) == ({"7/1", "7/2", "8/1"}, {"7/2", "8/1"})
    assert single["8/1"] == multi["8/1"]
    assert single["7/2"] != multi["7/2"]
    lines = capsys.readouterr().err
    for edits in (3, 2):
        assert re.search(rf"score: 100%\|[^\r\n]* {edits}/{edits} \[[^\r\n]*(edit/s|s/edit)\]", lines)
    (first, *_), place = BENCHMARKS["magic-brush"].read(folder), (MARGIN, HEADER + LINE)
    start = thumbnail(first.at(32).sample.source)  # what every system was given, and not what a person made of it
    box = (*place, place[0] + start.width, place[1] + start.height)
    assert Image.open(workplace / "magic-brush-multi" / "sheet.png").crop(box).tobytes() == start.tobytes()


def test_clip_t_compares_with_what_changed(params_with, workplace, monkeypatch):
    along, across = torch.eye(2)
    monkeypatch.setattr(judged, "embed_for_clip", lambda *_: along)
    monkeypatch.setattr(judged.Judges, "embed_text", lambda _, text: along if text.startswith("change") else across)
    folder, out = magic_brush(workplace / "magic_brush"), workplace / "out"
    run_benchmark("magic-brush", folder, params_with(), systems=["sdedit"], limit=1, out=out)
    (row,) = rows_of(out / "cases.csv")
    assert (float(row["clip_t"]), float(row["clip_t_global"])) == (1, 0)


def test_edit_bench_ranks_every_prompt_of_the_benchmark(params_with, workplace, monkeypatch):
    folder, out, params = edit_bench(workplace / "edit_bench"), workplace / "out", params_with()
    along, across = torch.eye(2)
    first = "a red cup in a natural kitchen"
    embeddings = dict.fromkeys([case.prompt for case in BENCHMARKS["edit-bench"].read(folder)], across)
    embeddings[first] = torch.tensor([0.8, 0.6])
    monkeypatch.setattr(judged, "embed_for_clip", lambda *_: along)
    for closest, ranks in (
        (first, [1, 0, 0]),
        ("a tall red cup", [0, 0, 1]),
        ("a red cup in a generated kitchen", [0, 0, 0]),  # of a case beyond the limit
    ):
        found = embeddings | {closest: along}
        monkeypatch.setattr(judged.Judges, "embed_text", lambda _, text, found=found: found[text])
        text = run_benchmark("edit-bench", folder, params, systems=["inpainting"], limit=3, out=out)
        assert "| Inpainting (given masks) |" in text
        assert [float(row["r_precision"]) for row in rows_of(out / "cases.csv")] == ranks, closest


def test_scores_are_those_of_the_pictures(params_with, workplace, monkeypatch):
    seen = []
    original = judged.Judged.__post_init__
    monkeypatch.setattr(judged.Judged, "__post_init__", lambda self: (seen.append(self), original(self)))
    own(workplace / "own", "source,mask,prompt\na.png,mask.png,a red dog\n")
    run_benchmark("folder", workplace / "own", params_with(), systems=["sdedit"], limit=None, out=workplace / "out")
    (edit,) = seen
    assert edit.edit_image.size == edit.source_image.size == (64, 64)  # edited at 32
    inside = np.zeros((64, 64), bool)
    inside[16:32, 16:48] = True
    inside[[0, -1]] = inside[:, [0, -1]] = True
    region = to_tensor([Image.fromarray(np.uint8(~inside) * 255).convert("RGB")])[:, :1]
    (row,) = rows_of(workplace / "out" / "cases.csv")
    assert float(row["mse"]) == pytest.approx(metrics.mse_frame(edit.source, edit.edit, region), rel=1e-4)


def test_failed_edits_have_no_likeness_and_are_counted(params_with, judges, workplace, monkeypatch):
    def nothing(self, images, terms, source_terms, threshold):
        return torch.zeros(len(images), 1, images[0].height, images[0].width)

    monkeypatch.setattr(BatchEditor, "predict_masks", nothing)
    own(workplace / "own")
    text = run_benchmark("folder", workplace / "own", params_with(judges), systems=SYSTEMS, limit=None, out=workplace / "out")
    assert "Undefined, and left out: PSNR 1, LPIPS 1, MSE 1, SSIM 1. Failed edits, of 2: iEdit-M 2. A failed edit has" in text
    assert re.search(r"\| iEdit-M \| – \| – \| – \| – \| – \| [\d.]+ \| [\d.]+ \|", text)
    assert re.search(r"\| SDEdit \| [\d.]+ \| [\d.]+ ", text)
    rows = rows_of(workplace / "out" / "cases.csv")
    assert [row["failed"] for row in rows] == ["0", "0", "1", "1"]


def test_a_limit_keeps_what_follows_the_last_case(workplace):
    cases = BENCHMARKS["magic-brush-multi"].read(magic_brush(workplace))
    assert [case.key for case in first_cases(cases, 1)] == ["7/1", "7/2"]
    assert len(first_cases(cases, None)) == len(first_cases(cases, 9)) == 3
    assert MADE_CASES % 6 == 0


def test_a_missing_target_is_named(models, workplace):
    picture = Image.new("RGB", (64, 64))
    edit = judged.Judged(
        source_image=picture,
        edit_image=picture,
        mask=np.zeros((64, 64), bool),
        prompt="a dog",
        local_prompt="",
        prompts=("a dog",),
        target_image=None,
        judges=judged.Judges(names={}, clip=load_clip(models.judge)),
    )
    with pytest.raises(InputError, match="'a dog': the case has no target to compare with"):
        _ = edit.compared
