"""Table 2: its rows, its claims, and the losses that it names."""

import csv
import io

from stages.core.params import Params
from stages.metrics.table import count_key
from stages.report.ablation_table import ROW_CLAIMS, ROWS, SHOWN, TRUE_TARGETS, ablation_csv, ablation_markdown
from stages.report.paper import TABLE_2
from tests.support.ablation import FOUND, LOSSES
from tests.support.composed import composed, group


def line_of(start: str, found) -> str:
    return next(line for line in ablation_markdown(found, LOSSES).splitlines() if line.startswith(f"| {start}"))


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
    assert masks.endswith(" by at least 10 points | paper_masked, paper | +18.45 | 16.00 ± 0.00 | 300 | 3 of 3 | yes |")
    assert len(list(csv.DictReader(io.StringIO(ablation_csv(FOUND))))) == len(FOUND) * 2 * 2 * len(SHOWN)


def test_paper_effects_are_those_of_its_table():
    found = {(claim.better, claim.metric): claim.paper_effect for claim in ROW_CLAIMS}
    assert found["paper", "clip_score"] == "+0.45"  # 66.09 - 65.64
    assert found["plain_noise_perceptual", "clip_score"] == "+0.02"
    assert found["plain_noise", "clip_score"] == "-0.33"  # 65.62 - 65.95, though the paper's text says it is higher
    assert found["plain_noise", "ssim_m_bar_frame"] == "+6.94"
    assert {found["guided", "clip_score"], found["paper_masked", "edit_success"]} == {""}
    assert TABLE_2.keys() <= ROWS.keys()


def test_one_seed_against_a_claim_fails_it():
    key = ("paper", 1)
    system = FOUND[key]["iedit"]
    against = FOUND | {key: FOUND[key] | {"iedit": system | {"clip_score": system["clip_score"] - 3}}}
    before, after = (line_of("L_mask beats", found) for found in (FOUND, against))
    assert before.endswith("| +0.45 | 2.00 ± 0.00 | 300 | 3 of 3 | yes |")
    assert after.endswith("| 2 of 3 | no |")


def test_n_is_the_smallest_and_few_judge_nothing():
    key = ("paper", 1)
    few = FOUND | {key: FOUND[key] | {"iedit": FOUND[key]["iedit"] | {count_key("clip_score"): 19.0}}}
    assert line_of("L_mask beats", few).endswith("| 19 | 3 of 3 | not judged |")
    assert line_of("L_perc helps", few).endswith("| 300 | 3 of 3 | yes |")


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
    assert "| 16.00 ± 0.00 | 300 | 2 of 2 | yes |" in text
    for term in ("The judge is ", "Edit success is ", "A draft is "):
        assert term in text


def test_true_targets_are_left_out_where_nothing_is_found():
    text = ablation_markdown({key: scores for key, scores in FOUND.items() if key[0] != TRUE_TARGETS}, LOSSES)
    assert "true targets" not in text
    assert "bad pairs kept" in text
