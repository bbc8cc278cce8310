"""The parameters of the stage ingest: where images come from, and which are taken in."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.section import Count, Name, Section, Share


class OpenMojiSource(Section):
    """The embedded world, drawn from OpenMoji artwork."""

    kind: Literal["openmoji"]
    images: Count  # for training
    cases: Count  # held-out edits with true masks


class FolderSource(Section):
    """A folder of images, alone or with their tables and texts; see :mod:`stages.corpus.folder`."""

    kind: Literal["folder"]
    path: Name
    text: Name | None  # the column of the captions; null: text or caption


class WebDatasetSource(Section):
    """Tar files as img2dataset writes them: a local glob, or any glob that fsspec understands (s3://bucket/*.tar)."""

    kind: Literal["webdataset"]
    path: Name


Source = OpenMojiSource | FolderSource | WebDatasetSource


class Filter(Section):
    """What a column of the source's metadata must say of a sample; see :mod:`stages.corpus.filters`."""

    min: float | None = None  # numbers below are left out
    max: float | None = None  # numbers above are left out
    any: list[Name] | None = None  # texts other than these are left out; upper and lower case count as one

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        is_number, is_text = self.min is not None or self.max is not None, self.any is not None
        if is_number == is_text or self.any == []:
            raise PydanticCustomError("no_filter", "must have min or max, which are numbers, or any, which is a list of texts")
        return self


class Ingest(Section):
    """The corpus: where images come from, and which are accepted."""

    source: Source = Field(discriminator="kind")
    filters: dict[Name, Filter]  # column of the source's metadata → what it must say; see conf/base.yaml
    size: Annotated[int, Field(ge=16, le=2048, multiple_of=8)]  # pixels a side; images are cropped to a square
    shard_size: Annotated[int, Field(gt=0, le=10_000)]  # samples per shard; a key has four digits for them
    min_side: Count  # pixels; smaller images are refused
    max_pixels: Annotated[int, Field(gt=0, le=178_956_970)]  # larger images are refused; beyond it, by Pillow itself
    format: Literal["png", "webp", "jpeg"]  # of the pictures in the corpus
    quality: Annotated[int, Field(ge=1, le=100)]  # of webp and jpeg
    near_duplicates: Annotated[int, Field(ge=0, le=7)] | None  # bits of 64 in which perceptual hashes may differ
    max_refused: Share  # share of refused images above which the stage fails
