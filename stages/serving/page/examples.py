"""Pictures to start with: scenes of the embedded world, drawn when the page is built, each with an edit that fits it."""

from dataclasses import dataclass

from PIL import Image

from stages.corpus.held_out import render_case

CASES = (10, 2, 13, 14)  # of the evaluation cases of EXAMPLE_SEED: a locomotive, a deer, a mango, a cow
EXAMPLE_SEED = 7
EXAMPLE_SIDE = 512  # pixels


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture and an edit of it."""

    image: Image.Image
    caption: str
    prompt: str
    term: str
    source_term: str


def draw_examples() -> list[Example]:
    """Return the examples, each a picture with an edit that replaces the thing in it."""
    samples = [render_case(EXAMPLE_SEED, index, "evaluation", EXAMPLE_SIDE) for index in CASES]
    return [
        Example(
            image=sample.source,
            caption=sample.source_caption,
            prompt=sample.edit_prompt,
            term=sample.target_diff,
            source_term=sample.source_diff,
        )
        for sample in samples
    ]
