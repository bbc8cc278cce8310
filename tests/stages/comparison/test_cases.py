"""Cases: how a folder is split between validation and evaluation."""

from stages.comparison.cases import read_cases
from stages.core.paths import HELD_OUT
from tests.support.tiny_corpus import write_training_pairs


def test_a_shared_folder_is_split_without_a_common_image(models, workplace):
    params = write_training_pairs(
        models,
        shards=4,
        retrieve={"held_out": 1.0, "max_uses": 1},
        evaluate={"cases": str(HELD_OUT), "validation": str(HELD_OUT), "max_cases": 100},
    )
    images = {}
    for split in ("evaluation", "validation"):
        cases = [case.sample for case in read_cases(params, split)]
        images[split] = {key for case in cases for key in (case.key, case.metadata["target_key"])}
    assert images["evaluation"].isdisjoint(images["validation"])
