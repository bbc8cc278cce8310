"""Several models side by side on the page, in a real browser; stand-ins are the models."""

import pytest
from playwright.sync_api import Page, expect

from stages.serving.folder import UPLOADS
from stages.serving.models import Models
from tests.support.browser import needs_browser, open_page
from tests.support.serving import Shelf, served, wait_until

MODELS = ["champion", "challenger", "base"]
MOST = 8  # results of each


@pytest.fixture
def address(tmp_path_factory, monkeypatch):
    """The address of a service with three models."""
    shelf, folder = Shelf(tmp_path_factory.mktemp("shelf"), default="champion"), tmp_path_factory.mktemp("s")
    for name in MODELS:
        shelf.add(name)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder / UPLOADS))
    with served(Models(shelf, folder), page=folder) as address:
        yield f"{address}/"


def ask_for(page: Page, results: int) -> None:
    """Type how many results are wanted until the page takes it; what is typed before its settings are drawn is lost."""

    def is_taken() -> bool:
        page.fill("#images input[type=number]", str(results))
        return page.input_value("#images input[type=range]") == str(results)

    page.click("#settings button")
    wait_until(is_taken)


@needs_browser
@pytest.mark.exhaustive
def test_eight_results_of_three_models_stand_side_by_side(address):
    with open_page(address) as page:
        page.locator("#examples button").first.click()
        expect(page.locator("#painter canvas")).to_be_visible()
        for name in MODELS[1:]:
            page.click("#models input")
            page.get_by_role("option", name=name).click()
        page.keyboard.press("Escape")
        ask_for(page, MOST)
        page.click("#edit")
        expect(page.locator("#results .download")).to_have_count(MOST * len(MODELS))
        titles = page.locator("#results .title").all_inner_texts()
        places = [card.bounding_box() for card in page.locator("#results .card").all()]
        shown = page.locator("#results .after").evaluate_all("all => all.every(each => each.complete && each.naturalWidth > 0)")
    assert titles == [f"{number} · {name}" for number in range(1, MOST + 1) for name in MODELS]
    assert len({place["x"] for place in places}) == len(MODELS)  # a column each
    assert len({place["y"] for place in places}) == MOST
    assert shown
