"""Stage retrieve: the pairs it writes, why edits are dropped, and what a second run remakes."""

import shutil
from dataclasses import replace
from itertools import groupby

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.paths import CORPUS, EDITS, LOGS, PAIRS, TRAINING_SET
from stages.core.shards import read_counts
from stages.corpus.shard import shard_of
from stages.pairing.embeddings import divide
from stages.retrieve import TABLE, retrieve
from stages.segment import segment
from tests.support.corpora import write_shards_of
from tests.support.tiny_corpus import (
    SHARD_SIZE,
    contents,
    counted,
    dropped,
    edit_row,
    image,
    key_for,
    number_of,
    params_for,
    rows_of,
    samples_of,
    tiny_sample,
    write_edit_rows,
    write_tiny_corpus,
    write_world,
)
from tests.support.workers import PROCESSES, RAY

KINDS = ("images", "texts", "facts")  # files of a shard's embeddings; one that changes makes all of its shard anew


def test_pairs_carry_their_edit_and_their_cosines(models, workplace):
    """Against open_clip itself, one pair at a time in float64."""
    write_world(3)
    retrieve(params_for(models))
    rows = rows_of(PAIRS)
    assert [row["key"] for row in rows] == [key_for(number) for number in range(0, 3 * SHARD_SIZE, 2)]
    clip = open_clip.create_model(f"local-dir:{models.clip.name}").eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{models.clip.name}")
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (clip.visual.image_mean, clip.visual.image_std))
    pixels = torch.from_numpy(np.stack([np.asarray(image(number)) for number in range(3 * SHARD_SIZE)]))
    with torch.no_grad():
        pictures = clip.encode_image((pixels.permute(0, 3, 1, 2) / 255 - mean) / std, normalize=True).half().double().numpy()
        for row in rows:
            edit = edit_row(number_of(row["key"]))
            assert {name: row[name] for name in edit} == edit
            words = tokenize([edit["edit_prompt"], edit["caption"]])
            prompt, before = clip.encode_text(words, normalize=True).half().double().numpy()
            source, target = pictures[number_of(row["key"])], pictures[number_of(row["target_key"])]
            assert row["image_image"] == pytest.approx(source @ target, abs=1e-4)
            assert row["text_image"] == pytest.approx(prompt @ target, abs=1e-4)
            assert row["text_source"] == pytest.approx(prompt @ source, abs=1e-4)
            query = 0.75 * source + 0.25 * prompt
            assert row["query"] == pytest.approx(query / np.linalg.norm(query) @ target, abs=1e-4)
            change, asked = target - source, prompt - before
            cosine = change @ asked / np.linalg.norm(change) / np.linalg.norm(asked)
            assert row["directional"] == pytest.approx(cosine, abs=1e-3)
    assert {row["split"] for row in rows} == {"training"}
    assert all(row["key"] != row["target_key"] for row in rows)
    embeddings = load_file(PAIRS / "embeddings/00001.images.safetensors")["embeddings"]
    assert (embeddings.shape[0], embeddings.dtype) == (SHARD_SIZE, np.float16)


def test_pairs_of_small_shards_share_tables(models, workplace):
    write_world(9)
    retrieve(params_for(models))
    apart = rows_of(PAIRS)
    assert len(list(PAIRS.glob("*.parquet"))) == 9
    for _ in range(2):  # the second time nothing is written
        retrieve(params_for(models, ingest={"shard_size": TABLE - 1}))
        assert rows_of(PAIRS) == apart
        tables = [path.stem for path in sorted(PAIRS.glob("*.parquet"))]
        assert tables == [group[0] for group in divide([f"{number:05d}" for number in range(9)], 2)]
        assert 1 < len(tables) < 9
    segment(params_for(models))
    assert [sample.key for sample in samples_of(TRAINING_SET)] == [row["key"] for row in apart]


def test_a_second_run_embeds_only_a_new_shard(models, workplace):
    write_world(2)
    retrieve(params_for(models))
    assert counted("retrieve") == (6, 0, 2, 0)
    before = contents(PAIRS)
    embeddings = {name: entry for name, entry in before.items() if name.startswith("embeddings/")}
    retrieve(params_for(models))
    assert counted("retrieve") == (0, 6, 0, 2)
    again = contents(PAIRS)
    assert {name: data for name, (data, _) in again.items()} == {name: data for name, (data, _) in before.items()}
    assert again.items() >= embeddings.items()
    assert all(again[name] == before[name] for name in before if name != "counts.json")
    write_world(3)
    retrieve(params_for(models))
    done, reused, *shards = counted("retrieve")
    assert (done + reused, shards) == (9, [1, 2])
    assert done >= 3
    assert contents(PAIRS).items() >= embeddings.items()
    assert len(rows_of(PAIRS)) == 9


