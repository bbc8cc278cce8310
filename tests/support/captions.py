"""Every edit of a caption, which the stage mutate draws one of."""

from stages.language.mutation import Dropped, Mutation, find_edits
from stages.language.rules import Rules


def possible_edits(caption: str, rules: Rules) -> list[Mutation] | Dropped:
    """Return the edits of ``caption`` under all seeds, or why there is none."""
    possible = find_edits(caption, rules)
    return possible if isinstance(possible, Dropped) else possible.all_edits()
