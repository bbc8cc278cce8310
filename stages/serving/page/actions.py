"""What happens on the page: each method answers one event with the components that change."""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from stages.core.errors import InputError
from stages.editing.pictures import write_picture
from stages.editing.request import MaskMode
from stages.serving.calls import DEFAULT, DeadlineExceededError, EditCall, Edited, EditFailedError, Progress, UnavailableError
from stages.serving.page.events import client_of, index_of
from stages.serving.page.examples import Example
from stages.serving.page.layout import Layout
from stages.serving.page.notes import busy, complaint, note
from stages.serving.page.pictures import draw_layer
from stages.serving.page.receiving import read_upload
from stages.serving.page.room import check_room
from stages.serving.page.session import Photo, Session, Settings
from stages.serving.page.views import finished, history, model_title, painted, previews, words_of
from stages.serving.service import Service

Data = Mapping[Any, Any]  # component → its value
Changes = dict[Any, Any]  # component → its new value, or an update of it
EXPECTED = (InputError, UnavailableError, DeadlineExceededError, EditFailedError)
LOOK_SECONDS = 1  # between two looks whether the visitor is still there, which Gradio takes when something is yielded
NO_PICTURE = "choose a picture first"


class Actions:
    """The events of the page.

    Args:
        layout: the components.
        service: what edits.
        folder: where sessions keep their files.
        examples: the pictures to start with.
    """

    def __init__(self, layout: Layout, service: Service, folder: Path, examples: list[Example]) -> None:
        self._layout, self._service, self._folder, self._examples = layout, service, folder, examples

    def greet(self) -> Changes:
        """Offer the models that are served now, and the settings of the first once it is loaded."""
        if self._service.state != "ready":
            return {self._layout.status: note("The model is being loaded.")}
        models = self._service.models()
        choices = [(model_title(model), model.reference) for model in models]
        return {
            self._layout.models: gr.update(choices=choices, value=[models[0].reference], visible=len(choices) > 1),
            self._layout.strength: models[0].sampling["strength"],
            self._layout.guidance_scale: models[0].sampling["guidance_scale"],
            self._layout.loading: gr.Timer(active=False),
            self._layout.status: "",
        }

    async def open_picture(self, data: Data, request: gr.Request) -> Changes:
        """Take an uploaded picture; ``OnlyUploads`` has checked that its file is one."""
        upload = data[self._layout.upload]
        if not isinstance(upload, dict) or upload.get("path") is None:
            return self._nothing()
        file, session, client = Path(upload["path"]), self._session(data), client_of(request)
        try:
            self._service.charge(client)
            await check_room(self._folder)
            session = session or Session.start(self._folder)
            photo = await session.open(partial(read_upload, file), file.stem, client)
        except EXPECTED as error:
            return {self._layout.session: session, self._layout.upload: None, self._layout.status: complaint(error)}
        return {self._layout.session: session, **self._show(photo)}

    async def choose_example(self, data: Data, event: gr.EventData, request: gr.Request) -> Changes:
        """Take an example's picture and words."""
        buffer, session = io.BytesIO(), self._session(data)
        try:
            example = self._examples[index_of(event, len(self._examples))]
            write_picture(example.image, buffer, "png")
            await check_room(self._folder)
            session = session or Session.start(self._folder)
            photo = await session.open(buffer.getvalue, example.source_term, client_of(request))
        except EXPECTED as error:
            return {self._layout.session: session, self._layout.status: complaint(error)}
        return {
            self._layout.session: session,
            self._layout.prompt: example.prompt,
            self._layout.term: gr.update(choices=words_of(example.prompt), value=example.term, visible=True),
            self._layout.source_term: example.source_term,
            **self._show(photo),
        }

    def other_picture(self) -> Changes:
        """Go back to choosing a picture."""
        return self._stage(choosing=True) | {self._layout.status: ""}

    def list_words(self, prompt: Any, term: Any) -> Changes:
        """Offer the words of the prompt as terms."""
        words = words_of(prompt) if isinstance(prompt, str) else []
        return {self._layout.term: gr.update(choices=words, value=term if term in words else None, visible=bool(words))}

    async def suggest(self, data: Data, request: gr.Request) -> Changes:
        """Find a term where none is chosen; :meth:`take_suggestion` chooses it."""
        session, nothing = self._session(data), {self._layout.suggested: None}
        if session is None or session.photo is None:
            return nothing
        try:
            settings = self._settings(data)
            if settings.term or not settings.prompt.strip():
                return nothing
            with session.hold(session.photo):
                term = await self._suggested(session.photo, settings.prompt, client_of(request))
        except EXPECTED as error:
            return nothing | {self._layout.status: complaint(error)}
        words = words_of(settings.prompt)
        if term is None or not words:
            return nothing
        choices = words if term in words else [*words, term]
        return {self._layout.suggested: term, self._layout.term: gr.update(choices=choices)}

    def take_suggestion(self, term: Any, suggested: str | None) -> Changes:
        """Choose the suggested term, unless the visitor has chosen one meanwhile."""
        return self._nothing() if term or suggested is None else {self._layout.term: suggested}

    async def find_mask(self, data: Data, request: gr.Request) -> AsyncIterator[Changes]:
        """Show where the edit would take place."""
        session = self._session(data)
        if session is None or session.photo is None:
            yield {self._layout.status: complaint(NO_PICTURE)}
            return
        yield {self._layout.status: busy("Looking for the place")}
        photo, client = session.photo, client_of(request)
        try:
            settings = self._settings(data)
            self._service.charge(client)
            with session.hold(photo):
                call = await self._call(photo, settings, None, client)
            finding = asyncio.create_task(self._service.find_mask(call, model=settings.references[0], client=client))
            try:
                while not (await asyncio.wait([finding], timeout=LOOK_SECONDS))[0]:
                    yield {self._layout.status: busy("Looking for the place")}
            finally:
                finding.cancel()
            mask = finding.result()
        except EXPECTED as error:
            yield {self._layout.status: complaint(error)}
            return
        layer = await asyncio.to_thread(draw_layer, mask.found, mask.draft)
        shown = painted(photo, layer, drafted=mask.draft is not None)
        yield {self._layout.painter: shown, self._layout.status: note("Paint or erase, then edit.")}

    async def edit(self, data: Data, request: gr.Request) -> AsyncIterator[Changes]:
        """Edit the picture with every chosen model, one after the other."""
        session = self._session(data)
        if session is None or session.photo is None:
            yield {self._layout.status: complaint(NO_PICTURE)}
            return
        yield {self._layout.status: busy("Starting"), **self._buttons(running=True)}
        try:
            with session.hold(session.photo):
                async with aclosing(self._edit(session, data, client_of(request))) as steps:
                    async for changes in steps:
                        yield changes
        except EXPECTED as error:
            yield {self._layout.status: complaint(error)}

    async def _edit(self, session: Session, data: Data, client: str) -> AsyncGenerator[Changes, None]:
        photo, settings, mask = session.photo, self._settings(data), data[self._layout.painter]
        assert photo is not None
        layer = mask.get("layer") if isinstance(mask, dict) and mask.get("mended") else None
        await check_room(self._folder)
        for _ in settings.references:
            self._service.charge(client)
        call = await self._call(photo, settings, layer, client)
        outcomes: list[Edited] = []
        failure: Exception | None = None
        try:
            for model in settings.references:
                async with aclosing(self._service.edit(call, model=model, client=client)) as steps:
                    async for step in steps:
                        if isinstance(step, Progress):
                            yield self._progress(photo, step, model)
                        else:
                            outcomes.append(step)
        except EXPECTED as error:
            if not outcomes:
                raise
            failure = error  # what the models before have made is shown all the same
        if call.mask_mode is MaskMode.PREDICTED and outcomes[0].mask is not None:
            layer = await asyncio.to_thread(draw_layer, outcomes[0].mask)
            yield {self._layout.painter: painted(photo, layer)}
        done = await asyncio.to_thread(session.keep, photo, settings, outcomes, layer, mended=call.mask_mode is MaskMode.GIVEN)
        yield {
            self._layout.session: session,
            self._layout.results: finished(done),
            self._layout.made: gr.update(visible=True),
            self._layout.history: history(session),
            self._layout.past: gr.update(visible=True),
            self._layout.status: complaint(failure)
            if failure
            else note(f"Done in {sum(each.seconds for each in outcomes):.1f} s."),
        }

    def rest(self) -> Changes:
        """Offer to edit again."""
        return self._buttons(running=False)

    def stop(self) -> Changes:
        """Say that the edit was given up."""
        return {self._layout.status: note("Stopped."), **self._buttons(running=False)}

    def download(self, data: Data, event: gr.EventData) -> Changes:
        """Offer the file of a result."""
        session = self._session(data)
        results = () if session is None or session.shown is None else session.shown.results
        try:
            return {self._layout.download: str(results[index_of(event, len(results))].file)}
        except InputError as error:
            return {self._layout.download: None, self._layout.status: complaint(error)}

    def restore(self, data: Data, event: gr.EventData) -> Changes:
        """Go back to the picture, settings and results of an earlier edit."""
        session = self._session(data)
        edits = [] if session is None else session.edits[::-1]
        try:
            edit = edits[index_of(event, len(edits))]
        except InputError as error:
            return {self._layout.status: complaint(error)}
        assert session is not None  # it has edits
        session.photo, session.shown = edit.photo, edit
        form = {part: getattr(edit.settings, name) for name, part in self._layout.form.items()}
        words = words_of(edit.settings.prompt)
        return self._show(edit.photo) | {
            **form,
            self._layout.term: gr.update(choices=words, value=edit.settings.term, visible=bool(words)),
            self._layout.painter: painted(edit.photo, edit.layer, mended=edit.mended),
            self._layout.results: finished(edit),
            self._layout.made: gr.update(visible=True),
            self._layout.session: session,
        }

    def _session(self, data: Data) -> Session | None:
        """Return the visitor's session; None before the first picture, and once its files are removed."""
        session: Session | None = data[self._layout.session]
        return session if session is not None and session.touch() else None

    def _settings(self, data: Data) -> Settings:
        """Return the settings in the form; raise InputError if they are wrong."""
        return Settings.read({name: data[part] for name, part in self._layout.form.items()})

    async def _call(self, photo: Photo, settings: Settings, layer: str | None, client: str) -> EditCall:
        """Return what to ask of the service; a painted ``layer`` is the mask.

        Raises:
            InputError: the layer is not one.
        """
        mode = MaskMode.NONE if settings.whole_picture else MaskMode.PREDICTED if layer is None else MaskMode.GIVEN
        term = settings.term
        if mode is MaskMode.PREDICTED and not term:
            term = await self._suggested(photo, settings.prompt, client)
        image, mask = await photo.read(client, layer)
        return settings.call(image, mask, mode, term)

    async def _suggested(self, photo: Photo, prompt: str, client: str) -> str | None:
        self._service.charge(client)
        image, _ = await photo.read(client)
        return await self._service.suggest_term(image, prompt, client=client)

    def _progress(self, photo: Photo, step: Progress, model: str) -> Changes:
        title = "" if model == DEFAULT else f"{model}: "
        changes: Changes = {self._layout.status: busy(f"{title}step {step.step} of {step.of}", step)}
        if step.previews:
            changes |= {self._layout.results: previews(photo, step), self._layout.made: gr.update(visible=True)}
        return changes

    def _nothing(self) -> Changes:
        return {self._layout.status: gr.skip()}  # an empty dictionary is an error to Gradio

    def _show(self, photo: Photo) -> Changes:
        """Show a picture to edit in place of the choice of one."""
        return self._stage(choosing=False) | {
            self._layout.painter: painted(photo, None),
            self._layout.made: gr.update(visible=False),
            self._layout.status: "",
        }

    def _stage(self, *, choosing: bool) -> Changes:
        layout = self._layout
        return {
            layout.upload: None,
            layout.choosing: gr.update(visible=choosing),
            layout.working: gr.update(visible=not choosing),
        }

    def _buttons(self, *, running: bool) -> Changes:
        layout = self._layout
        return {layout.edit: gr.update(visible=not running), layout.stop: gr.update(visible=running)}