def test_another_alt_text_changes_the_tables_of_its_picture_alone(models, workplace):
    """The text is in no embedding and in no index; and it is the last of its tar, so no other picture moves."""
    params, numbers = params_for(models, retrieve={"max_uses": 1}), range(4 * SHARD_SIZE)
    write_world(4)
    retrieve(params)
    before, rows = contents(PAIRS), rows_of(PAIRS)
    target = max(row["target_key"] for row in rows if number_of(row["target_key"]) % SHARD_SIZE == SHARD_SIZE - 1)
    samples = [tiny_sample(number) for number in numbers]
    samples = [replace(each, alt_text="another") if each.key == target else each for each in samples]
    write_shards_of(CORPUS, {shard: list(each) for shard, each in groupby(samples, lambda each: shard_of(each.key))})
    retrieve(params)
    after = contents(PAIRS)
    changed = {name for name in after if after[name] != before[name] and not name.endswith(".done.json")}
    (pair,) = (row for row in rows if row["target_key"] == target)
    assert changed == {f"embeddings/{shard_of(target)}.{kind}.safetensors" for kind in KINDS} | {
        f"{shard_of(pair['key'])}.parquet"
    }
    shutil.rmtree(PAIRS)
    retrieve(params)
    assert {name: each for name, (each, _) in contents(PAIRS).items()} == {name: each for name, (each, _) in after.items()}


@pytest.mark.exhaustive
@pytest.mark.parametrize("execution", [PROCESSES, RAY], ids=["processes", "ray"])
def test_every_engine_writes_the_same_bytes(models, workplace, execution):
    params = params_for(models, retrieve={"held_out": 0.5, "max_uses": 1})
    write_world(4)
    retrieve(params)
    alone, counts = contents(PAIRS), counted("retrieve")
    shutil.rmtree(PAIRS)
    retrieve(params.model_copy(update={"execution": execution}))
    assert {name: each for name, (each, _) in contents(PAIRS).items()} == {name: each for name, (each, _) in alone.items()}
    assert counted("retrieve") == counts


def test_edits_without_a_target_are_counted_by_reason(models, workplace):
    write_world(2)
    retrieve(params_for(models, retrieve={"min_text_image": 1.0}))
    assert rows_of(PAIRS) == []
    assert dropped("retrieve") == {"target does not show the edit prompt": 6}
    assert read_counts(PAIRS) == {"test": {}, "retrieve": dropped("retrieve")}


def test_an_image_alone_in_its_corpus_has_no_neighbour(models, workplace):
    write_tiny_corpus([0])
    write_edit_rows([edit_row(0)])
    retrieve(params_for(models))
    segment(params_for(models))
    assert rows_of(PAIRS) == samples_of(TRAINING_SET) == []
    assert dropped("retrieve") == {"no other image": 1}


def test_an_edit_of_a_missing_image_is_an_error(models, workplace):
    write_world(1)
    shutil.rmtree(EDITS)
    write_edit_rows([edit_row(0) | {"key": "x\x1b"}])
    with pytest.raises(InputError, match=r"data/edits/00000\.parquet: no image of the corpus has the key 'x\\x1b'"):
        retrieve(params_for(models))


@pytest.mark.parametrize("column", ["caption", "edit_prompt", "relation"])
def test_a_missing_column_is_an_error(models, workplace, column):
    write_world(1)
    table = pq.read_table(EDITS / "00000.parquet")
    pq.write_table(table.drop_columns([column]), EDITS / "00000.parquet")
    with pytest.raises(InputError, match=rf"data/edits/00000\.parquet: has no column {column}"):
        retrieve(params_for(models))


def test_a_corpus_without_an_edit_has_no_pair(models, workplace):
    write_world(1)
    shutil.rmtree(EDITS)
    write_edit_rows([])
    retrieve(params_for(models))
    assert rows_of(PAIRS) == []


def test_held_out_pairs_share_no_image_with_training_pairs(models, workplace):
    write_world(6)
    retrieve(params_for(models, retrieve={"held_out": 0.5, "max_uses": 1}))
    images = {"training": set(), "heldout": set()}
    for row in rows_of(PAIRS):
        images[row["split"]] |= {row["key"], row["target_key"]}
    assert not images["training"] & images["heldout"]
    splits = [row["split"] for row in rows_of(PAIRS)]
    assert 0 < splits.count("heldout") <= len(splits) / 2


@pytest.mark.parametrize(
    "changes",
    [{}, *(pytest.param(each, marks=pytest.mark.exhaustive) for each in ({"index": "IVF2,SQfp16"}, {"pool_shards": 1}))],
)
def test_growth_and_removal_give_the_bytes_of_one_run(models, workplace, changes):
    params = params_for(models, retrieve={"max_uses": 1, "held_out": 0.5} | changes)
    wanted = {}
    for shards in (2, 3):
        write_world(shards)
        retrieve(params)
        wanted[shards] = {name: data for name, (data, _) in contents(PAIRS).items()}
        shutil.rmtree(PAIRS)
    assert wanted[2] != wanted[3]
    for shards in (2, 3, 2):
        write_world(shards)
        retrieve(params)
        assert {name: data for name, (data, _) in contents(PAIRS).items()} == wanted[shards]


def test_targets_stand_in_the_pool_of_their_edit(models, workplace):
    write_world(3)
    retrieve(params_for(models, retrieve={"pool_shards": 1}))
    pools = {(shard_of(row["key"]), shard_of(row["target_key"])) for row in rows_of(PAIRS)}
    assert all(abs(int(one) - int(other)) <= 1 for one, other in pools)
    assert len(list((PAIRS / "indexes").glob("*.faiss"))) > 1


def test_recall_is_logged(models, workplace):
    write_world(2)
    retrieve(params_for(models))
    counts = read_json(LOGS / "retrieve.json")
    assert (counts["recall at 1"], counts["recall at 20"]) == (1.0, 1.0)
