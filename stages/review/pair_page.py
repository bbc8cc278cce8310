"""The page on which people judge pairs, by keyboard."""

from dataclasses import asdict, dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.paths import DECISIONS
from stages.language.change import describe_change
from stages.language.rules import read_rules
from stages.pairing.decisions import Mended, Verdict
from stages.pairing.scores import QUALITY, measuring_digest
from stages.review.cards import Cards
from stages.review.pairs import Pairs
from stages.review.reviewing import Done, Reviewing

AHEAD = 6  # cards made before they are asked for
PAST = {Verdict.KEEP: "kept", Verdict.DROP: "dropped", Verdict.MEND: "mended"}
KEYS = (
    ("k", "keep"), ("d", "drop"), ("e", "edit the prompt"), ("r", "remark"), ("u", "undo"), ("← →", "look around"),
    ("m", "masks"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PairPage:
    """What happens when a button of the page is pressed."""

    reviewing: Reviewing
    cards: Cards

    def show(self, score: str, place: int, done: list[Done], said: str = "") -> list[Any]:
        """Return what the page shows of a pair: place, card, status, prompt, remark, and the decisions that can be undone."""
        reviewing = self.reviewing
        try:
            card = self.cards.card(place)
            prompt = reviewing.prompt(place)
        except InputError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        after = [reviewing.neighbour(score, place, step) for step in (1, 2)]
        upcoming = reviewing.next_undecided(score, place)
        self.cards.announce([upcoming, *after, *self._undecided_after(score, upcoming)])
        decision = reviewing.decision(place)
        remark = "" if decision is None else decision.remark
        return [place, card, self._status(score, place, said), prompt, remark, done]

    def start(self, score: str, done: list[Done]) -> list[Any]:
        """Show the worst pair that nothing was decided about."""
        return self.show(score, self.reviewing.next_undecided(score), done)

    def move(self, step: int, score: str, place: int, done: list[Done]) -> list[Any]:
        """Show a neighbour of a pair."""
        return self.show(score, self.reviewing.neighbour(score, place, step), done)

    def decide(self, verdict: Verdict, score: str, place: int, prompt: str, remark: str, done: list[Done]) -> list[Any]:
        """Write a decision and show the next pair; a prompt that cannot be used stays for correction."""
        try:
            made = self.reviewing.decide(place, verdict, prompt=prompt, remark=remark)
        except InputError as error:
            shown = self.show(score, place, done, f'<strong class="refused">not saved: {escape(str(error))}</strong>')
            return [*shown[:3], prompt, remark, done]
        return self.show(score, self.reviewing.next_undecided(score, place), [*done, *([made] if made else [])])

    def undo(self, score: str, place: int, done: list[Done]) -> list[Any]:
        """Take the last decision of this browser back, and show its pair."""
        if not done:
            return self.show(score, place, done, "nothing to undo")
        try:
            self.reviewing.undo(done[-1])
        except InputError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        return self.show(score, done[-1].place, done[:-1], "undone")

    def _undecided_after(self, score: str, place: int) -> list[int]:
        """Return the pairs that decisions will lead to from here."""
        found = []
        for _ in range(AHEAD):
            place = self.reviewing.next_undecided(score, place)
            found.append(place)
        return found

    def _status(self, score: str, place: int, said: str) -> str:
        """Return where the page stands, what is decided about this pair, and how much is done."""
        counts, total = self.reviewing.counts(), len(self.reviewing.pairs)
        decision = self.reviewing.decision(place)
        verdict = "" if decision is None else f'<b class="{decision.decision}">{PAST[decision.decision]}</b>'
        tally = ", ".join(f"{counts[each.value]:,} {past}" for each, past in PAST.items())
        return (
            f'<p class="status"><span>{self.reviewing.rank(score, place) + 1:,} of {total:,}</span>{verdict}'
            f"<span>{tally}</span><span>{said}</span></p>"
        )


def open_pair_page(params: Params, score: str, reviewer: str) -> gr.Blocks:
    """Return the page over the pairs of this folder.

    Args:
        params: says what measured the scores, and which words a prompt may have.
        score: the name of the score that orders the pairs at first.
        reviewer: stands beside every decision.

    Raises:
        InputError: there is no pair that needs a review, or a file is damaged.
    """
    if params.segment.targets == "rendered":
        raise InputError("segment.targets = 'rendered': drawn targets show what they should; only retrieved ones are reviewed")
    vocabulary = None if params.mutate.vocabulary is None else read_rules(params.mutate).vocabulary

    def describe(caption: str, prompt: str) -> Mended:
        return Mended(**asdict(describe_change(caption, prompt, vocabulary)))

    describe_change("a dog", "a cat")  # reads the dictionary, so that the first mended prompt need not wait
    pairs = Pairs()
    reviewing = Reviewing(pairs, DECISIONS, reviewer=reviewer, scored_by=measuring_digest(params), describe=describe)
    return pair_page(reviewing, Cards(pairs), score)


def pair_page(reviewing: Reviewing, cards: Cards, score: str) -> gr.Blocks:
    """Return the page over the pairs, those first that are worst by a score."""
    page = PairPage(reviewing=reviewing, cards=cards)
    with gr.Blocks(title="Review of pairs", fill_width=False) as blocks:
        done, place = gr.State([]), gr.Number(visible=False, precision=0)
        with gr.Row(elem_id="bar"):
            status = gr.HTML(padding=False, min_width=260)
            orders = [(f"Worst first by {each.name}", each.name) for each in QUALITY]
            by = gr.Dropdown(orders, value=score, label="Order", elem_id="score", container=False, scale=0, min_width=260)
        card = gr.HTML(elem_id="card", padding=False)
        with gr.Row(elem_id="verdicts"):
            drop = gr.Button("Drop", elem_id="drop", min_width=80, variant="stop")
            undo = gr.Button("Undo", elem_id="undo", min_width=80)
            keep = gr.Button("Keep", elem_id="keep", min_width=80, variant="primary")
        with gr.Row():
            prompt = gr.Textbox(label="Prompt: Enter saves another one", elem_id="prompt", min_width=260, max_lines=1)
            remark = gr.Textbox(label="Remark: goes with the decision", elem_id="remark", min_width=260, max_lines=1)
        with gr.Row(elem_id="moves"):
            previous = gr.Button("← Previous", elem_id="previous", min_width=80, size="sm")
            following = gr.Button("Next →", elem_id="next", min_width=80, size="sm")
        gr.HTML(f'<p class="keys">{"".join(f"<span><kbd>{key}</kbd> {what}</span>" for key, what in KEYS)}</p>', padding=False)

        shown = [place, card, status, prompt, remark, done]
        options: dict[str, Any] = {"outputs": shown, "show_progress": "hidden", "queue": False, "api_visibility": "private"}
        for button, verdict in ((keep, Verdict.KEEP), (drop, Verdict.DROP)):
            button.click(partial(page.decide, verdict), [by, place, prompt, remark, done], **options)
        prompt.submit(partial(page.decide, Verdict.MEND), [by, place, prompt, remark, done], **options)
        undo.click(page.undo, [by, place, done], **options)
        for button, step in ((previous, -1), (following, 1)):
            button.click(partial(page.move, step), [by, place, done], **options)
        by.change(page.start, [by, done], **options)
        blocks.load(page.start, [by, done], **options)
    return blocks
