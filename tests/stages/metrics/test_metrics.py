import dataclasses
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional
from torchmetrics.functional.multimodal.clip_score import _clip_score_update
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from stages.core.errors import InputError
from stages.metrics import clip, distribution, similarity
from stages.metrics.evidence import Cases
from stages.metrics.intervals import Interval, bootstrap, bootstrap_of, jackknife, paired_difference
from stages.metrics.scores import SystemScores, score_system
from stages.metrics.summary import summarise
from stages.metrics.table import ALIASES, METRICS
from stages.models.clip import Clip
from stages.models.vgg import Vgg

SIZE = 32
NAN = float("nan")


def pictures(n, seed=0, size=SIZE):
    noise = torch.rand(n, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(noise, (size, size), mode="bilinear").clamp(0, 1)


def features(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def unit(n, d, seed=0):
    return functional.normalize(features(n, d, seed), dim=1)


def box_mask(n, size=SIZE):
    masks = torch.zeros(n, 1, size, size)
    masks[:, :, size // 4 : size // 2, size // 4 : 3 * size // 4] = 1
    return masks


def oracle(first, second):
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1, "channel_axis": 0}
    return structural_similarity(first.double().numpy(), second.double().numpy(), full=True, **settings)


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    weights, before, index = {}, 3, 0
    for width, layers in ((4, 2), (4, 2), (8, 3), (8, 3), (8, 3)):
        for _ in range(layers):
            weights[f"{index}.weight"] = torch.randn(width, before, 3, 3) / before
            weights[f"{index}.bias"] = torch.zeros(width)
            before, index = width, index + 2
        index += 1
    return Vgg(weights).eval()


COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Eye(torch.nn.Module):
    """A judge that sees mean colours, and reads the names of colours."""

    def encode_image(self, batch):
        return batch.mean(dim=(2, 3)) + 1e-3

    def encode_text(self, tokens):
        return tokens

    @staticmethod
    def tokenise(texts):
        return torch.tensor([next((c for word, c in COLOURS.items() if word in text), (1, 1, 1)) for text in texts]).float()


JUDGE = Clip(Eye(), Eye.tokenise, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def colour_cases(n=6):
    colours = ("red", "green", "blue")
    return Cases(
        sources=0.2 + 0.6 * pictures(n),
        masks=box_mask(n),
        captions=["a thing"] * n,
        prompts=[f"a {colours[i % 3]} thing" for i in range(n)],
        target_terms=[colours[i % 3] for i in range(n)],
        candidates=[("red", "green", "blue", "red")] * n,
    )


def painted(cases):
    paint = torch.stack([torch.tensor(COLOURS[term]).float() for term in cases.target_terms])
    return cases.sources * (1 - cases.masks) + paint[:, :, None, None] * cases.masks


# SSIM


@pytest.mark.parametrize("size", [11, 32, 47])
def test_ssim_map_is_scikit_images(size):
    first, second = pictures(2, 1, size), pictures(2, 2, size)
    for one, other, result in zip(first, second, similarity.ssim_map(first, second), strict=True):
        _, expected = oracle(one, other)
        np.testing.assert_allclose(result, expected.mean(axis=0), atol=1e-9)


def test_ssim_frame_is_scikit_images_scalar_of_the_multiplied_frames():
    first, second, mask = pictures(3, 1), pictures(3, 2), box_mask(3)
    for region in (mask, 1 - mask):
        expected = [100 * oracle(*pair)[0] for pair in zip(first * region, second * region, strict=True)]
        np.testing.assert_allclose(similarity.ssim_frame(first, second, region), expected, atol=1e-7)


def test_ssim_region_is_the_mean_of_scikit_images_map_inside():
    first, second, mask = pictures(3, 1), pictures(3, 2), box_mask(3)
    for region in (mask, 1 - mask):
        maps = [oracle(*pair)[1].mean(axis=0) for pair in zip(first, second, strict=True)]
        expected = [100 * whole[inside].mean() for whole, inside in zip(maps, region[:, 0].bool().numpy(), strict=True)]
        np.testing.assert_allclose(similarity.ssim_region(first, second, region), expected, atol=1e-7)


def test_ssim_of_equal_pictures_is_100_and_of_no_region_undefined():
    picture, nothing = pictures(2), torch.zeros(2, 1, SIZE, SIZE)
    for form in (similarity.ssim_frame, similarity.ssim_region):
        assert form(picture, picture, box_mask(2)).tolist() == pytest.approx([100, 100])
        assert form(picture, picture, nothing).isnan().all()


def test_ssim_needs_room_for_its_window():
    with pytest.raises(InputError, match="at least 11"):
        similarity.ssim_map(torch.zeros(1, 3, 10, 32), torch.zeros(1, 3, 10, 32))


# Perceptual distance


def test_perceptual_distance_by_hand(vgg):
    first, second, region = pictures(1, 1), pictures(1, 2), torch.ones(1, 1, SIZE, SIZE)
    layers = []
    for one, other in zip(vgg(first, similarity.LPIPS_LAYERS), vgg(second, similarity.LPIPS_LAYERS), strict=True):
        difference = one / (one.norm(dim=1, keepdim=True) + 1e-10) - other / (other.norm(dim=1, keepdim=True) + 1e-10)
        layers.append((difference**2).sum(dim=1).mean())
    assert similarity.perceptual_distance(vgg, first, second, region).item() == pytest.approx(
        torch.stack(layers).mean().item(), rel=1e-4
    )


def test_perceptual_outside_sees_only_what_is_outside(vgg):
    source, mask = pictures(2), box_mask(2)
    inside = source * (1 - mask) + pictures(2, 5) * mask
    assert similarity.perceptual_outside(vgg, source, inside, mask).tolist() == [0, 0]
    assert (similarity.perceptual_outside(vgg, source, pictures(2, 5), mask) > 0).all()
    assert similarity.perceptual_outside(vgg, source, inside, torch.ones_like(mask)).isnan().all()


# CLIP


def test_clip_score_is_two_and_a_half_times_the_positive_cosine():
    up = torch.tensor([[1.0, 0.0]])
    for angle, expected in ((0, 250), (np.pi / 3, 125), (np.pi, 0)):
        text = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
        assert clip.clip_score(up, text).item() == pytest.approx(expected, abs=1e-4)


class GivenFeatures(torch.nn.Module):
    """A CLIP, and its processor, in the form torchmetrics asks for, whose features are given beforehand."""

    def __init__(self, pictures, texts):
        super().__init__()
        self.pictures, self.texts = pictures, texts
        self.config = SimpleNamespace()

    def forward(self, **asked):
        tokens = torch.ones(len(self.texts), 3, dtype=torch.long)
        return (
            {"pixel_values": torch.stack(asked["images"])}
            if "images" in asked
            else {
                "input_ids": tokens,
                "attention_mask": tokens,
            }
        )

    def get_image_features(self, _pixels):
        return self.pictures

    def get_text_features(self, _tokens, _mask):
        return self.texts


def test_clip_score_is_torchmetrics_times_the_weight_of_the_paper():
    found, alone = features(9, 16), features(9, 16, 1) * 3
    alone[:3] = -found[:3]
    model = GivenFeatures(found, alone)
    score, count = _clip_score_update(list(torch.rand(9, 3, 8, 8)), ["words"] * 9, model, model)
    ours = clip.clip_score(functional.normalize(found), functional.normalize(alone))
    assert count == 9
    torch.testing.assert_close(ours, 2.5 * score.clamp(min=0))  # Hessel et al. 2021: w = 2.5; torchmetrics has w = 1
    assert ours[:3].tolist() == [0, 0, 0]


def test_directional_similarity_by_hand_and_undefined_without_movement():
    sources, edits, captions, prompts = (unit(3, 8, seed) for seed in range(4))
    edits[1], prompts[2] = sources[1], captions[2]
    result = clip.directional_similarity(sources, edits, captions, prompts)
    moved, told = edits[0] - sources[0], prompts[0] - captions[0]
    assert result[0].item() == pytest.approx(100 * (moved @ told / moved.norm() / told.norm()).item(), abs=1e-3)
    assert result[1:].isnan().all()


def test_edit_success_needs_the_first_rank_alone():
    terms = torch.eye(3)
    shown = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0.7, 0.7, 0]])
    assert clip.edit_success(shown, [terms] * 3, [0, 0, 0]).tolist() == [100, 0, 0]
    assert clip.edit_success(shown[:1], [terms[:1]], [0]).isnan().all()


