"""The page of the dataset: one HTML file that loads nothing from anywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from stages.core.params import Params
from stages.core.params_ingest import OpenMojiSource
from stages.corpus.fetched import Statistics
from stages.report.captions import CREDITS
from stages.report.dataset import Figures, Histogram, differences, new_and_gone
from stages.report.examples import Example, PairExample
from stages.report.pictures import data_uri, overlay
from stages.report.plots import plot_bars
from stages.report.rendering import render

SCORES = {
    "query": "cosine of query and target",
    "image_image": "cosine of source and target",
    "text_image": "cosine of edit prompt and target",
    "text_source": "cosine of edit prompt and source",
    "directional": "cosine of the changes of image and text",
}
"""Score → what it is."""


def dataset_page(
    now: Figures,
    before: Figures | None,
    pairs: Mapping[str, Sequence[PairExample]],
    dropped: Mapping[str, Mapping[str, Sequence[Example]]],
    params: Params,
    *,
    downloads: Statistics | None = None,
    licences: Mapping[str, int] | None = None,
    warning: str = "",
) -> str:
    """Return the page. It holds no date and nothing random: equal arguments give equal bytes.

    Args:
        now: the dataset.
        before: its last version, if there is one.
        pairs: kind of edit → training pairs.
        dropped: stage → reason → samples that were dropped.
        params: the thresholds, and the source.
        downloads: what became of the URLs, if the pictures were downloaded.
        licences: licence → images of the corpus, if the source states any.
        warning: a sentence about the texts, if there is reason for one.
    """
    source = params.ingest.source
    return render(
        "dataset.html",
        columns=4,
        title="The dataset",
        source="the embedded world" if isinstance(source, OpenMojiSource) else f"{source.kind} {source.path}",
        now=now,
        downloads=downloads,
        licences=licences,
        warning=warning,
        rows=[(stage, count, now.dropped[stage]) for stage, count in now.kept.items()],
        has_before=before is not None,
        changed=[] if before is None else differences(before, now),
        words=([], []) if before is None else new_and_gone(before, now),
        relations=[
            (relation, now.relations.get(relation, 0), [_pair(pair) for pair in samples]) for relation, samples in pairs.items()
        ],
        plots=_plots(now, params),
        dropped=[
            (stage, reason, now.dropped.get(stage, {}).get(reason, 0), [_example(each) for each in samples])
            for stage, reasons in dropped.items()
            for reason, samples in reasons.items()
        ],
        credits_line=CREDITS if isinstance(source, OpenMojiSource) else "",
    )


def _plots(now: Figures, params: Params) -> list[tuple[str, list[tuple[str, Markup]]]]:
    """Return the plots of the page, by their heading; those without values are left out."""
    config, masks = params.retrieve, params.segment
    limits: dict[str, dict[str, float]] = {
        "image_image": {"min_image_image": config.min_image_image, "near_duplicate": config.near_duplicate},
        "text_image": {"min_text_image": config.min_text_image},
        "directional": {"min_directional": config.min_directional},
    }
    scores = [
        (words, bars(now.scores[name], words, {key: value for key, value in limits.get(name, {}).items() if value > -1}))
        for name, words in SCORES.items()
        if now.scores[name].counts
    ]
    sizes = {"min_area": masks.min_area, "max_area": masks.max_area}
    areas = [
        (f"mask of the {side}", bars(each, f"share of the {side} picture", sizes))
        for side, each in now.areas.items()
        if each.counts
    ]
    uses: list[tuple[str, Markup]] = []
    if now.uses:
        most = max(now.uses)
        counts = [now.uses.get(count, 0) for count in range(1, most + 1)]
        edges = (np.arange(most + 1) + 0.5).tolist()
        uses = [("Use of targets", plot_bars(edges, counts, "uses", "pairs with the same target", {}))]
    return [("Scores of the pairs", scores), ("Sizes of masks", areas), ("Use of targets", uses)]


def bars(histogram: Histogram, label: str, limits: Mapping[str, float]) -> Markup:
    """Plot a histogram, which has a value, with limits as vertical lines; ``label`` says what the values are."""
    high = histogram.high if histogram.high > histogram.low else histogram.low + 1e-3
    edges = np.linspace(histogram.low, high, len(histogram.counts) + 1).tolist()
    return plot_bars(edges, histogram.counts, label, label, limits)


def _pair(example: PairExample) -> dict[str, Any]:
    pair = example.pair
    pictures = (pair.source, overlay(pair.source, pair.source_mask), pair.target, overlay(pair.target, pair.target_mask))
    return {
        "words": pair.edit_prompt,
        "more": f"from: {pair.source_caption}; {pair.source_diff} → {pair.target_diff}; {example.files}",
        "pictures": [data_uri(picture) for picture in pictures],
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "words": example.words,
        "more": example.more,
        "pictures": [data_uri(picture) for picture in example.pictures],
    }
