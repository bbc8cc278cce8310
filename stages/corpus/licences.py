"""The licences of the corpus, as its source states them."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc

from stages.common.parquet import read_columns
from stages.core.paths import CORPUS
from stages.core.shards import list_shards

SHOWN_LICENCES = 20  # the commonest ones
OTHER, UNSTATED = "other licences", "not stated"
STATED = r'"license": (?P<licence>"(?:[^"\\]|\\.)*")'  # in the JSON of an origin, where a quote within a text is escaped


def count_licences(corpus: Path = CORPUS) -> dict[str, int]:
    """Return the images of the corpus by the licence that its source states, the commonest first; empty if it states none.

    Raises:
        InputError: an index of the corpus is missing or damaged.
    """
    found = Counter[str]()
    for index in list_shards(corpus, ".parquet"):
        origins = read_columns(index, {"origin": "string"})["origin"]
        stated = pc.struct_field(pc.extract_regex(origins, STATED), "licence")
        for each in pc.value_counts(stated).to_pylist():
            licence = "" if each["values"] is None else json.loads(each["values"]).strip()
            found[licence or UNSTATED] += each["counts"]
    if found.keys() <= {UNSTATED}:
        return {}
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    shown, others = Counter(dict(ordered[:SHOWN_LICENCES])), ordered[SHOWN_LICENCES:]
    if others:
        shown[OTHER] += sum(count for _, count in others)
    return dict(shown)
