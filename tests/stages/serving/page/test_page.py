"""The page as a visitor uses it, in a real browser, before the real service on the small models."""

import base64
import io
import re

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import Page, expect

from stages.corpus.held_out import render_case
from tests.support.browser import needs_browser, visited
from tests.support.harness import PATIENCE

pytestmark = needs_browser
PROMPT = "a strawberry in the mountains"
LARGE = (3000, 2100)
FEATHER = 0.15  # of the shorter side: how far around its mask an edit may reach


def photograph(index: int = 13, size: tuple[int, int] = (420, 300)) -> Image.Image:
    """A scene with noise, so that a pixel that moved or changed shows."""
    pixels = np.asarray(render_case(7, index, "evaluation", 420).source.resize(size)).astype(int)
    return Image.fromarray(
        np.clip(pixels + np.random.default_rng(index).integers(-9, 9, pixels.shape), 0, 255).astype(np.uint8)
    )


def as_file(image: Image.Image, kind: str = "png") -> dict[str, object]:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return {"name": f"photo.{kind}", "mimeType": f"image/{kind}", "buffer": buffer.getvalue()}


def upload(page: Page, image: Image.Image) -> None:
    page.set_input_files("#upload input[type=file]", as_file(image))
    expect(page.locator("#painter canvas")).to_be_visible()


def describe(page: Page, prompt: str = PROMPT, source_term: str = "mango") -> None:
    page.fill("#prompt textarea", prompt)
    page.fill("#source-term textarea, #source-term input", source_term)


def edit(page: Page, cards: int = 1) -> None:
    page.click("#edit")
    expect(page.locator("#results .download")).to_have_count(cards)
    expect(page.locator("#status")).to_contain_text("Done in")


def paint(page: Page, *points: tuple[float, float]) -> None:
    """Draw a line through points, in shares of the picture."""
    box = page.locator("#painter canvas").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def shown_mask(page: Page, size: tuple[int, int]) -> Image.Image:
    """What the painter's layer covers, as "L" of ``size``."""
    data = page.eval_on_selector("#painter canvas", "canvas => canvas.toDataURL('image/png')")
    layer = Image.open(io.BytesIO(base64.b64decode(data.split(",")[1])))
    return layer.getchannel("A").resize(size)


def downloaded(page: Page, number: int = 0) -> bytes:
    with page.expect_download() as download:
        page.locator("#results .download").nth(number).click()
    assert download.value.suggested_filename.endswith(".png")
    return download.value.path().read_bytes()


