"""The terms that edit success ranks: what could stand where a case asks for its target term."""

from collections.abc import Sequence

from stages.common.text import one_line
from stages.core.errors import InputError, shorten
from stages.corpus.samples import EditSample


def candidates_of(cases: Sequence[EditSample]) -> list[list[str]]:
    """Return the candidates of each case, the target term among them.

    A case of a closed world names all of them itself, so that its score does not depend on the company. A case of an open
    world cannot: its candidates are the terms of all cases with its relation.

    Args:
        cases: n; ``metadata["relation"]`` names the kind of change.

    Raises:
        InputError: a case names its candidates in a way that :func:`named_candidates` refuses.
    """
    terms: dict[str, set[str]] = {}
    for case in cases:
        terms.setdefault(case.metadata["relation"], set()).update((case.source_diff, case.target_diff))
    return [named_candidates(case) or sorted(terms[case.metadata["relation"]]) for case in cases]


def named_candidates(case: EditSample) -> list[str]:
    """Return the candidates that a case names itself in ``metadata["candidates"]``; none if it has no such key.

    Raises:
        InputError: they are no list of texts with the target term and another one, or one of them is blank.
    """
    if "candidates" not in case.metadata:
        return []
    found = case.metadata["candidates"]
    terms = list(dict.fromkeys(map(one_line, found))) if isinstance(found, list) else []
    if case.target_diff not in terms or len(terms) < 2 or not all(terms):
        raise InputError(
            f"sample {case.key}: metadata: candidates = {shorten(found)}: must be a list of terms, among them the target term"
            f" {shorten(case.target_diff)} and another"
        )
    return terms
