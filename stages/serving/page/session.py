"""What the page keeps for one visitor: the photograph, and the edits made of it, as files in a folder of their own."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from stages.core.errors import InputError, describe_error
from stages.editing.request import MaskMode
from stages.serving.calls import DEFAULT, EditCall, Edited, Picture
from stages.serving.page.pictures import read_layer, rendition
from stages.serving.page.room import needing_room
from stages.serving.uploads import decode, decode_picture

MAX_EDITS = 12  # in a session's history; older ones are removed
MAX_RESULTS = 8  # of one model
MAX_MODELS = 4  # compared at once
MAX_NAME = 40  # characters of a photograph's name in the name of a download
MAX_TEXT = 10_000  # characters of a prompt or term; models read far fewer

Text = Annotated[str, Field(max_length=MAX_TEXT)]


class Settings(BaseModel, frozen=True):
    """What the page's form says."""

    prompt: Text
    term: Text | None
    source_term: Text
    negative_prompt: Text
    whole_picture: bool
    strength: Annotated[float, Field(gt=0, le=1)]
    guidance_scale: Annotated[float, Field(ge=1, le=100)]
    images: Annotated[int, Field(ge=1, le=MAX_RESULTS)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    models: Annotated[list[str], Field(max_length=MAX_MODELS)]  # a tuple would be one choice to Gradio

    @property
    def references(self) -> tuple[str, ...]:
        """The models to edit with."""
        return tuple(self.models) or (DEFAULT,)

    def call(self, image: Picture, mask: Image.Image | None, mode: MaskMode, term: str | None) -> EditCall:
        """Return what to ask of the service for a picture; mask and term are those of the form, or what was found instead."""
        return EditCall(
            image=image,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt.strip(),
            mask=mask,
            mask_mode=mode,
            term=term,
            source_term=self.source_term.strip() or None,
            images=self.images,
            seed=self.seed,
            strength=self.strength,
            guidance_scale=self.guidance_scale,
            previews=True,
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Settings":
        """Return the settings that the browser sent.

        Raises:
            InputError: a value is of another type, or out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(describe_error(error.errors()[0], values, cls)) from error


@dataclass(frozen=True, kw_only=True)
class Photo:
    """An uploaded picture."""

    file: Path
    name: str  # of the uploaded file, without its ending
    size: tuple[int, int]
    rendition: str

    async def read(self, client: str, layer: object = None) -> tuple[Picture, Image.Image | None]:
        """Return the picture, and the mask that a painted layer shows, if there is one, for a client.

        Both are read in one go, when their turn has come: a mask that waited for its picture would count nowhere.

        Raises:
            InputError: the layer is not one.
        """
        return await decode(client, _read, self, layer)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One edited picture."""

    title: str
    file: Path  # a PNG with the settings in its metadata
    rendition: str


@dataclass(frozen=True, kw_only=True)
class Edit:
    """The results of one click, and what they were made from."""

    photo: Photo
    settings: Settings
    results: tuple[Result, ...]
    layer: str | None  # the mask, as the page shows it
    mended: bool  # whether the visitor painted it


@dataclass
class Session:
    """A visitor's files; nobody else's session knows their names. They are removed some time after the last use."""

    folder: Path
    photo: Photo | None = None
    edits: list[Edit] = field(default_factory=list)  # the newest last
    shown: Edit | None = None
    held: list[Photo] = field(default_factory=list)  # being edited, whatever is shown meanwhile
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)  # from a file's writing until the session names it

    @classmethod
    def start(cls, parent: Path) -> "Session":
        """Return a session with a new folder below ``parent``.

        Raises:
            BusyError: the disk is full.
        """
        with needing_room():
            return cls(Path(tempfile.mkdtemp(prefix="session-", dir=parent)))

    def touch(self) -> bool:
        """Note a use, so that the files stay; return whether they are still there."""
        try:
            os.utime(self.folder)
        except FileNotFoundError:
            return False
        return True

    async def open(self, read: Callable[[], bytes], name: str, client: str) -> Photo:
        """Return the picture in an uploaded file, which becomes the session's photograph.

        Args:
            read: returns the file. It is called when the picture's turn has come: files that wait would count nowhere.
            name: the file's name without its suffix.
            client: whose turn at the decoder it is.

        Raises:
            InputError: the file is not a picture that can be read.
            BusyError: the disk is full.
        """
        size, shown = await decode(client, _look_at, read)
        short = "".join(char for char in name if char.isalnum() or char in "-_ ")[:MAX_NAME].strip() or "picture"
        return await asyncio.to_thread(self._take, read, short, size, shown)

    @contextmanager
    def hold(self, photo: Photo) -> Iterator[None]:
        """Keep the file of a photograph within the block."""
        self.held.append(photo)
        try:
            yield
        finally:
            self.held.remove(photo)

    def keep(self, photo: Photo, settings: Settings, outcomes: Sequence[Edited], layer: str | None, *, mended: bool) -> Edit:
        """Add an edit to the history and show it.

        Args:
            photo: what was edited.
            settings: what was asked for.
            outcomes: what each model made of it, all the same number of results.
            layer: the mask, as the page shows it.
            mended: whether the visitor painted the mask.

        Raises:
            BusyError: the disk is full.
        """
        with self._lock:
            results = [self._result(photo, outcome, number) for number in range(len(outcomes[0].files)) for outcome in outcomes]
            edit = Edit(photo=photo, settings=settings, results=tuple(results), layer=layer, mended=mended)
            self.shown = edit
            self.edits.append(edit)
            del self.edits[:-MAX_EDITS]
            self._remove_unused()
            return edit

    def end(self) -> None:
        """Remove the session's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self, read: Callable[[], bytes], name: str, size: tuple[int, int], shown: str) -> Photo:
        with self._lock:
            self.photo = photo = Photo(file=self._write(read(), "photo"), name=name, size=size, rendition=shown)
            self._remove_unused()
            return photo

    def _result(self, photo: Photo, outcome: Edited, number: int) -> Result:
        name = f"{photo.name}-{outcome.model.reference}-{number + 1}.png"
        title = f"{number + 1} · {outcome.model.reference}"
        return Result(title=title, file=self._write(outcome.files[number], name), rendition=rendition(outcome.image(number)))

    def _write(self, data: bytes, name: str) -> Path:
        with needing_room():
            file = Path(tempfile.mkdtemp(dir=self.folder)) / name
            file.write_bytes(data)
            return file

    def _remove_unused(self) -> None:
        """Remove the files that neither the history nor the photograph needs any more."""
        photos = [edit.photo for edit in self.edits] + self.held + ([self.photo] if self.photo else [])
        used = {photo.file for photo in photos} | {result.file for edit in self.edits for result in edit.results}
        for folder in set(self.folder.iterdir()) - {file.parent for file in used}:
            shutil.rmtree(folder)


def _look_at(read: Callable[[], bytes]) -> tuple[tuple[int, int], str]:
    """Return the size and a rendition of the picture in a file; the picture itself is not kept."""
    image = decode_picture(read(), "picture")
    return image.size, rendition(image)


def _read(photo: Photo, layer: object) -> tuple[Picture, Image.Image | None]:
    mask = None if layer is None else read_layer(layer, photo.size)
    return Picture(photo.file.read_bytes(), photo.size), mask
