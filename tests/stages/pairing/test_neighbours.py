"""Pairs against a brute-force search in float64 over the stored half-precision embeddings."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from stages.core.params import ModelName, Retrieve
from stages.pairing.choice import Chooser
from stages.pairing.columns import SCORES
from stages.pairing.neighbours import find_candidates, join_candidates, mean_query
from tests.support.embedded import unit, write_index_of, write_pool

OPEN = Retrieve(
    clip=ModelName(name="unused"),
    batch=1,
    text_weight=0.5,
    neighbours=1000,
    max_uses=1000,
    near_duplicate=1.0,
    min_image_image=-1.0,
    min_text_image=-1.0,
    min_directional=-1.0,
    text_gain=False,
    held_out=0.0,
    index="Flat",
    memory=1.0,
    pool_shards=None,
)
DUPLICATE = "target is a near-duplicate of the source"
UNLIKE = "target too unlike the source"
TEXT = "target does not show the edit prompt"
GAIN = "target fits the edit prompt no better than the source"
CHANGE = "change of the image does not follow the change of the text"
USED = "target used too often"


def world(seed: int, images: int = 40, edits: int = 30, width: int = 6):
    """Unit embeddings of images in a few clusters; for every edit its source, caption and prompt."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((5, width))
    pictures = unit(centres[rng.integers(5, size=images)] + 0.5 * rng.standard_normal((images, width)))
    pictures[7] = unit(pictures[3] + 1e-3)  # near-duplicates
    sources = rng.permutation(images)[:edits]
    captions = unit(pictures[sources] + 0.8 * rng.standard_normal((edits, width)))
    prompts = unit(pictures[rng.integers(images, size=edits)] + 0.5 * rng.standard_normal((edits, width)))
    pictures, captions, prompts = (each.astype(np.float16) for each in (pictures, captions, prompts))
    return pictures, sources.tolist(), captions, prompts


def brute_force(pictures, sources, captions, prompts, config: Retrieve):
    """(source, target) of every pair, and why the other edits have none, after section 3.1 of the paper."""
    pictures, captions, prompts = (each.astype(np.float64) for each in (pictures, captions, prompts))
    pairs, dropped, uses = [], Counter(), Counter()
    for edit, source in enumerate(sources):
        query = unit(unit(pictures[source]) + unit(prompts[edit]))
        ranked = [target for target in np.argsort(-pictures @ query, kind="stable").tolist() if target != source]
        reasons = []
        for target in ranked[: config.neighbours]:
            gained = prompts[edit] @ pictures[target] > prompts[edit] @ pictures[source]
            direction = unit(pictures[target] - pictures[source]) @ unit(prompts[edit] - captions[edit])
            if pictures[source] @ pictures[target] >= config.near_duplicate:
                reasons.append(DUPLICATE)
            elif pictures[source] @ pictures[target] < config.min_image_image:
                reasons.append(UNLIKE)
            elif prompts[edit] @ pictures[target] < config.min_text_image:
                reasons.append(TEXT)
            elif config.text_gain and not gained:
                reasons.append(GAIN)
            elif direction < config.min_directional:
                reasons.append(CHANGE)
            elif uses[target] == config.max_uses:
                reasons.append(USED)
            else:
                uses[target] += 1
                pairs.append((source, target))
                break
        else:
            most = max(Counter(reasons).values())
            dropped[min(reason for reason, count in Counter(reasons).items() if count == most)] += 1
    return pairs, dropped


@pytest.fixture
def find(tmp_path):
    """Finds the pairs of a world with a flat index over shards of several sizes."""

    def work(found_in, config: Retrieve, batch: int | None = None):
        pictures, sources, captions, prompts = found_in
        sizes = [size for size in (7, 0, 13, len(pictures) - 20) if len(pictures) > 20] or [len(pictures)]
        index = write_index_of(write_pool(tmp_path / "embeddings", pictures, sizes), tmp_path / "index", "Flat")
        rows, vectors = np.array(sources, np.int64), [each.astype(np.float32) for each in (captions, prompts)]
        parts = []
        for start in range(0, len(rows), batch or max(len(rows), 1)):
            part = slice(start, start + (batch or len(rows)))
            own = pictures[rows[part]].astype(np.float32)
            parts.append(find_candidates(index, rows[part], own, *(each[part] for each in vectors), config))
        candidates = join_candidates(parts)
        choice = Chooser(len(pictures), config.max_uses).choose(candidates, 0)
        pairs = [
            SimpleNamespace(source=sources[edit], target=int(candidates.targets[pick]), edit=int(edit))
            for edit, pick in zip(choice.edits, choice.picks, strict=True)
        ]
        for pair, scores in zip(pairs, candidates.scores[choice.picks], strict=True):
            vars(pair).update(zip(SCORES, scores.tolist(), strict=True))
        return pairs, choice.dropped

    return work


