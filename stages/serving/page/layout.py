"""The components of the page, and where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from stages.serving.page.components import make_painter, make_results, make_strip
from stages.serving.page.examples import Example
from stages.serving.page.pictures import rendition
from stages.serving.page.session import MAX_MODELS, MAX_RESULTS, Session, Settings

KEPT_SECONDS = 3600  # how long a session is kept after its last use
LOADING_SECONDS = 2  # between two looks whether the model is loaded
THUMBNAIL = 192  # pixels
HEADER = """
<header class="top"><h1>iEdit</h1>
<p>Say what should change. The rest of the picture stays yours, pixel for pixel.</p></header>
"""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The components that something happens to."""

    session: gr.State
    choosing: gr.Column
    working: gr.Column
    upload: gr.Image
    examples: gr.HTML
    painter: gr.HTML
    prompt: gr.Textbox
    term: gr.Radio
    suggested: gr.State  # a term
    source_term: gr.Textbox
    whole_picture: gr.Checkbox
    strength: gr.Slider
    guidance_scale: gr.Slider
    images: gr.Slider
    seed: gr.Number
    negative_prompt: gr.Textbox
    models: gr.Dropdown
    loading: gr.Timer
    edit: gr.Button
    stop: gr.Button
    find: gr.Button
    other: gr.Button
    status: gr.HTML
    made: gr.Column
    results: gr.HTML
    download: gr.DownloadButton
    history: gr.HTML
    past: gr.Column

    @property
    def form(self) -> dict[str, Any]:
        """The components that hold the settings, by the names of the fields of :class:`Settings`."""
        return {name: getattr(self, name) for name in Settings.model_fields}


def lay_out(examples: Sequence[Example]) -> Layout:
    """Create the components within the current ``gr.Blocks``."""
    session = gr.State(None, time_to_live=KEPT_SECONDS, delete_callback=_end)
    gr.HTML(HEADER, padding=False)
    with gr.Row(equal_height=False, elem_classes="bench"):
        with gr.Column(scale=3, min_width=320):
            picture = _picture(examples)
        with gr.Column(scale=2, min_width=320, elem_classes="controls"):
            form = _form()
    with gr.Column(visible=False, elem_classes="section") as made:
        gr.HTML("<h2>Results</h2>", padding=False)
        results = make_results(value={}, elem_id="results")
        download = gr.DownloadButton(elem_id="download", visible="hidden")
    with gr.Column(visible=False, elem_classes="section") as past:
        gr.HTML("<h2>Earlier in this session</h2>", padding=False)
        history = make_strip(value=[], elem_id="history")
    return Layout(session=session, made=made, results=results, download=download, past=past, history=history, **picture, **form)


def _picture(examples: Sequence[Example]) -> dict[str, Any]:
    strip = [
        {"rendition": rendition(each.image, THUMBNAIL), "title": each.prompt, "detail": f"from {each.caption}"}
        for each in examples
    ]
    with gr.Column(elem_classes="choosing") as choosing:
        upload = gr.Image(
            label="Your picture",
            sources=["upload", "clipboard", "webcam"],
            type="filepath",
            show_label=False,
            height=380,
            placeholder="Drop or paste a photograph here, or click to choose one",
            elem_id="upload",
            buttons=[],
        )
        gr.HTML("<h2>Or start with one of these</h2>", padding=False)
        shown = make_strip(value=strip, elem_id="examples")
    with gr.Column(visible=False, elem_classes="working") as working:
        painter = make_painter(value={}, elem_id="painter")
        other = gr.Button("Choose another picture", size="sm", elem_id="other")
    return {"choosing": choosing, "working": working, "upload": upload, "examples": shown, "painter": painter, "other": other}


def _form() -> dict[str, Any]:
    prompt = gr.Textbox(
        "",
        label="The picture after the edit",
        placeholder="a strawberry in the mountains",
        lines=1,
        max_lines=4,
        submit_btn=False,
        elem_id="prompt",
    )
    term = gr.Radio(
        [],
        label="What is new in it",
        info="Click a word; suggested is what the picture shows least.",
        elem_id="term",
        visible=False,
    )
    source_term = gr.Textbox("", label="What it replaces, if anything", placeholder="mango", elem_id="source-term")
    with gr.Row(elem_classes="actions"):
        edit = gr.Button("Edit", variant="primary", elem_id="edit")
        stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")
        find = gr.Button("Show mask", elem_id="find")
    status = gr.HTML("", elem_id="status", padding=False)
    settings = _settings()
    models = gr.Dropdown(
        [],
        label="Models",
        info="Choose several to compare them side by side.",
        multiselect=True,
        max_choices=MAX_MODELS,
        elem_id="models",
        visible=False,
    )
    return {
        "prompt": prompt,
        "term": term,
        "suggested": gr.State(None),
        "source_term": source_term,
        "edit": edit,
        "stop": stop,
        "find": find,
        "status": status,
        "models": models,
        "loading": gr.Timer(LOADING_SECONDS),
        **settings,
    }


def _settings() -> dict[str, Any]:
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        strength = gr.Slider(0.05, 1, 0.6, step=0.05, label="Strength", info="How far the result may move from the picture.")
        guidance_scale = gr.Slider(1, 20, 7.5, step=0.5, label="Guidance", info="How closely the result follows the words.")
        images = gr.Slider(1, MAX_RESULTS, 1, step=1, label="Results", elem_id="images")
        seed = gr.Number(
            0,
            label="Seed",
            elem_id="seed",
            info="The same seed gives the same result.",
            precision=0,
            minimum=0,
        )
        negative_prompt = gr.Textbox("", label="What it must not show")
        whole_picture = gr.Checkbox(label="Edit the whole picture, without a mask")
    return {
        "strength": strength,
        "guidance_scale": guidance_scale,
        "images": images,
        "seed": seed,
        "negative_prompt": negative_prompt,
        "whole_picture": whole_picture,
    }


def _end(session: Session | None) -> None:
    if session is not None:
        session.end()
