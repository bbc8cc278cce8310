"""Masks of what each edit changes, in source and target: made once for a picture and a phrase, and kept."""

import hashlib
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from stages.common.ahead import call_ahead
from stages.common.batches import padded_batches
from stages.common.parquet import read_columns, write_columns
from stages.core.earlier import Hashes, hashes_of_texts
from stages.core.params import Segment
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.corpus.corpus import Corpus, Location
from stages.pairing.columns import PAIR_COLUMNS
from stages.pairing.rendered import render_target
from stages.pairing.training_set import ROW_COLUMNS, pack_mask

if TYPE_CHECKING:
    from stages.models.segmenter import Inputs, Segmenter

MASKED_COLUMNS = {"split": "string", **ROW_COLUMNS}
"""The table that :class:`MaskingWorker` writes: every pair that has a target, with its masks, whatever they are like."""

SIDES = ("source", "target")
PARTS = ("pixels", "diff", "mask", "mask_area")  # columns of each side: what a mask is made of, and the mask
NO_TARGET = "no true target"

Query = tuple[str, str]  # digest of a picture's pixels, and the phrase to look for in it
Mask = tuple[bytes, float]  # packed, and its area
Open = Callable[[], Image.Image]
Prepared = tuple[list[Query], tuple[int, int], "Inputs"]  # queries, height and width of their pictures, the network's inputs


@dataclass(frozen=True, kw_only=True)
class Target:
    """The target of a pair."""

    pixels: str  # digest
    alt_text: str
    png: bytes  # a true target; empty if the target is a picture of the corpus
    open: Open


