"""Models that stand in for real ones, and servers of them, for tests of the service."""

import asyncio
import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from stages.serving.admission import Admission, Limits
from stages.serving.app import make_app
from stages.serving.calls import DEFAULT, EditCall, Picture, UnknownModelError
from stages.serving.catalogue import Source
from stages.serving.models import Models
from stages.serving.security import Access
from stages.serving.server import Server, configure
from stages.serving.service import Service
from tests.support import ROOT

FREE = Limits(per_minute=0)
FORM = {
    "prompt": "a dog",
    "term": None,
    "source_term": "",
    "negative_prompt": "",
    "whole_picture": False,
    "strength": 0.6,
    "guidance_scale": 3,
    "images": 2,
    "seed": 0,
    "models": ["one"],
}
"""What the form of the page says when it was left as it is, but for the prompt."""
STAND_IN = ROOT / "tests" / "support" / "stand_in_worker.py"


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """A picture of which every row and column differs from the next."""
    return Image.merge("RGB", [Image.linear_gradient("L").resize((width, height)).rotate(turn) for turn in (0, 90, 180)])


def png(image: Image.Image | None = None) -> bytes:
    """A PNG file of a picture."""
    buffer = io.BytesIO()
    (image or picture()).save(buffer, "png")
    return buffer.getvalue()


def call(prompt: str = "a dog", **changes: object) -> EditCall:
    """A call to edit ``picture()``."""
    return EditCall(**({"image": Picture(png(), picture().size), "prompt": prompt} | changes))


@dataclass
class Shelf:
    """A catalogue of stand-ins whose default a test can move."""

    folder: Path
    default: str = "one"
    sources: dict[str, Source] = field(default_factory=dict)

    def add(self, name: str) -> Path:
        """Add a stand-in, and return its folder."""
        folder = self.folder / name
        package = folder / "code" / "stages" / "serving"
        package.mkdir(parents=True)
        package.parent.joinpath("__init__.py").touch()
        package.joinpath("__init__.py").touch()
        shutil.copy(STAND_IN, package / "worker.py")
        self.sources[name] = Source(reference=name, name=name, version=None, folder=folder, code=folder / "code")
        return folder

    def references(self) -> list[str]:
        """The default first."""
        return [self.default, *(name for name in self.sources if name != self.default)]

    def find(self, reference: str) -> Source:
        """The stand-in of that name."""
        name = self.default if reference == DEFAULT else reference
        if name not in self.sources:
            raise UnknownModelError(f"model = {reference!r}: no such model")
        return self.sources[name]

    def forget(self) -> None:
        """Remove all notes, and hold edits again."""
        for left in [*self.folder.glob("*/notes"), *self.folder.glob("*/released")]:
            left.unlink()

    def release(self, name: str) -> None:
        """Let a stand-in do the edits that it holds."""
        self.folder.joinpath(name, "released").touch()

    def notes(self, name: str) -> list[str]:
        """What happened in a stand-in's process."""
        path = self.folder / name / "notes"
        return path.read_text().split("\n")[:-1] if path.exists() else []


@contextmanager
def served(
    models: Models,
    limits: Limits = FREE,
    access: Access = Access("127.0.0.1"),  # noqa: B008
    page: Path | None = None,
) -> Iterator[str]:
    """Serve in a thread, and yield the address once the default model is loaded.

    Args:
        models: what edits.
        limits: how much work is accepted.
        access: who may ask.
        page: the folder of the page, as ``mount_page`` takes it; None: there is no page.
    """
    admission = Admission(limits)
    service = Service(models, admission)
    app = make_app(service, access)
    if page is not None:
        from stages.serving.page.page import mount_page  # slow to import

        mount_page(app, service, page)
    server = Server(configure(app, access.host, 0), admission)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started and service.state == "ready")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def wait_until(is_so: Callable[[], object], seconds: float = 300) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it has not come to be so.
    """
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


async def settled(is_so: Callable[[], object], seconds: float = 300) -> None:
    """Wait until something is so, without keeping the event loop.

    Raises:
        TimeoutError: it has not come to be so.
    """
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - what a process does sets no event
            await asyncio.sleep(0.02)
