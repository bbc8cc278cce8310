"""What components show of the session: values for the browser."""

from typing import Any

import gradio as gr

from stages.language.units import STOP_WORDS, TOKEN
from stages.serving.calls import ModelVersion, Progress
from stages.serving.page.pictures import layer_size, rendition
from stages.serving.page.session import MAX_TEXT, Edit, Photo, Session

MAX_WORDS = 40  # of a prompt, to choose the term from


def model_title(model: ModelVersion) -> str:
    """Return what a model is called on the page: "champion (version 3)", or "version 3"."""
    if model.reference.isdecimal():
        return f"version {model.reference}"
    return model.reference if model.version is None else f"{model.reference} (version {model.version})"


def words_of(prompt: str) -> list[str]:
    """Return the first words of a prompt that an edit can be about, each once."""
    words = [word for word in TOKEN.findall(prompt[:MAX_TEXT]) if word[0].isalpha() and word.lower() not in STOP_WORDS]
    return list(dict.fromkeys(words))[:MAX_WORDS]


def painted(photo: Photo, layer: str | None, *, mended: bool = False, drafted: bool = False) -> dict[str, Any]:
    """Return the update of the painter that shows a picture and its mask.

    Args:
        photo: the picture.
        layer: the mask, from :func:`~stages.serving.page.pictures.draw_layer` or from the painter.
        mended: whether the visitor painted it.
        drafted: whether it shows in another tint what a draft adds.
    """
    width, height = layer_size(photo.size)
    flags = {"mended": mended, "drafted": drafted}
    return gr.update(value={"rendition": photo.rendition, "width": width, "height": height, "layer": layer, **flags})


def previews(photo: Photo, progress: Progress) -> dict[str, Any]:
    """Return the update of the results that shows them on their way."""
    cards = [
        {"rendition": rendition(image), "title": f"{number}, on its way", "alt": f"Preview of result {number}", "preview": True}
        for number, image in enumerate(progress.previews, 1)
    ]
    return _cards(photo, cards)


def finished(edit: Edit) -> dict[str, Any]:
    """Return the update of the results that shows an edit."""
    cards = [{"rendition": each.rendition, "title": each.title, "alt": edit.settings.prompt} for each in edit.results]
    return _cards(edit.photo, cards, columns=len(edit.results) // edit.settings.images)


def history(session: Session) -> list[dict[str, str]]:
    """Return the edits of a session for the strip, the newest first."""
    return [
        {"rendition": edit.results[0].rendition, "title": edit.settings.prompt, "detail": _describe(edit)}
        for edit in reversed(session.edits)
    ]


def _describe(edit: Edit) -> str:
    """Return the settings that distinguish an edit from others with the same prompt."""
    settings = edit.settings
    parts = [f"seed {settings.seed}", f"strength {settings.strength:g}", f"guidance {settings.guidance_scale:g}"]
    parts += [f"{settings.images} results"] if settings.images > 1 else []
    parts += ["own mask"] if edit.mended else ["no mask"] if settings.whole_picture else []
    return " · ".join([*parts, *settings.models])


def _cards(photo: Photo, cards: list[dict[str, Any]], columns: int = 1) -> dict[str, Any]:
    width, height = photo.size
    return gr.update(value={"before": photo.rendition, "ratio": width / height, "columns": columns, "cards": cards})
