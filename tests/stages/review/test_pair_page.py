"""The page of pairs in a real browser: the keyboard decides, and the file has it."""

from contextlib import contextmanager

import pytest

from stages.core.errors import InputError
from stages.core.paths import DECISIONS
from stages.pairing.decisions import read_decisions
from stages.review.cards import changes_html
from stages.review.look import serve
from stages.review.pair_page import open_pair_page
from tests.support.browser import needs_browser, open_page
from tests.support.tiny_corpus import params_for

FACTS = "document.querySelector('.facts')?.innerText"


@contextmanager
def pages(models, **context):
    """The page of the current folder's pairs in a browser."""
    blocks = open_pair_page(params_for(models, mutate={"vocabulary": None}), "direction", "Ann")
    address = serve(blocks, 0, wait=False)
    try:
        with open_page(address, **context) as page:
            page.wait_for_function(f"{FACTS} !== undefined")
            yield page
    finally:
        blocks.close()


def press(page, key: str) -> str:
    """Press a key that shows another pair, and return which one that is."""
    before = page.evaluate(FACTS)
    page.keyboard.press(key)
    page.wait_for_function(f"before => {FACTS} !== before", arg=before)
    return page.evaluate(FACTS)


def written() -> list[tuple[str, str]]:
    return [(f"{each.key} → {each.target_key}", each.decision.value) for each in read_decisions(DECISIONS)]


@needs_browser
def test_keys_decide_and_undo(models, folder):
    with pages(models) as page:
        first = page.evaluate(FACTS)
        second = press(page, "k")
        third = press(page, "D")  # caps lock
        assert len({first, second, third}) == 3
        assert press(page, "u") == second
        assert press(page, "ArrowLeft") == first
        assert "kept" in page.inner_text(".status b")
        assert press(page, "ArrowRight") == second
        page.click("#remark textarea, #remark input")
        page.keyboard.type("kd")  # text, no commands
        page.keyboard.press("Enter")
        press(page, "d")
    shown = [facts.partition(",")[0] for facts in (first, second, second, second)]
    assert written() == list(zip(shown, ["keep", "drop", "undecided", "drop"], strict=True))
    assert read_decisions(DECISIONS)[-1].remark == "kd"


@needs_browser
def test_a_prompt_is_mended_or_refused_with_a_reason(models, folder):
    with pages(models) as page:
        before = page.evaluate(FACTS)
        caption = page.evaluate("document.querySelector('p.prompt').cloneNode(true).innerText")
        page.keyboard.press("e")
        page.keyboard.type("<b>nothing</b> of that kind")
        page.keyboard.press("Enter")
        page.wait_for_selector(".refused")
        assert page.inner_text(".refused").startswith("not saved: the prompt ")
        assert page.evaluate(FACTS) == before
        assert written() == []
        page.wait_for_function("document.activeElement.tagName === 'BODY'")
        page.keyboard.press("e")
        page.keyboard.type("a tractor")
        press(page, "Enter")
    (decision,) = read_decisions(DECISIONS)
    assert (decision.decision, decision.mended.edit_prompt, decision.mended.target_term) == ("mend", "a tractor", "tractor")
    assert decision.mended.source_term in caption


@needs_browser
def test_masks_can_be_hidden_and_the_page_fits_a_phone(models, folder):
    with pages(models, viewport={"width": 390, "height": 844}, color_scheme="dark") as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.wait_for_selector("img.mask >> nth=1")
        page.keyboard.press("m")
        assert not page.is_visible("img.mask >> nth=0")
        page.keyboard.press("m")
        assert page.is_visible("img.mask >> nth=0")


def test_drawn_targets_need_no_review(models, folder):
    with pytest.raises(InputError, match=r"^segment\.targets = 'rendered': "):
        open_pair_page(params_for(models, segment={"targets": "rendered"}), "direction", "")


def test_changes_are_marked_word_by_word():
    assert changes_html("a red dog", "a blue dog") == "a <del>red</del> <ins>blue</ins> dog"
    assert changes_html("a <b>", "a cat & dog") == "a <del>&lt;b&gt;</del> <ins>cat &amp; dog</ins>"
    assert changes_html("a dog", "a dog") == "a dog"