def test_regions_are_cut_out_inside_the_picture():
    picture = torch.zeros(3, 3, 40, 40)
    mask = torch.zeros(3, 1, 40, 40)
    mask[0, :, 10:20, 10:14] = 1
    mask[1, :, :4, 36:] = 1
    mask[2] = 1
    crops = clip.crop_regions(picture + mask, mask, 15, 0.25)
    assert crops.shape == (3, 3, 15, 15)
    assert crops[0, 0].mean().item() == pytest.approx(40 / 225, abs=1e-3)  # a square of 15 around a box of 10 x 4
    assert crops[1, 0, 0, -1] == 1
    assert crops[2].min() > 1 - 1e-5


# Distributions


def test_frechet_distance_agrees_with_the_matrix_root_where_there_is_one():
    first, second = features(300, 8), 0.5 + 1.3 * features(200, 8, 1) @ features(8, 8, 2)
    covariances = [torch.cov(x.double().T) for x in (first, second)]
    expected = _compute_fid(first.double().mean(0), covariances[0], second.double().mean(0), covariances[1])
    root = scipy.linalg.sqrtm((covariances[0] @ covariances[1]).numpy()).real
    by_scipy = (first.double().mean(0) - second.double().mean(0)).square().sum() + covariances[0].trace()
    by_scipy += covariances[1].trace() - 2 * np.trace(root)
    result = distribution.frechet_distance(first, second)
    assert result == pytest.approx(expected.item(), rel=1e-6)
    assert result == pytest.approx(by_scipy.item(), rel=1e-6)


