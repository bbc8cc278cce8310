"""What a visitor's session keeps on disk, and what it lets go."""

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.serving.calls import Edited, ModelVersion, Picture
from stages.serving.page import session as module
from stages.serving.page.pictures import draw_layer
from stages.serving.page.session import MAX_EDITS, Edit, Session, Settings
from stages.serving.uploads import decode
from tests.support.serving import FORM

VALUES = FORM | {"prompt": "a cat", "term": "cat", "models": ["champion", "base"]}


def file(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "png")
    return buffer.getvalue()


def outcome(reference: str, *colours: str) -> Edited:
    model = ModelVersion(reference=reference, name="iedit", version=None)
    return Edited(files=tuple(map(file, colours)), mask=None, model=model, sampling={}, seconds=1)


@pytest.fixture
def session(tmp_path) -> Session:
    return Session.start(tmp_path)


def keep(session: Session, *outcomes: Edited) -> Edit:
    assert session.photo is not None
    return session.keep(session.photo, Settings.read(VALUES), outcomes, None, mended=False)


def files(session: Session) -> int:
    return sum(path.is_file() for path in session.folder.rglob("*"))


def test_results_stand_by_number_then_by_model(session):
    asyncio.run(session.open(lambda: file("red"), "My cat!", "a"))
    edit = keep(session, outcome("champion", "blue", "green"), outcome("base", "black", "white"))
    assert [result.title for result in edit.results] == ["1 · champion", "1 · base", "2 · champion", "2 · base"]
    assert [result.file.read_bytes() for result in edit.results] == [file(c) for c in ("blue", "black", "green", "white")]
    assert [result.file.name for result in edit.results][:2] == ["My cat-champion-1.png", "My cat-base-1.png"]


def test_the_history_and_its_files_are_bounded(session):
    asyncio.run(session.open(lambda: file("red"), "first", "a"))
    for _ in range(MAX_EDITS + 3):
        keep(session, outcome("champion", "blue"))
    assert len(session.edits) == MAX_EDITS
    assert files(session) == MAX_EDITS + 1
    asyncio.run(session.open(lambda: file("green"), "second", "a"))
    assert files(session) == MAX_EDITS + 2  # the first is needed by the history
    session.end()
    assert not session.folder.exists()


def test_a_photograph_is_kept_while_it_is_edited(session):
    photo = asyncio.run(session.open(lambda: file("red"), "first", "a"))
    with session.hold(photo):
        asyncio.run(session.open(lambda: file("green"), "second", "a"))
        assert photo.file.read_bytes() == file("red")
    asyncio.run(session.open(lambda: file("blue"), "third", "a"))
    assert files(session) == 1


def test_files_are_read_when_it_is_their_turn(session, tmp_path):
    upload = tmp_path / "upload.png"

    async def read_late(path: Path, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of some work that waits for the decoder, while a file becomes a green one."""
        free = threading.Event()
        before = asyncio.create_task(decode("b", free.wait))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(work)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(path.write_bytes, file("green"))
        free.set()
        await before
        return await waiting

    upload.write_bytes(file("red"))
    photo = asyncio.run(read_late(upload, session.open(upload.read_bytes, "first", "a")))
    assert photo.file.read_bytes() == file("green")
    photo.file.write_bytes(file("red"))
    picture, _ = asyncio.run(read_late(photo.file, photo.read("a")))
    assert picture.file == file("green")


def test_a_mask_is_read_together_with_its_picture(session, monkeypatch):
    photo, order = asyncio.run(session.open(lambda: file("red"), "first", "a")), []

    def noted(name: str, how: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments: order.append(name) or how(*arguments)

    for name in ("read_layer", "Picture"):
        monkeypatch.setattr(module, name, noted(name, getattr(module, name)))

    async def read_all() -> list[tuple[Picture, Image.Image | None]]:
        layer = draw_layer(Image.new("L", photo.size, 255))
        return await asyncio.gather(*(photo.read("a", layer) for _ in range(3)))

    pairs = asyncio.run(read_all())
    assert order == ["read_layer", "Picture"] * 3
    assert [(picture.file, mask.getpixel((0, 0))) for picture, mask in pairs] == [(file("red"), 255)] * 3


def test_results_stay_when_another_picture_comes_meanwhile(session, monkeypatch):
    asyncio.run(session.open(lambda: file("red"), "first", "a"))
    other = threading.Thread(target=lambda: asyncio.run(session.open(lambda: file("green"), "second", "a")))
    draw = module.rendition

    def rendition(image: Image.Image) -> str:
        """The picture as shown; the first one lets another visit of the same session come first."""
        if other.ident is None:
            other.start()
            other.join(0.5)
        return draw(image)

    monkeypatch.setattr(module, "rendition", rendition)
    edit = keep(session, outcome("champion", "blue", "white"))
    other.join()
    assert all(result.file.is_file() for result in edit.results)
    assert session.photo.name == "second"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "\0", "", "x" * 300])
def test_no_name_leads_out_of_the_folder(session, name):
    asyncio.run(session.open(lambda: file("red"), name, "a"))
    edit = keep(session, outcome("champion", "blue"))
    assert edit.results[0].file.resolve().is_relative_to(session.folder.resolve())


def test_a_session_whose_files_are_gone_has_ended(session):
    assert session.touch()
    session.end()
    assert not session.touch()


def test_a_refused_file_leaves_the_old_picture(session):
    photo = asyncio.run(session.open(lambda: file("red"), "first", "a"))
    with pytest.raises(InputError, match=r"^picture: not an image"):
        asyncio.run(session.open(lambda: b"nothing", "second", "a"))
    assert session.photo is photo
    assert files(session) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("images", value) for value in (0, 9, "many", None)),
        *(("seed", value) for value in (-1, 2**70, None, {})),
        *(("strength", value) for value in (0, 1.1, float("nan"), [])),
        *(("models", value) for value in (["base"] * 5, "base", [7])),
        *((text, "a " * 5001) for text in ("prompt", "term", "source_term", "negative_prompt")),
        ("prompt", {"path": "/etc/passwd"}),
    ],
)
def test_settings_of_a_wrong_kind_are_refused_in_one_line(name, value):
    with pytest.raises(InputError, match=rf"^{name}[^\n]*$"):
        Settings.read(VALUES | {name: value})
