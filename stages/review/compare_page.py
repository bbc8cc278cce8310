"""The page on which people compare the edits of two versions, blind and by keyboard."""

from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from stages.comparison.cases import read_cases
from stages.core.errors import InputError
from stages.core.params import Params
from stages.review.cards import changes_html
from stages.review.comparing import Comparing, Side, Turn
from stages.review.contenders import Contender
from stages.review.pictures import picture_html
from stages.tracking.preferences import QUESTIONS

KEYS = (("←", "left"), ("↓", "same"), ("→", "right"), ("u", "undo"))


@dataclass(frozen=True, kw_only=True)
class ComparePage:
    """What happens when a button of the page is pressed."""

    comparing: Comparing

    def show(self, done: list[Turn]) -> list[Any]:
        """Return what the page shows: the turn's number, its card, the status, and the turns that can be undone."""
        turn = self.comparing.next_turn()
        card = '<p class="prompt">Everything is answered. Thank you.</p>' if turn is None else self._card(turn)
        answered, total = self.comparing.progress()
        number = None if turn is None else self.comparing.number(turn)
        return [number, card, f'<p class="status"><span>{answered:,} of {total:,} answered</span></p>', done]

    def start(self) -> list[Any]:
        """Show the first question without an answer."""
        return self.show([])

    def answer(self, side: Side | None, number: int | None, done: list[Turn]) -> list[Any]:
        """Write the answer to the question that the browser shows, and show the next one; a second answer does not count."""
        turn = self.comparing.unanswered(number)
        if turn is None:
            return [*self.show(done)[:3], gr.skip()]
        try:
            self.comparing.answer(turn, side)
        except InputError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        return self.show([*done, turn])

    def undo(self, done: list[Turn]) -> list[Any]:
        """Take the last answer of this browser back."""
        if done:
            try:
                self.comparing.undo(done[-1])
            except InputError as error:
                raise gr.Error(escape(str(error)), print_exception=False) from error
        return self.show(done[:-1])

    def _card(self, turn: Turn) -> str:
        case = self.comparing.cases[turn.case]
        left, right = self.comparing.pictures(turn.case)
        shown = (("Left", left), ("Source", case.source), ("Right", right))
        pictures = (f"<figure>{picture_html(each, name)}<figcaption>{name}</figcaption></figure>" for name, each in shown)
        return (
            f'<p class="question {turn.question}">{QUESTIONS[turn.question]}</p>'
            f'<p class="prompt">{changes_html(case.source_caption, case.edit_prompt)}</p>'
            f'<div class="pictures three">{"".join(pictures)}</div>'
        )


def open_compare_page(params: Params, contenders: tuple[Contender, Contender], file: Path, tester: str) -> gr.Blocks:
    """Return the page over two contenders' edits of the current cases; edits that are missing are made first.

    Args:
        params: the cases and the seed.
        contenders: the two in the order in which their answers are kept.
        file: gets the answers.
        tester: stands beside every answer.

    Raises:
        InputError: the edits cannot be made, or a file is damaged.
    """
    cases = read_cases(params).samples
    first, second = (each.edits(cases) for each in contenders)
    return compare_page(Comparing(cases, (first, second), file, tester=tester, seed=params.seed))


def compare_page(comparing: Comparing) -> gr.Blocks:
    """Return the page over the cases of a comparison."""
    page = ComparePage(comparing=comparing)
    with gr.Blocks(title="Which edit is better?", fill_width=False) as blocks:
        turn, done = gr.Number(visible=False, precision=0), gr.State([])
        status = gr.HTML(padding=False)
        card = gr.HTML(elem_id="card", padding=False)
        with gr.Row(elem_id="verdicts"):
            left = gr.Button("← Left", elem_id="left", min_width=80, variant="primary")
            same = gr.Button("↓ Same", elem_id="same", min_width=80)
            right = gr.Button("Right →", elem_id="right", min_width=80, variant="primary")
        undo = gr.Button("Undo", elem_id="undo", size="sm")
        gr.HTML(f'<p class="keys">{"".join(f"<span><kbd>{key}</kbd> {what}</span>" for key, what in KEYS)}</p>', padding=False)

        outputs = [turn, card, status, done]
        options: dict[str, Any] = {"outputs": outputs, "show_progress": "hidden", "queue": False, "api_visibility": "private"}
        sides: tuple[tuple[gr.Button, Side | None], ...] = ((left, "left"), (same, None), (right, "right"))
        for button, side in sides:
            button.click(partial(page.answer, side), [turn, done], **options)
        undo.click(page.undo, [done], **options)
        blocks.load(page.start, [], **options)
    return blocks
