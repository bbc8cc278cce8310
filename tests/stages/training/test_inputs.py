"""What is said where too few pairs are left to train on, or to evaluate on."""

import re

import numpy as np
import pyarrow as pa
import pytest

from stages.common.parquet import write_table
from stages.core.errors import InputError
from stages.core.files import write_json
from stages.core.params import Params
from stages.core.paths import EVALUATION, HELD_OUT, PAIRS, TRAINING_SET
from stages.language.mutation import Dropped
from stages.pairing.choice import USED
from stages.pairing.columns import PAIR_COLUMNS
from stages.pairing.neighbours import OBJECTIONS
from stages.pairing.selection import objections
from stages.retrieve import retrieve
from stages.segment import segment
from stages.training.inputs import PARAMETERS, check_pairs
from tests.support.tiny_corpus import params_for, rows_of, write_training_pairs


def test_every_reason_with_a_remedy_is_a_stages_own():
    areas = pa.table({"source_mask_area": [0.0, 1.0, 0.5, 0.5], "target_mask_area": [0.5, 0.5, 0.0, 1.0]})
    given = {*objections(areas, 0.1, 0.9), *OBJECTIONS, USED, *Dropped}
    assert PARAMETERS.keys() <= given
    assert {*OBJECTIONS, USED} <= PARAMETERS.keys()


def with_share(params: Params, share: float) -> Params:
    return params.model_copy(update={"retrieve": params.retrieve.model_copy(update={"held_out": share})})


@pytest.mark.parametrize(
    ("share", "lack"),
    [
        (0.05, r"to train on: \d+, held out: 0, but evaluate\.cases = 'data/heldout' needs some"),
        (1.0, r"to train on: 0, held out: \d+, but the training needs some"),
    ],
)
def test_the_share_that_is_named_gives_both(models, workplace, share, lack):
    """Whichever masks are unusable: here the larger half of the sources'."""
    settings = {"retrieve": {"held_out": share, "max_uses": 1}, "evaluate": {"cases": str(HELD_OUT)}}
    write_training_pairs(models, 6, **settings)
    areas = [row["source_mask_area"] for row in rows_of(TRAINING_SET) + rows_of(HELD_OUT)]
    params = params_for(models, **settings, segment={"max_area": float(np.median(areas))})
    segment(params)
    message = rf"^retrieve\.held_out = {share}: usable pairs {lack}; set it to 0\.\d+, which gives both$"
    with pytest.raises(InputError, match=message) as caught:
        check_pairs(params)
    named = with_share(params, float(re.search(r"set it to (0\.\d+),", str(caught.value))[1]))
    retrieve(named)
    segment(named)
    check_pairs(named)
    assert rows_of(TRAINING_SET)
    assert rows_of(HELD_OUT)


def test_pairs_that_share_images_cannot_be_divided(models, workplace):
    """All edits of one shard have the same target."""
    settings = {"retrieve": {"held_out": 0.05}, "evaluate": {"cases": str(HELD_OUT)}}
    params = write_training_pairs(models, 1, **settings)
    rows = rows_of(PAIRS)
    write_table(PAIRS / "00000.parquet", [row | {"target_key": rows[0]["target_key"]} for row in rows], PAIR_COLUMNS)
    with pytest.raises(InputError, match=r"held out: 0, but .*; no share gives both, because they share images .* add images$"):
        check_pairs(params)


def test_where_no_held_out_pair_is_read_none_is_needed(models, workplace):
    params = write_training_pairs(models, 1, evaluate={"cases": str(EVALUATION)})
    check_pairs(params)
    assert rows_of(HELD_OUT) == []


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_masks_that_drop_every_pair_are_counted(models, workplace, share):
    """With the reason and the values that decide about it; a second run, where shards are reused, says the same."""
    settings = {"retrieve": {"held_out": share, "max_uses": 1}, "segment": {"threshold": 1.0}}
    params = write_training_pairs(models, 2, **settings)
    line = (
        "data/training: no pair to train on; most samples were dropped by segment, 6 because of 'source mask empty or below"
        " segment.min_area' (segment.min_area = 0.0, segment.threshold = 1.0): change these values, or add images;"
        " `python -m stages describe` writes examples to reports/latest/dataset.html"
    )
    for _ in range(2):
        with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
            check_pairs(params)
        segment(params)


def test_values_are_named_as_params_yaml_has_them(models, workplace):
    write_json(TRAINING_SET / "counts.json", {"mutate": {Dropped.NO_REPLACEMENT: 6}})
    with pytest.raises(
        InputError, match=r" \(mutate\.vocabulary = null, mutate\.levels = 4\): change these values, or add images;"
    ):
        check_pairs(params_for(models, mutate={"vocabulary": None, "levels": 4}))


def test_what_dropped_most_is_named_first_whichever_stage_did(models, workplace):
    dropped = {
        "ingest": {"duplicate": 1},
        "retrieve": {"target too unlike the source": 17, "target used too often": 2},
        "segment": {"target mask empty or below segment.min_area": 3},
    }
    write_json(TRAINING_SET / "counts.json", dropped)
    with pytest.raises(
        InputError, match=r"dropped by retrieve, 17 because .*min_image_image.*; segment, 3 .*; retrieve, 2 "
    ) as caught:
        check_pairs(params_for(models))
    assert "duplicate" not in str(caught.value)