class TestFindPairs:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize(
        ("changes", "reasons"),
        [
            ({}, set()),
            ({"neighbours": 1, "near_duplicate": 0.9}, {DUPLICATE}),
            ({"neighbours": 3, "min_image_image": 0.6}, {UNLIKE}),
            ({"neighbours": 3, "min_text_image": 0.6}, {TEXT}),
            ({"neighbours": 2, "text_gain": True}, {GAIN}),
            ({"neighbours": 4, "min_directional": 0.4}, {CHANGE}),
            ({"neighbours": 2, "max_uses": 1}, {USED}),
            (
                {
                    "neighbours": 6,
                    "near_duplicate": 0.97,
                    "min_image_image": 0.4,
                    "min_text_image": 0.3,
                    "text_gain": True,
                    "min_directional": 0.1,
                    "max_uses": 2,
                },
                None,
            ),
        ],
    )
    def test_equals_brute_force(self, find, seed, changes, reasons):
        config = OPEN.model_copy(update=changes)
        pairs, dropped = find(world(seed), config)
        wanted, wanted_dropped = brute_force(*world(seed), config)
        assert [(pair.source, pair.target) for pair in pairs] == wanted
        assert dropped == wanted_dropped
        assert len(pairs) + dropped.total() == 30
        assert len(pairs) > 0
        if reasons is not None:  # the filter under test did drop, and nothing else did
            assert set(dropped) == reasons

    def test_scores_are_the_cosines_of_the_pair(self, find):
        pictures, sources, captions, prompts = (np.asarray(each, np.float64) for each in world(0))
        pairs, _ = find(world(0), OPEN)
        assert SCORES == ("query", "image_image", "text_image", "text_source", "directional")
        assert [pair.edit for pair in pairs] == list(range(30))
        for edit, pair in enumerate(pairs):
            source, target = pictures[pair.source], pictures[pair.target]
            assert pair.source == sources[edit]
            assert pair.query == pytest.approx(unit(unit(source) + unit(prompts[edit])) @ target, abs=1e-5)
            assert pair.image_image == pytest.approx(source @ target, abs=1e-5)
            assert pair.text_image == pytest.approx(prompts[edit] @ target, abs=1e-5)
            assert pair.text_source == pytest.approx(prompts[edit] @ source, abs=1e-5)
            assert pair.directional == pytest.approx(unit(target - source) @ unit(prompts[edit] - captions[edit]), abs=1e-4)

    def test_a_source_is_never_its_own_target(self, find):
        found_in = world(0)
        pictures, sources, captions, _ = found_in
        pairs, _ = find((pictures, sources, captions, pictures[sources]), OPEN)  # each prompt describes its own source
        assert len(pairs) == 30
        assert all(pair.source != pair.target for pair in pairs)

    def test_only_so_many_neighbours_are_tried(self, find):
        # The text is so far from the source that the source is the last candidate, and not among the neighbours.
        pictures = unit(np.array([[1, 0.0], [-0.6, 0.8], [-0.5, 0.9], [0.0, 1.0], [-0.9, 0.5]])).astype(np.float32)
        prompts = unit(np.array([[-1.0, 0.1]])).astype(np.float32)
        found_in = (pictures, [0], unit(np.array([[1, 0.1]])).astype(np.float32), prompts)
        wanted, why = brute_force(*found_in, OPEN.model_copy(update={"neighbours": 1, "min_image_image": -0.45}))
        pairs, dropped = find(found_in, OPEN.model_copy(update={"neighbours": 1, "min_image_image": -0.45}))
        assert ([(pair.source, pair.target) for pair in pairs], dropped) == (wanted, why)

    def test_an_image_is_a_target_only_so_often(self, find):
        pairs, _ = find(world(1), OPEN.model_copy(update={"max_uses": 2}))
        assert len(pairs) == 30
        assert max(Counter(pair.target for pair in pairs).values()) == 2
        assert max(Counter(pair.target for pair in find(world(1), OPEN)[0]).values()) > 2

    def test_an_image_alone_has_no_target(self, find):
        pictures = np.array([[1.0, 0.0]], np.float32)
        pairs, dropped = find((pictures, [0], pictures, pictures), OPEN)
        assert (pairs, dropped) == ([], Counter({"no other image": 1}))

    def test_no_edit_gives_no_pair(self, find):
        pictures = np.eye(3, dtype=np.float32)
        nothing = np.zeros((0, 3), np.float32)
        assert find((pictures, [], nothing, nothing), OPEN) == ([], Counter())


class TestMeanQuery:
    def test_is_the_unit_mean_of_both_at_unit_length(self):
        rng = np.random.default_rng(0)
        images, texts = rng.standard_normal((2, 5, 8))
        scales = np.array([[0.1], [1], [5], [20], [3]])
        found = mean_query((images * scales).astype(np.float32), texts.astype(np.float32), 0.5)
        np.testing.assert_allclose(found, unit((unit(images) + unit(texts)) / 2), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)

    def test_weights_of_one_kind_alone_are_that_kind(self):
        images, texts = np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32)
        np.testing.assert_allclose(mean_query(images, texts, 0.0), unit(images), atol=1e-6)
        np.testing.assert_allclose(mean_query(images, texts, 1.0), unit(texts), atol=1e-6)

    def test_opposite_embeddings_are_no_division_by_zero(self):
        image = np.array([[1.0, 0.0]], np.float32)
        assert mean_query(image, -image, 0.5).tolist() == [[0, 0]]
