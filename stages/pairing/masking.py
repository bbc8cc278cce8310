"""Masks of what each edit changes, in source and target: made once for a picture and a phrase, and kept."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image

from stages.common.ahead import call_ahead
from stages.common.batches import padded_batches
from stages.common.parquet import read_table, write_table
from stages.core.params import Segment
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.corpus.corpus import Corpus
from stages.pairing.columns import PAIR_COLUMNS
from stages.pairing.rendered import render_target
from stages.pairing.training_set import ROW_COLUMNS, pack_mask

if TYPE_CHECKING:
    from stages.models.segmenter import Inputs, Segmenter

MASKED_COLUMNS = {"split": "string", **ROW_COLUMNS}
"""The table that :class:`MaskingWorker` writes: every pair that has a target, with its masks, whatever they are like."""

SIDES = ("source", "target")
NO_TARGET = "no true target"

Record = dict[str, Any]  # a row of a table
Query = tuple[str, str]  # digest of a picture's pixels, and the phrase to look for in it
Mask = dict[str, Any]  # ``mask``, packed, and ``mask_area``
Prepared = tuple[list[Query], tuple[int, int], "Inputs"]  # queries, height and width of their pictures, the network's inputs


@dataclass(frozen=True, kw_only=True)
class MaskingWorker:
    """Masks the pairs of a table; masks that its earlier output has are taken from there."""

    modules: ClassVar = ("stages.models.segmenter",)
    config: Segment
    corpus: Corpus
    seed: int  # the pipeline's seed, to draw true targets
    size: int  # side of the pictures in pixels, to draw true targets

    def load(self) -> Work:
        """Load CLIPSeg."""
        from stages.models.segmenter import load_segmenter

        return _Masking(worker=self, segmenter=load_segmenter(self.config.model))


@dataclass(frozen=True, kw_only=True)
class _Masking:
    worker: MaskingWorker
    segmenter: "Segmenter"

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write the masked pairs of ``task.inputs[0]``, a table of pairs; those without a true target are dropped."""
        pairs = read_table(task.inputs[0], PAIR_COLUMNS)
        records = [record for record in map(self._find_target, pairs) if record is not None]
        known = _known_masks(files.previous[0]) if files.previous else {}
        changed = [record for record in records if not all(query in known for query in _queries(record))]
        advance(len(pairs) - len(changed))
        masks = known | dict(self._make_masks(self._pictures(changed, known), advance))
        for record in records:
            for side, query in zip(SIDES, _queries(record), strict=True):
                record |= {f"{side}_{name}": value for name, value in masks[query].items()}
        write_table(files.output, records, MASKED_COLUMNS)
        result = ShardResult(done=len(records), reused=len(records) - len(changed))
        if len(records) < len(pairs):
            result.dropped[NO_TARGET] = len(pairs) - len(records)
        return result

    def _find_target(self, pair: Record) -> Record | None:
        """Return a pair with what the corpus knows of its images, masks left out; None if it has no true target."""
        source = self.worker.corpus.row(pair["key"])
        record = pair | {"source_pixels": source.pixels, "width": source.width, "height": source.height}
        if self.worker.config.targets == "retrieved":
            target = self.worker.corpus.row(pair["target_key"])
            return record | {"target_pixels": target.pixels, "target_alt_text": target.alt_text, "target_png": b""}
        rendered = render_target(source.origin, pair, self.worker.seed, self.worker.size)
        if rendered is None:
            return None
        picture, alt_text = rendered
        pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        return record | {"target_pixels": pixels, "target_alt_text": alt_text, "target_png": _png(picture)}

    def _pictures(self, records: list[Record], known: Mapping[Query, Mask]) -> dict[Query, Callable[[], Image.Image]]:
        """Return how to open the picture of every query that no mask is known for."""
        pictures: dict[Query, Callable[[], Image.Image]] = {}
        for record in records:
            source, target = _queries(record)
            pictures[source] = partial(self.worker.corpus.image, record["key"])
            png = record["target_png"]
            pictures[target] = partial(_open_png, png) if png else partial(self.worker.corpus.image, record["target_key"])
        return {query: picture for query, picture in pictures.items() if query not in known}

    def _make_masks(
        self, pictures: Mapping[Query, Callable[[], Image.Image]], advance: Advance
    ) -> Iterator[tuple[Query, Mask]]:
        """Yield a mask for every query; a thread decodes and prepares the next pictures while the network works."""
        batches = padded_batches(pictures.items(), self.worker.config.batch)
        for queries, size, inputs in call_ahead((partial(self._prepare, *batch) for batch in batches), ahead=2):
            probabilities = self.segmenter.predict(inputs, size)[: len(queries), 0]
            found = (probabilities >= self.worker.config.threshold).cpu().numpy()
            for query, mask in zip(queries, found, strict=True):
                yield query, {"mask": pack_mask(mask), "mask_area": float(mask.mean())}
            advance(len(queries) // len(SIDES))

    def _prepare(self, batch: list[tuple[Query, Callable[[], Image.Image]]], count: int) -> Prepared:
        """Return what the network reads of a batch, of which the items after ``count`` fill it up."""
        pictures = [open_picture() for _, open_picture in batch[:count]]
        pictures += pictures[-1:] * (len(batch) - count)
        queries = [query for query, _ in batch]
        inputs = self.segmenter.prepare(pictures, [phrase for _, phrase in queries])
        return queries[:count], (pictures[0].height, pictures[0].width), inputs


def _queries(record: Record) -> tuple[Query, Query]:
    """Return what the masks of source and target are made from."""
    source, target = ((record[f"{side}_pixels"], record[f"{side}_diff"]) for side in SIDES)
    return source, target


def _known_masks(table: Path) -> dict[Query, Mask]:
    """Return the masks in a table that :class:`MaskingWorker` has written."""
    return {
        query: {name: record[f"{side}_{name}"] for name in ("mask", "mask_area")}
        for record in read_table(table, MASKED_COLUMNS)
        for side, query in zip(SIDES, _queries(record), strict=True)
    }


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=6)
    return buffer.getvalue()


def _open_png(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("PNG",)).convert("RGB")
