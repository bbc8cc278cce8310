"""What an event of the browser says: who sent it, and which picture it names."""

import gradio as gr

from stages.core.errors import InputError
from stages.serving.clients import name_of


def client_of(request: gr.Request) -> str:
    """Return whom an event counts for."""
    assert request.request is not None  # it is None in Gradio's own tests only
    return name_of(request.request)


def index_of(event: gr.EventData, length: int) -> int:
    """Return the index that an event names.

    Raises:
        InputError: it is none of ``length`` pictures.
    """
    index = event._data.get("index") if isinstance(event._data, dict) else None  # has no public name
    if not isinstance(index, int) or not 0 <= index < length:
        raise InputError("there is no such picture; a session ends an hour after its last use")
    return index