@dataclass(frozen=True, kw_only=True)
class MaskingWorker:
    """Masks the pairs of a table; masks that earlier tables have are taken from there."""

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
        pairs = read_columns(task.inputs[0], PAIR_COLUMNS)
        sources, targets = self._find_pictures(pairs)
        places = [place for place, target in enumerate(targets) if target is not None]
        kept = pairs.take(np.array(places, np.int64))
        sources, found = [sources[place] for place in places], [target for target in targets if target is not None]
        queries = {
            "source": list(zip(kept["source_pixels"].to_pylist(), kept["source_diff"].to_pylist(), strict=True)),
            "target": list(zip((target.pixels for target in found), kept["target_diff"].to_pylist(), strict=True)),
        }
        pictures: dict[Query, Open] = {}
        for source, target, source_query, target_query in zip(sources, found, *queries.values(), strict=True):
            pictures |= {source_query: partial(self.worker.corpus.picture, source), target_query: target.open}
        known: dict[Query, Mask] = {}
        for (path,) in files.earlier.holding(_hashes(pictures)):
            known |= _known_masks(path, pictures)
        is_known = [all(query in known for query in pair) for pair in zip(*queries.values(), strict=True)]
        advance(len(targets) - len(places) + sum(is_known))
        missing = {query: picture for query, picture in pictures.items() if query not in known}
        masks = known | dict(self._make_masks(missing, advance))
        _write(files.output, kept, found, {side: [masks[query] for query in each] for side, each in queries.items()})
        result = ShardResult(done=len(places), reused=sum(is_known))
        if len(places) < len(targets):
            result.dropped[NO_TARGET] = len(targets) - len(places)
        return result

    def _find_pictures(self, pairs: pa.Table) -> tuple[list[Location], list[Target | None]]:
        """Return the source and the target of every pair; a pair that has no true target gets None."""
        corpus, rows = self.worker.corpus, pairs.to_pylist()
        sources = [_location(row, "key", "source") for row in rows]
        if self.worker.config.targets == "rendered":
            origins = [row.origin for row in corpus.rows_of([source.key for source in sources])]
            return sources, [self._render(*each) for each in zip(origins, rows, strict=True)]
        places = [_location(row, "target_key", "target") for row in rows]
        return sources, [
            Target(pixels=row["target_pixels"], alt_text=row["target_alt_text"], png=b"", open=partial(corpus.picture, place))
            for row, place in zip(rows, places, strict=True)
        ]

    def _render(self, origin: Mapping[str, Any], pair: Mapping[str, Any]) -> Target | None:
        """Return the true target of a pair; ``origin`` is its source's."""
        rendered = render_target(origin, pair, self.worker.seed, self.worker.size)
        if rendered is None:
            return None
        picture, alt_text = rendered
        png = _png(picture)
        pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        return Target(pixels=pixels, alt_text=alt_text, png=png, open=partial(_open_png, png))

    def _make_masks(self, pictures: Mapping[Query, Open], advance: Advance) -> Iterator[tuple[Query, Mask]]:
        """Yield a mask for every query; a thread decodes and prepares the next pictures while the network works."""
        batches = padded_batches(pictures.items(), self.worker.config.batch)
        for queries, size, inputs in call_ahead((partial(self._prepare, *batch) for batch in batches), ahead=2):
            probabilities = self.segmenter.predict(inputs, size)[: len(queries), 0]
            found = (probabilities >= self.worker.config.threshold).cpu().numpy()
            for query, mask in zip(queries, found, strict=True):
                yield query, (pack_mask(mask), float(mask.mean()))
            advance(len(queries) // len(SIDES))

    def _prepare(self, batch: list[tuple[Query, Open]], count: int) -> Prepared:
        """Return what the network reads of a batch, of which the items after ``count`` fill it up."""
        pictures = [open_picture() for _, open_picture in batch[:count]]
        pictures += pictures[-1:] * (len(batch) - count)
        queries = [query for query, _ in batch]
        inputs = self.segmenter.prepare(pictures, [phrase for _, phrase in queries])
        return queries[:count], (pictures[0].height, pictures[0].width), inputs


def _location(pair: Mapping[str, Any], key: str, side: str) -> Location:
    """Return where the picture of one side of a pair lies; ``key`` is the column of its key."""
    return Location(
        key=pair[key],
        offset=pair[f"{side}_offset"],
        length=pair[f"{side}_length"],
        width=pair["width"],
        height=pair["height"],
        pixels=pair[f"{side}_pixels"],
    )


def _write(path: Path, pairs: pa.Table, targets: Sequence[Target], masks: Mapping[str, Sequence[Mask]]) -> None:
    """Write a table of masked pairs, by columns."""
    columns = {name: pairs[name] for name in PAIR_COLUMNS}
    columns |= {
        "target_alt_text": [target.alt_text for target in targets],
        "target_pixels": [target.pixels for target in targets],
        "target_png": [target.png for target in targets],
    }
    for side, each in masks.items():
        columns |= {f"{side}_mask": [mask for mask, _ in each], f"{side}_mask_area": [area for _, area in each]}
    write_columns(path, columns, MASKED_COLUMNS)


def hashes_of_masks(outputs: tuple[Path, ...]) -> Hashes:
    """Return the hashes of the queries whose masks a shard of :class:`MaskingWorker` holds."""
    found = read_columns(outputs[0], {name: MASKED_COLUMNS[name] for side in SIDES for name in _columns(side)[:2]})
    return _hashes(query for side in SIDES for query in _queries(found, side))


def _known_masks(table: Path, wanted: Collection[Query]) -> dict[Query, Mask]:
    """Return those of the wanted masks that a table of :class:`MaskingWorker` has."""
    found = read_columns(table, {name: MASKED_COLUMNS[name] for side in SIDES for name in _columns(side)})
    known: dict[Query, Mask] = {}
    for side in SIDES:
        rows = [row for row, query in enumerate(_queries(found, side)) if query in wanted]
        chosen = found.take(np.array(rows, np.int64))
        masks, areas = (chosen[name].to_pylist() for name in _columns(side)[2:])
        known |= zip(_queries(chosen, side), zip(masks, areas, strict=True), strict=True)
    return known


def _queries(table: pa.Table, side: str) -> list[Query]:
    pixels, phrases = (table[name].to_pylist() for name in _columns(side)[:2])
    return list(zip(pixels, phrases, strict=True))


def _columns(side: str) -> list[str]:
    return [f"{side}_{part}" for part in PARTS]


def _hashes(queries: Iterable[Query]) -> Hashes:
    return hashes_of_texts(f"{pixels} {phrase}" for pixels, phrase in queries)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=6)
    return buffer.getvalue()


def _open_png(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("PNG",)).convert("RGB")
