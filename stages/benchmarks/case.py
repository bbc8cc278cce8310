"""A case of a benchmark, whatever its format. Pictures are read when they are needed: a benchmark may not fit the memory."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from stages.comparison.cases import Case
from stages.core.files import value_digest
from stages.core.paths import EDITED_BENCHMARKS
from stages.corpus.samples import EditSample

Read = Callable[[], Image.Image]


@dataclass(frozen=True, kw_only=True)
class BenchmarkCase:
    """A requested edit."""

    key: str  # unique; the noise depends on it
    kind: str  # of edit, in the benchmark's own words
    source: Read  # RGB
    mask: Read  # "L", 0 or 255, of the source's size: where the picture may change
    source_prompt: str  # what the source shows
    prompt: str  # what the edit should show
    local_prompt: str = ""  # what its changed part should show; "" if unknown
    source_term: str = ""  # the part of the source's prompt that changes; "" if unknown
    term: str = ""  # the part of the prompt that is new; "" if unknown
    instruction: str = ""  # what is to be done, for models that are trained on instructions; "" if unknown
    target: Read | None = None  # what a person made of it, RGB
    after: str = ""  # key of the case whose edit is edited further, instead of the source
    is_scored: bool = True

    def at(self, size: int, source: Image.Image | None = None) -> Case:
        """Return the case as the systems edit it, resized to a square of ``size`` pixels a side; equal ones keep their pixels.

        Args:
            size: of the models.
            source: stands in for the source.
        """
        picture = (source or self.source()).resize((size, size), Image.Resampling.BICUBIC)
        mask = self.mask().resize((size, size), Image.Resampling.NEAREST)
        words = {
            "source_caption": self.source_prompt,
            "edit_prompt": self.prompt,
            "source_diff": self.source_term or self.source_prompt,
            "target_diff": self.term or self.source_term or self.prompt,  # a deletion is about what goes
            "target_alt_text": "",
        }
        instruction = self.instruction or ("" if self.source_term and self.term else self.prompt)
        sample = EditSample(
            key=self.key,
            source=picture,
            target=picture,
            source_mask=mask,
            target_mask=mask,
            **words,
            metadata={"relation": self.kind, "instruction": instruction},
        )
        digest = value_digest([words, instruction, _png(picture).hex(), _png(mask).hex()])
        return Case(sample=sample, shard=EDITED_BENCHMARKS, digest=digest)


def whole(source: Read) -> Read:
    """Return a reader of a mask of the whole picture, for a case without one."""
    return lambda: Image.new("L", source().size, 255)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=1)
    return buffer.getvalue()
