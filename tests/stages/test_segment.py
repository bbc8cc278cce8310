"""Stage segment: the samples of the training set, which pairs are dropped, and what a second run remakes."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.common.parquet import read_table, write_table
from stages.core.errors import InputError
from stages.core.paths import CORPUS, HELD_OUT, MASKS, PAIRS, TRAINING_SET
from stages.core.shards import read_counts
from stages.pairing.columns import PAIR_COLUMNS, SCORES
from stages.retrieve import retrieve
from stages.segment import segment
from stages.training.inputs import find_training_set
from tests.support.corpora import write_shards_of
from tests.support.tiny_corpus import (
    SHARD_SIZE,
    contents,
    counted,
    dropped,
    image,
    masks_of,
    number_of,
    params_for,
    rows_of,
    samples_of,
    tiny_sample,
    write_tiny_corpus,
    write_training_pairs,
    write_world,
)
from tests.support.workers import PROCESSES, RAY


def test_samples_hold_their_pair_and_its_masks(models, workplace):
    write_training_pairs(models, 2)
    pairs, samples = rows_of(PAIRS), samples_of(TRAINING_SET)
    assert [sample.key for sample in samples] == [row["key"] for row in pairs]
    for sample, row in zip(samples, pairs, strict=True):
        source, target = number_of(row["key"]), number_of(row["target_key"])
        assert sample.source.tobytes() == image(source).tobytes()
        assert sample.target.tobytes() == image(target).tobytes()
        assert (sample.source_caption, sample.edit_prompt) == (row["caption"], row["edit_prompt"])
        assert (sample.source_diff, sample.target_diff) == (row["source_diff"], row["target_diff"])
        assert sample.target_alt_text == f"IMG {target}"
        assert sample.metadata["target_key"] == row["target_key"]
        assert sample.metadata["relation"] == "co-hyponym"
        assert all(sample.metadata[name] == pytest.approx(row[name], abs=1e-6) for name in SCORES)
        for side, mask, number in (("source", sample.source_mask, source), ("target", sample.target_mask, target)):
            found = np.asarray(mask)
            assert set(np.unique(found)) <= {0, 255}
            assert sample.metadata[f"{side}_mask_area"] == pytest.approx((found > 0).mean(), abs=1e-6)
            probabilities = masks_of(models, image(number), row[f"{side}_diff"])
            sure = np.abs(probabilities - models.threshold) > 1e-5
            np.testing.assert_array_equal((found > 0)[sure], (probabilities >= models.threshold)[sure])
    areas = [sample.metadata["source_mask_area"] for sample in samples]
    assert any(0 < area < 1 for area in areas)


def test_rendered_targets_need_the_embedded_world(models):
    folder = {"kind": "folder", "path": "photos", "text": None}
    with pytest.raises(InputError, match=r"^segment\.targets = 'rendered': .*allowed is 'retrieved'$"):
        segment(params_for(models, segment={"targets": "rendered"}, ingest={"source": folder}))


def test_masks_too_small_or_large_are_dropped_and_counted(models, workplace):
    write_training_pairs(models, 2)
    areas = {
        each.key: (each.metadata["source_mask_area"], each.metadata["target_mask_area"]) for each in samples_of(TRAINING_SET)
    }
    low, high = np.quantile([area for pair in areas.values() for area in pair], [0.25, 0.8]).tolist()
    segment(params_for(models, segment={"min_area": low, "max_area": high}))
    kept = [key for key, pair in areas.items() if all(low <= area <= high for area in pair)]
    assert 0 < len(kept) < len(areas)
    assert [sample.key for sample in samples_of(TRAINING_SET)] == kept
    assert counted("segment")[0] == len(kept)
    assert sum(dropped("segment").values()) == len(areas) - len(kept)
    small = sum(pair[0] < low or (pair[0] <= high and pair[1] < low) for pair in areas.values())
    assert sum(count for reason, count in dropped("segment").items() if "min_area" in reason) == small


@pytest.mark.parametrize(("threshold", "reason"), [(1.0, "empty or below"), (0.0, "full or above")])
def test_empty_and_full_masks_are_dropped_within_any_limits(models, workplace, threshold, reason):
    write_training_pairs(models, 2, segment={"threshold": threshold, "min_area": 0.0, "max_area": 1.0})
    assert samples_of(TRAINING_SET) == []
    side = {"empty or below": "min_area", "full or above": "max_area"}[reason]
    assert dropped("segment") == {f"source mask {reason} segment.{side}": 6}
    assert read_counts(TRAINING_SET) == {"test": {}, "retrieve": {}, "masks": {}, "segment": dropped("segment")}
    assert read_counts(HELD_OUT) == {"test": {}, "retrieve": {}, "masks": {}, "segment held out": {}}


def test_a_column_of_another_type_is_an_error(models, workplace):
    params = write_training_pairs(models, 2)
    table = pq.read_table(PAIRS / "00000.parquet")
    place = table.column_names.index("query")
    pq.write_table(table.set_column(place, "query", table["query"].cast("float64")), PAIRS / "00000.parquet")
    with pytest.raises(InputError, match=r"data/pairs/00000\.parquet: column query is double, must be float32"):
        segment(params)


def test_a_missing_target_is_an_error(models, workplace):
    params = write_training_pairs(models, 2)
    rows = read_table(PAIRS / "00000.parquet", PAIR_COLUMNS)
    rows[0] |= {"target_key": "elsewhere", "target_pixels": "another"}
    write_table(PAIRS / "00000.parquet", rows, PAIR_COLUMNS)
    with pytest.raises(InputError, match=r"corpus/elsew\.tar: No such file or directory; run the stage ingest"):
        segment(params)


def test_pictures_of_pairs_are_read_without_any_index(models, workplace):
    write_world(2)
    params = params_for(models)
    retrieve(params)
    for path in CORPUS.glob("*.parquet"):
        path.unlink()
    segment(params)
    samples = samples_of(TRAINING_SET)
    assert len(samples) == 6
    for sample in samples:
        assert sample.source.tobytes() == image(number_of(sample.key)).tobytes()
        assert sample.target.tobytes() == image(number_of(sample.metadata["target_key"])).tobytes()


def test_pictures_that_moved_in_their_tar_are_not_masked_again(models, workplace):
    params = write_training_pairs(models, 2)
    before = [(sample.key, sample.source.tobytes(), sample.target.tobytes()) for sample in samples_of(TRAINING_SET)]
    shards = {f"{shard:05d}": [tiny_sample(SHARD_SIZE * shard + place) for place in range(SHARD_SIZE)] for shard in range(2)}
    shards["00000"][0] = replace(shards["00000"][0], alt_text="long " * 1000)
    write_shards_of(CORPUS, shards)
    retrieve(params)
    training, rows = find_training_set(), rows_of(TRAINING_SET)
    segment(params)
    assert counted("masks")[:2] == (0, 6)
    assert rows_of(TRAINING_SET) != rows
    assert find_training_set() == training  # so no model is trained anew
    assert [(sample.key, sample.source.tobytes(), sample.target.tobytes()) for sample in samples_of(TRAINING_SET)] == before


def test_held_out_pairs_go_to_their_own_folder(models, workplace):
    write_training_pairs(models, 6, retrieve={"held_out": 0.5, "max_uses": 1})
    wanted = {"training": set(), "heldout": set()}
    for row in rows_of(PAIRS):
        wanted[row["split"]].add(row["key"])
    assert wanted["heldout"]
    assert {sample.key for sample in samples_of(TRAINING_SET)} == wanted["training"]
    assert {sample.key for sample in samples_of(HELD_OUT)} == wanted["heldout"]


def test_a_second_run_does_nothing(models, workplace):
    params = write_training_pairs(models, 2)
    before = contents(TRAINING_SET)
    segment(params)
    assert counted("masks") == counted("segment") == (0, 6, 0, 2)
    assert contents(TRAINING_SET) == before


def test_only_changed_pairs_are_masked_again(models, workplace):
    params = write_training_pairs(models, 2)
    path = PAIRS / "00001.parquet"
    rows = read_table(path, PAIR_COLUMNS)
    rows[0]["target_diff"] = "a purple hen"  # the images stay the same
    write_table(path, rows, PAIR_COLUMNS)
    segment(params)
    assert counted("masks") == (1, 5, 1, 1)
    assert counted("segment") == (3, 3, 1, 1)
    assert [sample.target_diff for sample in samples_of(TRAINING_SET)][3] == "a purple hen"
    fresh = contents(TRAINING_SET)
    shutil.rmtree(MASKS)
    shutil.rmtree(TRAINING_SET)
    segment(params)
    assert counted("masks") == (6, 0, 2, 0)
    assert {name: data for name, (data, _) in contents(TRAINING_SET).items()} == {
        name: data for name, (data, _) in fresh.items()
    }


def made_from_nothing(params) -> dict[str, bytes]:
    """The tables of the training set and of the held-out pairs as a run from nothing writes them; the old ones are put back."""
    for folder in (MASKS, TRAINING_SET, HELD_OUT):
        folder.rename(folder.with_suffix(".old"))
    segment(params)
    made = tables()
    for folder in (MASKS, TRAINING_SET, HELD_OUT):
        shutil.rmtree(folder)
        folder.with_suffix(".old").rename(folder)
    return made


def tables() -> dict[str, bytes]:
    paths = sorted(path for folder in (MASKS, TRAINING_SET, HELD_OUT) for path in folder.glob("*.parquet"))
    return {str(path): path.read_bytes() for path in paths}


def questions() -> set[tuple]:
    """What CLIPSeg was asked for the pairs that stand: (picture, phrase) of each side."""
    rows = rows_of(MASKS)
    return {(row["key"], tuple((row[f"{side}_pixels"], row[f"{side}_diff"]) for side in ("source", "target"))) for row in rows}


@pytest.mark.parametrize("change", ["appended", "removed", "replaced", "renamed", "moved", "split", "limits"])
def test_a_changed_corpus_masks_only_new_and_changed_pairs(models, workplace, change):
    settings = {"retrieve": {"held_out": 0.4, "max_uses": 2}}
    params = write_training_pairs(models, 3, **settings)
    before = questions()
    if change == "replaced":
        shutil.rmtree(CORPUS)
        numbers = [*range(SHARD_SIZE), *range(60, 60 + SHARD_SIZE), *range(2 * SHARD_SIZE, 3 * SHARD_SIZE)]
        write_tiny_corpus(range(3 * SHARD_SIZE), pictures=numbers)
    elif change in ("renamed", "moved"):  # each picture with its edit: into the shard before, or two places on
        step = {"renamed": SHARD_SIZE, "moved": -2}[change]
        write_world(3, [(number + step) % (3 * SHARD_SIZE) for number in range(3 * SHARD_SIZE)])
    elif change in ("appended", "removed"):
        write_world({"appended": 4, "removed": 2}[change])
    elif change == "split":
        params = params_for(models, retrieve=settings["retrieve"] | {"held_out": 0.8})
    else:
        params = params_for(models, **settings, segment={"min_area": 0.3})
    retrieve(params)
    segment(params)
    after = questions()
    assert (after == before) == (change in ("split", "limits"))
    new = unanswered(after, before)
    assert counted("masks")[:2] == (len(new), len(after) - len(new))
    assert len(new) < len(after)
    found = tables()
    assert found == made_from_nothing(params)


def unanswered(after: set[tuple], before: set[tuple]) -> set[tuple]:
    """The pairs with a side whose mask no earlier pair has, whatever shard it stood in."""
    known = {side for _, sides in before for side in sides}
    return {(key, sides) for key, sides in after if not known.issuperset(sides)}


@pytest.mark.exhaustive
@pytest.mark.parametrize("execution", [PROCESSES, RAY], ids=["processes", "ray"])
def test_every_engine_gives_the_same_bytes(models, workplace, execution):
    params = write_training_pairs(models, 3)
    wanted = tables()
    for folder in (MASKS, TRAINING_SET, HELD_OUT):
        shutil.rmtree(folder)
    segment(params.model_copy(update={"execution": execution}))
    assert counted("masks") == (9, 0, 3, 0)
    assert tables() == wanted