def test_frechet_distance_is_exact_with_fewer_samples_than_dimensions():
    first, second = features(12, 40).double(), features(9, 40, 1).double() + 0.2
    x, y = first - first.mean(0), second - second.mean(0)
    gram = np.linalg.svd((x @ y.T).numpy(), compute_uv=False).sum() / np.sqrt(11 * 8)
    expected = (first.mean(0) - second.mean(0)).square().sum() + x.square().sum() / 11 + y.square().sum() / 8 - 2 * gram
    assert distribution.frechet_distance(first, second) == pytest.approx(expected.item())
    assert distribution.frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert np.isnan(distribution.frechet_distance(first[:1], second))


def test_paired_kernel_distance_is_torchmetrics_without_the_cases_own_pairs():
    first, second = features(30, 8).double(), features(30, 8, 1).double() + 0.3
    across = (first.numpy() @ second.numpy().T / 8 + 1) ** 3
    others = (across.sum() - across.trace()) / (30 * 29)
    expected = poly_mmd(first, second).item() + 2 * (across.mean() - others)
    assert distribution.paired_kernel_distance(distribution.paired_terms(first, second)) == pytest.approx(expected)
    assert np.isnan(distribution.paired_kernel_distance(distribution.paired_terms(first[:1], second[:1])))


def test_paired_kernel_distance_by_brute_force():
    first, second = features(7, 4).double(), features(7, 4, 1).double()

    def k(x, y):
        return float((x @ y / 4 + 1) ** 3)

    terms = [
        k(first[i], first[j]) + k(second[i], second[j]) - k(first[i], second[j]) - k(second[i], first[j])
        for i in range(7)
        for j in range(7)
        if i != j
    ]
    assert distribution.paired_kernel_distance(distribution.paired_terms(first, second)) == pytest.approx(np.mean(terms))


