"""How many captions get an edit, by the paper preset's rules: ``python -m stages.studies.mutation``.

Prints the share of drawn and of written captions with an edit, and why the others have none. With ``--read 200`` it prints
so many edits instead, drawn by the seed from those of the drawn captions, to be read one by one. ``--captions FILE`` takes the
captions of a file, one on a line, in place of the drawn ones.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stages.common.seeds import derive_seed
from stages.core.errors import InputError
from stages.core.params import Mutate
from stages.language.captions import mend_caption
from stages.language.mutation import Dropped, Mutation, mutate_caption
from stages.language.rules import Rules, read_rules
from stages.studies.mutation.captions import draw_captions, read_captions, written_captions

RULES = Mutate(vocabulary=None, levels=2, adjective_share=0.5)  # the paper preset's


Result = tuple[str, Mutation | Dropped]


def edit_all(captions: Sequence[str], rules: Rules, seed: int) -> list[Result]:
    """Return every caption, mended as the stage mutate does, with its edit or why it has none."""
    mended = [mend_caption(caption) for caption in captions]
    return [(caption, mutate_caption(caption, rules, derive_seed(seed, "mutate", caption))) for caption in mended]


def describe(name: str, results: Sequence[Result]) -> str:
    """Return one line: the share of captions with an edit, and how many have none for which reason."""
    reasons = Counter(str(result) for _, result in results if isinstance(result, Dropped))
    edits = len(results) - reasons.total()
    without = "; ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
    return f"{name}: {edits} of {len(results)} captions have an edit ({edits / len(results):.1%}); {without or 'none is left'}"


def main() -> None:
    """Measure, or print edits to read."""
    parser = argparse.ArgumentParser(prog="python -m stages.studies.mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="captions to draw")
    parser.add_argument("--seed", type=int, default=1, help="of the captions and of their edits")
    parser.add_argument("--captions", type=Path, help="file of captions, one on a line, in place of the drawn ones")
    parser.add_argument("--read", type=int, default=0, help="edits to print")
    options = parser.parse_args()
    rules = read_rules(RULES)
    name = options.captions.name if options.captions else "drawn"
    captions = read_captions(options.captions) if options.captions else draw_captions(options.count, options.seed)
    drawn = edit_all(captions, rules, options.seed)
    if options.read:
        edits = [(caption, edit) for caption, edit in drawn if isinstance(edit, Mutation)]
        for caption, edit in random.Random(options.seed).sample(edits, min(options.read, len(edits))):
            print(f"{caption} → {edit.edit_prompt}")
        return
    print(describe(name, drawn))
    print(describe("written", edit_all(written_captions(), rules, options.seed)))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
