"""Table 2: its rows, its claims, and the losses that it names."""

import csv
import io

from stages.core.params import Params
from stages.report.ablation_table import ROW_CLAIMS, ROWS, SHOWN, TRUE_TARGETS, ablation_csv, ablation_markdown
from tests.support.ablation import FOUND, LOSSES
from tests.support.composed import composed, group


def test_rows_are_the_configurations_and_each_is_valid():
    assert sorted({row.configuration for row in ROWS.values()}) == group("ablation")
    for name in group("ablation"):
        Params.model_validate(composed(f"ablation={name}"))


def test_claims_name_rows():
    assert {row for claim in ROW_CLAIMS for row in (claim.better, claim.worse)} <= ROWS.keys()


def test_table_has_mean_and_spread_and_says_what_holds():
    lines = ablation_markdown(FOUND, LOSSES).splitlines()
    assert [line.split(" | ")[0] for line in lines[2 : 2 + len(ROWS)]] == [f"| {name}" for name in ROWS]
    assert "50.10 ± 0.10" in lines[2]
    masks = next(line for line in lines if line.startswith("| Predicted masks"))
    assert masks.endswith(" by at least 15 points | paper_masked, paper | 16.00 ± 0.00 | 3 of 3 | yes |")
    assert len(list(csv.DictReader(io.StringIO(ablation_csv(FOUND))))) == len(FOUND) * 2 * len(SHOWN)


def test_table_without_inception_has_no_fid():
    less = {
        key: {system: {name: score for name, score in scores.items() if name != "fid"} for system, scores in systems.items()}
        for key, systems in FOUND.items()
    }
    heads, fewer = (ablation_markdown(each, LOSSES).splitlines()[0].split(" | ") for each in (FOUND, less))
    assert [head for head in heads if head not in fewer] == ["FID ↓"]


def test_losses_are_those_that_a_configuration_switches_on():
    lines = ablation_markdown(FOUND, LOSSES).splitlines()
    found = {name: set(label.split(" + ")) for name, label in (line.strip("| ").split(" | ")[:2] for line in lines[2:13])}
    assert found["web_captions"] == {"L_paired", "L_global"}
    assert found["plain_noise"] == {"L_LDM", "L_loc", "L_global"}
    assert found["plain_noise_perceptual"] == {"L_LDM", "L_loc", "L_global", "L_perc"}
    assert found["paper"] == found["paper_masked"] == found["unfiltered"] == {"L_mask", "L_loc", "L_global", "L_perc"}
    assert found["guided"] == {"L_guided"}


def test_caption_counts_the_seeds_and_defines_the_terms():
    two = {(name, seed): scores for (name, seed), scores in FOUND.items() if seed < 2}
    text = ablation_markdown(two, LOSSES)
    assert "Mean ± standard deviation of 2 trainings" in text
    assert "| 16.00 ± 0.00 | 2 of 2 | yes |" in text
    for term in ("The judge is ", "Edit success is ", "A draft is "):
        assert term in text


def test_true_targets_are_left_out_where_nothing_is_found():
    text = ablation_markdown({key: scores for key, scores in FOUND.items() if key[0] != TRUE_TARGETS}, LOSSES)
    assert "true targets" not in text
    assert "bad pairs kept" in text