def test_an_editor_that_changes_nothing_is_at_no_kernel_distance():
    first = features(20, 8)
    assert distribution.paired_kernel_distance(distribution.paired_terms(first, first)) == 0
    assert poly_mmd(first.double(), first.double()) < 0  # why the paired form is there


def test_features_must_be_of_one_kind():
    for distance in (distribution.frechet_distance, distribution.paired_terms):
        with pytest.raises(InputError, match="one d"):
            distance(features(4, 3), features(4, 5))


# Intervals


def test_bootstrap_covers_the_mean_as_theory_says():
    values = np.random.default_rng(0).normal(3, 2, 400)
    interval = bootstrap(values, 1000, 0)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval == bootstrap(values, 1000, 0)


def test_bootstrap_leaves_out_and_counts_what_is_undefined():
    interval = bootstrap(np.array([1, NAN, 3, NAN]), 100, 0)
    assert (interval.value, interval.n, interval.undefined) == (2, 2, 2)
    nothing = bootstrap(np.array([NAN, NAN]), 100, 0)
    assert np.isnan(nothing.value)
    assert (nothing.n, nothing.undefined) == (0, 2)


def test_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 200)
    first, second = hard + 1 + rng.normal(0, 0.1, 200), hard + rng.normal(0, 0.1, 200)
    interval = paired_difference(first, second, 200, 0)
    assert 0.9 < interval.low < 1 < interval.high < 1.1
    with pytest.raises(InputError, match="same"):
        paired_difference(first, second[1:], 200, 0)


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=40)
    interval, _ = jackknife(lambda kept: float(values[kept].mean()), 40)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(40))


@pytest.mark.parametrize(("value", "n"), [(7.0, 1), (7.0, 2), (NAN, 40)])
def test_jackknife_of_too_few_cases_or_an_undefined_value_has_no_interval(value, n):
    interval, _ = jackknife(lambda _: value, n)
    np.testing.assert_equal([interval.value, interval.low, interval.high, interval.n], [value, NAN, NAN, n])


def test_jackknife_interval_of_a_set_distance_holds_the_truth():
    truth = poly_mmd(features(2000, 3, 99).double(), features(2000, 3, 98).double() + 0.5).item()
    hits = 0
    for seed in range(20):
        first, second = features(100, 3, 2 * seed).double(), features(100, 3, 2 * seed + 1).double() + 0.5
        terms = distribution.paired_terms(first, second)
        interval, _ = jackknife(lambda kept, terms=terms: distribution.paired_kernel_distance(terms[kept][:, kept]), 100)
        hits += interval.low < truth < interval.high
    assert hits >= 16


