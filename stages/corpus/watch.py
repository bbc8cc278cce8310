"""What the source holds now. ``python -m stages.corpus.watch``, which DVC runs every time, before ingest.

DVC sees neither inside a glob nor outside the project. So this writes a digest of each part of the source, and ingest depends
on that: what came, went or changed is taken in by the next ``dvc repro``, and ingest rests where nothing did.
"""

import sys

from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import value_digest, write_json
from stages.core.params import Params
from stages.core.paths import SOURCE
from stages.core.run import run
from stages.corpus.sources import list_parts


def watch(params: Params) -> None:
    """Write ``data/source.json``: part of the source → digest of its files and of what else decides its samples.

    A source that has gone is taken to be as it was when it was listed last, so that later stages can run from their data.

    Raises:
        InputError: the source cannot be listed, and never was.
    """
    try:
        parts = list_parts(params)
        with Digests() as digests:
            found = {part.shard: value_digest([[digests.of(path) for path in part.inputs], part.settings]) for part in parts}
    except (InputError, OSError) as error:
        if not SOURCE.is_file():
            raise
        print(f"warning: {error}; the source is taken to be as it was", file=sys.stderr)
        return
    write_json(SOURCE, found)


if __name__ == "__main__":
    run(watch)
