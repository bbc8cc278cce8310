"""Stage segment: mask what each edit is about in source and target with CLIPSeg, and write the training set."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stages.common.parquet import batched, read_table
from stages.core.errors import InputError
from stages.core.params import OpenMojiSource, Params, Segment
from stages.core.provenance import source_digest
from stages.core.shards import ShardResult, ShardTask, list_shards, map_shards
from stages.corpus.samples import CorpusReader, EditSample, read_corpus, write_edits
from stages.models.hub import identity
from stages.models.segmenter import Segmenter, load_segmenter
from stages.pairing.columns import PAIR_COLUMNS, SCORES
from stages.pairing.rendered import render_target

CORPUS = Path("data/corpus")
PAIRS = Path("data/pairs")
FOLDERS = {"training": Path("data/training"), "heldout": Path("data/heldout")}
FindTarget = Callable[[Mapping[str, Any]], tuple[Image.Image, str] | None]
"""From a pair to its target picture and that one's alt text, or None where there is none."""


def segment(params: Params) -> None:
    """Write ``data/training/NAME.tar`` and ``data/heldout/NAME.tar``: pairs with the masks of what differs."""
    config = params.segment
    if config.targets == "rendered" and not isinstance(params.ingest.source, OpenMojiSource):
        raise InputError("segment.targets = 'rendered': only the embedded world knows true targets; allowed is 'retrieved'")
    segmenter = load_segmenter(config.model)
    reader = CorpusReader(list_shards(CORPUS, ".tar"))
    tables = {path.stem: read_table(path, PAIR_COLUMNS) for path in list_shards(PAIRS, ".parquet")}
    code = source_digest(__file__)
    settings = {"segment": config.model_dump(), "model": identity(config.model), "code": code, "seed": params.seed}
    for split, folder in FOLDERS.items():
        rows = {name: [row for row in table if row["split"] == split] for name, table in tables.items()}
        tasks = [
            ShardTask(
                name=name,
                inputs=(CORPUS / f"{name}.tar", *sorted({reader.shard(row["target_key"]) for row in pairs})),
                samples=len(pairs),
                settings={"pairs": pairs},
            )
            for name, pairs in rows.items()
        ]

        def work(
            task: ShardTask,
            output: Path,
            advance: Callable[[int], object],
            rows: dict[str, list[dict[str, Any]]] = rows,
        ) -> ShardResult:
            result = ShardResult()
            alt_texts: dict[str, str] = {}
            origins: dict[str, Any] = {}
            for sample in (sample for path in task.inputs for sample in read_corpus(path)):
                alt_texts[sample.key], origins[sample.key] = sample.alt_text, sample.metadata.get("origin")

            def retrieved(pair: Mapping[str, Any]) -> tuple[Image.Image, str]:
                return reader.image(pair["target_key"]), alt_texts[pair["target_key"]]

            def rendered(pair: Mapping[str, Any]) -> tuple[Image.Image, str] | None:
                return render_target(origins[pair["key"]], pair, params.seed, params.ingest.size)

            find_target: FindTarget = {"retrieved": retrieved, "rendered": rendered}[config.targets]
            found = _mask_pairs(rows[task.name], reader, find_target, segmenter, config, result, advance)
            result.done = write_edits(output, found)
            return result

        stage = "segment" if split == "training" else "segment held out"
        map_shards(stage=stage, tasks=tasks, folder=folder, suffix=".tar", settings=settings, work=work).report()


def _mask_pairs(
    pairs: list[dict[str, Any]],
    reader: CorpusReader,
    find_target: FindTarget,
    segmenter: Segmenter,
    config: Segment,
    result: ShardResult,
    advance: Callable[[int], object],
) -> Iterator[EditSample]:
    """Yield the pairs whose masks are neither empty nor full, and count the others in ``result``."""
    for rows in batched(pairs, config.batch):
        found = [(row, target) for row in rows if (target := find_target(row)) is not None]
        if len(found) < len(rows):
            result.dropped["no true target"] += len(rows) - len(found)
        if not found:
            advance(len(rows))
            continue
        part = [row for row, _ in found]
        sources = [reader.image(row["key"]) for row in part]
        targets, alt_texts = zip(*(target for _, target in found), strict=True)
        source_masks = segmenter.probabilities(sources, [row["source_diff"] for row in part]) >= config.threshold
        target_masks = segmenter.probabilities(targets, [row["target_diff"] for row in part]) >= config.threshold
        for place, row in enumerate(part):
            m1, m2 = source_masks[place, 0], target_masks[place, 0]
            reason = _objection(m1, "source", config) or _objection(m2, "target", config)
            if reason is not None:
                result.dropped[reason] += 1
                continue
            yield EditSample(
                key=row["key"],
                source=sources[place],
                target=targets[place],
                source_mask=_image(m1),
                target_mask=_image(m2),
                source_caption=row["caption"],
                edit_prompt=row["edit_prompt"],
                source_diff=row["source_diff"],
                target_diff=row["target_diff"],
                target_alt_text=alt_texts[place],
                metadata={
                    "target_key": row["target_key"],
                    "relation": row["relation"],
                    "source_mask_area": round(m1.float().mean().item(), 6),
                    "target_mask_area": round(m2.float().mean().item(), 6),
                    **{name: round(row[name], 6) for name in SCORES},
                },
            )
        advance(len(rows))


def _objection(mask: torch.Tensor, name: str, config: Segment) -> str | None:
    """Return why a mask is of no use, or None."""
    area = mask.float().mean().item()
    if area == 0 or area < config.min_area:
        return f"{name} mask empty or below segment.min_area"
    if area == 1 or area > config.max_area:
        return f"{name} mask full or above segment.max_area"
    return None


def _image(mask: torch.Tensor) -> Image.Image:
    """Return a boolean mask (height, width) as an "L" image of 0 and 255."""
    return Image.fromarray(mask.cpu().numpy().astype(np.uint8) * 255)