def test_bootstrap_of_a_difference_is_the_paired_one_and_of_a_ratio_what_the_delta_method_says():
    rng = np.random.default_rng(0)
    second = rng.normal(50, 5, 400)
    first = second * 1.2 + rng.normal(0, 2, 400)
    first[0] = NAN
    paired = paired_difference(first, second, 300, 0)
    found = bootstrap_of(lambda one, other: one - other, first, second, 300, 0)
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(paired))
    ratio = bootstrap_of(lambda one, other: one / other, first, second, 2000, 0)
    residual = first[1:] - ratio.value * second[1:]
    error = residual.std() / second[1:].mean() / np.sqrt(399)
    assert ratio.value == pytest.approx(first[1:].mean() / second[1:].mean())
    assert (ratio.high - ratio.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert np.isnan(bootstrap_of(lambda one, other: one / other, first[:1], second[:1], 10, 0).value)


# Scores


def test_scores_of_a_perfect_editor(vgg):
    cases = colour_cases()
    scores = score_system(cases, painted(cases), JUDGE, vgg, batch=4)
    assert set(scores.per_case) | set(scores.of_set) == {metric.key for metric in METRICS}
    assert all(values.shape == (6,) for values in scores.per_case.values())
    assert scores.per_case["edit_success"].tolist() == [100] * 6
    assert scores.per_case["perceptual_outside"].tolist() == [0] * 6
    assert scores.per_case["ssim_m_bar_frame"] == pytest.approx(100)
    assert (scores.per_case["ssim_m_frame"] < 100).all()
    assert (scores.per_case["clip_directional"] > 0).all()


def test_scores_do_not_depend_on_the_batch(vgg):
    cases = colour_cases()
    one, other = (score_system(cases, painted(cases), JUDGE, vgg, batch=batch) for batch in (1, 6))
    for name, values in one.per_case.items():
        np.testing.assert_allclose(values, other.per_case[name], atol=1e-3)


def test_what_is_undefined_is_null_and_counted(vgg):
    cases = replace(colour_cases(), masks=torch.cat([torch.zeros(1, 1, SIZE, SIZE), box_mask(5)]))
    scores = {"still": score_system(cases, cases.sources, JUDGE, vgg, batch=6)}
    metrics = json.loads(json.dumps(summarise(scores, resamples=20, seed=0, models={}), allow_nan=False))
    assert metrics["cases"] == 6
    assert metrics["undefined"]["still"]["ssim_m_frame"] == metrics["undefined"]["still"]["edit_success"] == 1
    assert metrics["undefined"]["still"]["clip_directional"] == 6
    assert metrics["systems"]["still"]["clip_directional"] is None
    assert metrics["intervals"]["still"]["clip_directional"] == [None, None]
    assert metrics["systems"]["still"]["kid_judge_features"] == 0


def test_summary_has_aliases_and_differences(vgg):
    cases = colour_cases()
    scores = {
        "sdedit": score_system(cases, cases.sources, JUDGE, vgg, batch=6),
        "iedit": score_system(cases, painted(cases), JUDGE, vgg, batch=6),
    }
    metrics = summarise(scores, resamples=50, seed=0, models={"judge": {"name": "eye"}})
    for alias, name in ALIASES.items():
        assert metrics["systems"]["iedit"][alias] == metrics["systems"]["iedit"][name]
    difference = metrics["differences"]["iedit"]["sdedit"]["clip_score"]
    means = metrics["systems"]
    assert difference["value"] == pytest.approx(means["iedit"]["clip_score"] - means["sdedit"]["clip_score"])
    assert 0 < difference["low"] < difference["high"]
    distance = metrics["differences"]["iedit"]["sdedit"]["frechet_judge_features"]
    assert distance["value"] == pytest.approx(means["iedit"]["frechet_judge_features"])  # the other changes nothing: 0
    assert [distance["low"], distance["high"]] == pytest.approx(metrics["intervals"]["iedit"]["frechet_judge_features"])
    assert metrics == summarise(scores, resamples=50, seed=0, models={"judge": {"name": "eye"}})


def test_systems_must_have_seen_the_same_cases():
    number = Interval(value=0, low=0, high=0, n=2)
    scores = {
        name: SystemScores(per_case={"clip_score": np.zeros(n)}, of_set={"kid": number}) for name, n in (("a", 2), ("b", 3))
    }
    with pytest.raises(InputError, match="different cases"):
        summarise(scores, resamples=5, seed=0, models={})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ["one"]}, "each needs one"),
        ({"sources": 2 * pictures(6)}, r"in \[0, 1\]"),
        ({"masks": torch.ones(6, 1, 8, 8)}, "masks of"),
        ({"masks": torch.ones(6, 3, SIZE, SIZE)}, r"masks of shape \(6, 3, .*\): they must be \(n, 1, height, width\)"),
        ({"sources": pictures(6)[0]}, "each needs one"),
        ({"target_terms": ["mauve"] * 6}, "'mauve' is not among"),
    ],
)
def test_bad_cases_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(colour_cases(), **change)


def test_bad_edits_are_refused(vgg):
    cases = colour_cases()
    with pytest.raises(InputError, match="edits"):
        score_system(cases, cases.sources[:3], JUDGE, vgg, batch=4)
    with pytest.raises(InputError, match="nan"):
        score_system(cases, cases.sources * NAN, JUDGE, vgg, batch=4)
