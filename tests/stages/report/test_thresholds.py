"""What thresholds are said to drop, against the stages that drop it."""

import numpy as np

from stages.core.params import Params
from stages.core.paths import PAIRS, TRAINING_SET
from stages.core.shards import shard_totals
from stages.pairing.neighbours import read_candidates
from stages.report.thresholds import SHARES, measure_thresholds, threshold_lines, thresholds_page
from stages.retrieve import retrieve
from stages.segment import segment
from tests.support.html import Page
from tests.support.tiny_corpus import params_for, write_training_pairs, write_world


def between(values: np.ndarray, share: float) -> float:
    """A number that is no value, above about this share of them: the stages' float32 must not decide."""
    distinct = np.unique(values.round(5))
    place = int(share * (len(distinct) - 1))
    return float(distinct[place : place + 2].mean())


def test_thresholds_drop_what_the_stages_drop(models, workplace):
    params = write_training_pairs(models, 2)
    values = params.model_dump(mode="json")
    for kind in measure_thresholds(params):
        for each in kind.each:
            section, name = each.score.parameter.split(".")
            at = between(each.values, 0.4 if each.score.is_better_high else 0.6)
            values[section][name] = True if name == "text_gain" else at
    strict = Params.model_validate(values)
    targets, masks = measure_thresholds(strict)

    segment(strict)
    done, dropped = shard_totals(TRAINING_SET)
    share = dropped.total() / (done + dropped.total())
    assert 0 < share <= 1
    assert f"{done + dropped.total()} pairs with masks: together the thresholds drop {share:.1%} of them" in masks.found

    retrieve(strict)
    candidates = [read_candidates(path) for path in sorted((PAIRS / "candidates").glob("*.safetensors"))]
    refused = sum(each.objections.sum() for each in candidates)
    passed = sum(len(each.targets) for each in candidates)
    without = np.mean(np.concatenate([np.diff(each.ends, prepend=0) for each in candidates]) == 0)
    assert refused > 0
    assert f"{refused + passed} possible targets" in targets.found
    assert f"together the thresholds drop {refused / (refused + passed):.1%} of them" in targets.found
    assert targets.found.endswith(f"{without:.1%} of the edits have none left")


def test_other_thresholds_would_drop_the_shares_they_say(models, workplace):
    measured = measure_thresholds(write_training_pairs(models, 2))
    for each in (threshold for kind in measured for threshold in kind.each):
        for share in SHARES:
            at = each.dropping(share)
            sign = 1 if each.score.is_better_high else -1
            worse, no_better = (sign * each.values < sign * at).mean(), (sign * each.values <= sign * at).mean()
            assert worse - 1 / len(each.values) <= share <= no_better + 1 / len(each.values)
    assert [each.at for each in measured[0].each[:2]] == [None, None]  # the least cosine is -1, and no gain is asked for
    assert measured[0].each[0].dropped == 0


def test_page_has_a_histogram_of_every_score(models, workplace):
    measured = measure_thresholds(write_training_pairs(models, 2))
    text = thresholds_page(measured)
    assert text == thresholds_page(measured)
    assert not {"script", "link", "iframe", "object", "form"} & set(Page(text).tags)
    assert text.count("<svg") == 5 + 2  # of retrieve, of segment
    assert [each.found for each in measured if each.found not in text] == []
    assert max(len(line) for line in threshold_lines(measured) if line.startswith(("retrieve.", "segment."))) <= 80


def test_thresholds_of_masks_come_once_there_are_masks(models, workplace):
    write_world(1)
    params = params_for(models)
    retrieve(params)
    (targets,) = measure_thresholds(params)
    assert {each.score.parameter.partition(".")[0] for each in targets.each} == {"retrieve"}