def outside(mask: Image.Image) -> np.ndarray:
    """The pixels that no edit within ``mask`` may change, feathered or not."""
    reach = round(FEATHER * min(mask.size)) * 2 + 1
    small = mask.resize((mask.width // 2, mask.height // 2)).filter(ImageFilter.MaxFilter(reach // 2 // 2 * 2 + 1))
    return np.asarray(small.resize(mask.size)) == 0


def test_a_mended_mask_is_edited_compared_and_downloaded(page):
    photo = photograph()
    upload(page, photo)
    describe(page)
    expect(page.locator("#term label.selected")).to_have_text("strawberry")  # a mango is in the picture, and mountains are
    page.click("#find")
    expect(page.locator("#painter .hint")).to_contain_text("Where the words were found")
    found = np.asarray(shown_mask(page, photo.size)) > 127
    assert 0.02 < found.mean() < 0.7

    page.click("[data-tool=eraser]")
    paint(page, (0.1, 0.5), (0.9, 0.5))
    assert (np.asarray(shown_mask(page, photo.size)) > 127).sum() < found.sum()
    page.click("[data-tool=brush]")
    paint(page, (0.4, 0.5), (0.6, 0.6))
    expect(page.locator("#painter .hint")).to_contain_text("Your mask")
    mask = shown_mask(page, photo.size)

    page.click("#models input")
    page.get_by_role("option", name="base").click()
    page.keyboard.press("Escape")
    edit(page, cards=2)
    expect(page.locator("#results .title")).to_have_text(["1 · diffusion", "1 · base"])
    file = downloaded(page)
    result = Image.open(io.BytesIO(file))
    assert result.size == photo.size
    differs = (np.asarray(result.convert("RGB")) != np.asarray(photo)).any(axis=-1)
    kept = outside(mask)
    assert kept.mean() > 0.2
    assert not differs[kept].any()
    assert differs[np.asarray(mask) > 127].mean() > 0.5
    assert b"compositeWithTrainedAlgorithmicMedia" in file
    assert b"strawberry" in file


def test_a_bad_file_is_refused_in_one_line(page):
    page.set_input_files("#upload input[type=file]", {"name": "cat.png", "mimeType": "image/png", "buffer": b"<script>"})
    expect(page.locator("#status [role=alert]")).to_have_text(re.compile(r"^Picture: not an image .{1,80}$"))
    upload(page, photograph())
    expect(page.locator("#status")).to_be_hidden()


@pytest.mark.parametrize("how", ["by key", "by button"])
def test_a_picture_can_be_pasted(browser, address, how):
    with visited(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        expect(page.get_by_label("Paste from clipboard")).to_be_visible()
        data = base64.b64encode(as_file(photograph())["buffer"]).decode()
        page.evaluate(
            """async data => {
                const picture = await (await fetch(`data:image/png;base64,${data}`)).blob();
                await navigator.clipboard.write([new ClipboardItem({'image/png': picture})]);
            }""",
            data,
        )
        if how == "by key":
            page.focus("#prompt textarea")
            page.keyboard.press("Control+v")
        else:
            page.get_by_label("Paste from clipboard").click()
        expect(page.locator("#painter canvas")).to_be_visible()


def test_a_picture_can_be_taken(browser, address):
    with visited(browser, address, permissions=["camera"]) as page:
        page.get_by_label("Capture from camera").click()
        page.get_by_text("Access Webcam").click()
        page.wait_for_function("document.querySelector('video')?.videoWidth > 0")  # before, there is nothing to take
        page.get_by_label("capture photo").click()
        expect(page.locator("#painter canvas")).to_be_visible()


def test_a_click_on_a_word_makes_it_the_term(page):
    upload(page, photograph())
    describe(page)
    expect(page.locator("#term label.selected")).to_have_text("strawberry")
    page.fill("#prompt textarea", "a banana in the mountains")
    expect(page.locator("#term label:has-text('banana')")).to_be_visible()
    page.click("#term label:has-text('mountains')")  # the prompt has lost the focus, so a term is being suggested, too
    edit(page)
    expect(page.locator("#term label.selected")).to_have_text("mountains")
    assert re.findall(rb"<iedit:term>(.*?)<", downloaded(page)) == [b"mountains"]


def test_a_prompt_of_5000_characters_is_refused(page):
    upload(page, photograph())
    describe(page, "a strawberry " * 385)
    page.click("#edit")
    expect(page.locator("#status [role=alert]")).to_contain_text("longer than the model reads")
    assert len(page.inner_text("#status")) < 300
    describe(page)
    edit(page)


def test_two_visitors_with_large_pictures_at_once_get_their_own(browser, address, page):
    with visited(browser, address) as other:
        files = {page: as_file(photograph(13, LARGE), "jpeg"), other: as_file(photograph(10, LARGE), "jpeg")}
        for visitor, file in files.items():
            visitor.set_input_files("#upload input[type=file]", file)
        for visitor in files:
            expect(visitor.locator("#painter canvas")).to_be_visible()
        describe(page)
        describe(other, "a bus on the road", "locomotive")
        for visitor in files:
            visitor.click("#edit")
        for visitor, file in files.items():
            expect(visitor.locator("#results .download")).to_have_count(1)
            result = np.asarray(Image.open(io.BytesIO(downloaded(visitor))).convert("RGB"))
            photo = np.asarray(Image.open(io.BytesIO(file["buffer"])))
            assert result.shape == photo.shape
            corner = np.s_[:150, :150]
            assert (result[corner] == photo[corner]).all()
            expect(visitor.locator("#history button")).to_have_count(1)


def test_everything_can_be_done_with_the_keyboard(page):
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#painter canvas")).to_be_focused()
    page.focus("#prompt textarea")
    page.keyboard.press("End")
    page.keyboard.type("!")
    prompt = page.input_value("#prompt textarea")
    page.focus("#painter canvas")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    expect(page.locator("#painter .hint")).to_contain_text("Your mask")
    page.keyboard.press("Control+z")
    expect(page.locator("#painter .hint")).to_contain_text("found by the words")
    assert page.input_value("#prompt textarea") == prompt
    page.focus("#prompt textarea")
    page.keyboard.press("Enter")
    expect(page.locator("#results .download")).to_have_count(1)
    page.focus("#results .cut")
    page.keyboard.press("ArrowRight")
    assert page.locator(".compare").evaluate("node => node.style.getPropertyValue('--cut')") == "51%"


def test_on_a_phone_the_first_result_comes_into_view(browser, address):
    with visited(browser, address, viewport={"width": 390, "height": 844}) as page:
        page.locator("#examples button").first.click()
        expect(page.locator("#term label.selected")).to_be_visible()
        edit(page)
        expect(page.locator("#results .card").first).to_be_in_viewport()


def test_the_picture_stays_in_view_beside_long_settings(browser, address):
    with visited(browser, address, viewport={"width": 820, "height": 860}) as page:
        page.locator("#examples button").first.click()
        expect(page.locator("#term label.selected")).to_be_visible()
        page.click("#settings button")
        page.get_by_label("Edit the whole picture, without a mask").scroll_into_view_if_needed()
        assert page.evaluate("scrollY") > 100
        expect(page.locator("#painter .stage")).to_be_in_viewport(ratio=1)


def test_the_history_brings_settings_and_results_back(page):
    upload(page, photograph())
    describe(page)
    edit(page)
    describe(page, "a banana in the mountains")
    page.click("[data-testid='block-info']:has-text('Settings'), #settings button")
    page.fill("#seed input", "5")
    page.click("#edit")
    expect(page.locator("#history button")).to_have_count(2)
    page.locator("#history button").nth(1).click()
    expect(page.locator("#prompt textarea")).to_have_value(PROMPT)
    expect(page.locator("#seed input")).to_have_value("0")
    expect(page.locator("#results .download")).to_have_count(1)
    page.click("#edit")
    expect(page.locator("#history button")).to_have_count(3)


def row_lengths(page: Page, selector: str) -> list[int]:
    """How many elements stand side by side, in each row; one below the last of a row begins the next."""
    expect(page.locator(selector).first).to_be_visible()
    rows: list[int] = []
    end = -1.0
    for top, bottom in page.locator(selector).evaluate_all(
        "all => all.map(each => each.getBoundingClientRect()).map(box => [box.top, box.bottom])"
    ):
        if top >= end:
            rows.append(0)
        rows[-1] += 1
        end = bottom
    return rows


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820])
def test_the_page_fits_small_screens(browser, address, width, scheme):
    with visited(browser, address, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        assert row_lengths(page, "#examples button") == [2, 2]
        page.locator("#examples button").first.click()
        expect(page.locator("#painter canvas")).to_be_visible()
        assert len(row_lengths(page, ".painter .tools > *")) == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "pyproject.toml", "nano/models/diffusion/model_index.json", "http://127.0.0.1:1/"]
)
def test_no_file_is_served_by_its_path(address, path):
    assert httpx.get(f"{address}gradio_api/file={path}", timeout=PATIENCE).status_code in (403, 404)
