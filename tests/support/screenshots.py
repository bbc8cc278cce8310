"""``python -m tests.support.screenshots models/iedit``: makes the pictures in docs/images from a run of the service."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.support import ROOT
from tests.support.browser import launched, visited
from tests.support.real_service import real_service

FOLDER = ROOT / "docs" / "images"
COLOURS = 256  # of a picture's palette: with more a file is too large for a repository
TINTS = (124, 92, 255, 255, 149, 0)  # two colours of the palette: those of the mask, which few pixels have
WIDE, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 1180}


def main(model: Path) -> None:
    """Make the pictures with a model."""
    FOLDER.mkdir(exist_ok=True)
    with real_service(model) as address, launched() as browser:
        photograph_edit(browser, address)
        photograph_phone(browser, address)


def photograph_edit(browser: Browser, address: str) -> None:
    """The page after an edit with four results, in two parts: picture, mask and form, and the results below."""
    with visited(browser, address, viewport=WIDE, color_scheme="light") as page:
        begin(page, 2)
        page.click("#find")
        expect(page.locator("#painter .hint")).to_contain_text("Where the words were found")
        write(page.screenshot(), "page.png")
        page.click("#settings button")
        page.fill("#images input[type=number]", "4")
        page.click("#edit")
        expect(page.locator("#results .download")).to_have_count(4)
        write(page.locator("#results").screenshot(), "results.png")


def photograph_phone(browser: Browser, address: str) -> None:
    """The page on a phone in the dark."""
    with visited(browser, address, viewport=PHONE, color_scheme="dark") as page:
        begin(page, 1)
        page.click("#edit")
        expect(page.locator("#results .download")).to_have_count(1)
        page.evaluate("scrollTo(0, 0)")
        write(page.screenshot(), "phone.png")


def begin(page: Page, example: int) -> None:
    """Choose an example."""
    page.locator("#examples button").nth(example).click()
    expect(page.locator("#painter canvas")).to_be_visible()
    expect(page.locator("#term label.selected")).to_be_visible()


def write(screenshot: bytes, name: str) -> None:
    """Write a picture with few colours."""
    image = Image.open(io.BytesIO(screenshot)).convert("RGB")
    others = image.quantize(COLOURS - len(TINTS) // 3).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*others, *TINTS])
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(FOLDER / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
