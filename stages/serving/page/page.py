"""The page as a whole: its parts wired together, and mounted in the service's app."""

from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Depends, FastAPI

from stages.common.only_uploads import OnlyUploads
from stages.serving.calls import BusyError
from stages.serving.folder import UPLOADS
from stages.serving.page.abandoned import AbandonedCalls
from stages.serving.page.actions import Actions
from stages.serving.page.components import ASSETS
from stages.serving.page.examples import draw_examples
from stages.serving.page.layout import KEPT_SECONDS, Layout, lay_out
from stages.serving.page.receiving import receive_uploads
from stages.serving.page.refusals import ChargedCalls, answer, only_own_calls
from stages.serving.page.room import swept
from stages.serving.service import Service
from stages.serving.uploads import MAX_BYTES

UPLOAD_SECONDS = 600  # that uploads, and copies of results that are being fetched, are kept
SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
TAKE_PASTED = (ASSETS / "paste.js").read_text()
FOCUS_PICTURE = "() => setTimeout(() => document.querySelector('#painter canvas').focus({preventScroll: true}), 100)"
CLICK_DOWNLOAD = "() => setTimeout(() => document.querySelector('#download').click(), 100)"


def mount_page(app: FastAPI, service: Service, folder: Path) -> None:
    """Mount the page at the root of an app, after the app's own routes.

    Args:
        app: the service's app.
        service: what edits.
        folder: an empty folder of this process, where results are kept for a while; who gives it removes it. Uploads are
            in its folder :data:`stages.serving.folder.UPLOADS`, which GRADIO_TEMP_DIR must name before Gradio is imported.
    """
    uploads, sessions = folder / UPLOADS, folder / "sessions"
    uploads.mkdir(exist_ok=True)
    sessions.mkdir()
    app.include_router(receive_uploads(service, uploads))
    page = build_page(service, sessions)
    checks = (ChargedCalls(service), OnlyUploads(uploads), only_own_calls, AbandonedCalls())
    ages = {uploads: UPLOAD_SECONDS, sessions: KEPT_SECONDS}
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        app_kwargs={
            "dependencies": [Depends(check) for check in checks],
            "exception_handlers": dict.fromkeys((BusyError, OSError, Exception), answer),
            "openapi_url": None,
            "lifespan": lambda _: swept(ages),
        },
        allowed_paths=[],
        show_error=False,
        max_file_size=MAX_BYTES,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=_theme(),
        css_paths=[ASSETS / "page.css"],
    )
    page.config["version"] = ""  # Gradio's, which would stand in the page


def _theme() -> gr.themes.Base:
    """Return Gradio's plainest theme in the page's colours, with no font from outside."""
    return gr.themes.Base(
        primary_hue="violet",
        neutral_hue="zinc",
        radius_size="lg",
        font=SYSTEM_FONTS,
        font_mono=("ui-monospace", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        input_background_fill="white",
        input_placeholder_color="*neutral_400",
        input_placeholder_color_dark="*neutral_500",
        checkbox_border_radius="*radius_sm",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="*border_color_primary",
        checkbox_label_border_color_dark="*border_color_primary",
        checkbox_label_border_width_dark="1px",
        checkbox_border_color_dark="*neutral_500",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def build_page(service: Service, sessions: Path) -> gr.Blocks:
    """Return the page.

    Args:
        service: what edits.
        sessions: the folder where sessions keep their files.
    """
    examples = draw_examples()
    with gr.Blocks(title="iEdit", analytics_enabled=False, fill_width=False) as page:
        layout = lay_out(examples)
        _wire(page, layout, Actions(layout, service, sessions, examples))
    page.queue(default_concurrency_limit=None, api_open=False)  # the service bounds what is at work
    return page


def _wire(page: gr.Blocks, layout: Layout, actions: Actions) -> None:
    """Say which event calls which action."""
    form = set(layout.form.values())
    everything = {*form, layout.session, layout.painter}
    out = [part for part in vars(layout).values() if part is not layout.download]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False, "preprocess": False}
    queued = {**quiet, "queue": True}  # what answers more than once

    page.load(None, js=TAKE_PASTED, **quiet)
    gr.on([page.load, layout.loading.tick], actions.greet, None, out, **quiet)
    shown = layout.upload.change(actions.open_picture, {layout.upload, layout.session}, out, **quiet)
    chosen = layout.examples.choose(actions.choose_example, {layout.session}, out, **quiet)
    chosen.then(None, js=FOCUS_PICTURE, **quiet)  # what had the focus is hidden now
    layout.other.click(actions.other_picture, None, out, **quiet)

    suggestion: dict[str, Any] = {"fn": actions.suggest, "inputs": {*form, layout.session}, "outputs": out, **quiet}
    words = [layout.prompt, layout.term]
    layout.prompt.change(actions.list_words, words, [layout.term], trigger_mode="always_last", **quiet)
    for suggested in (layout.prompt.blur(**suggestion), shown.then(**suggestion)):
        suggested.then(actions.take_suggestion, [layout.term, layout.suggested], out, **quiet)

    layout.find.click(actions.find_mask, everything, out, **queued)
    editing = gr.on([layout.edit.click, layout.prompt.submit], actions.edit, everything, out, **queued)
    editing.then(actions.rest, None, out, **quiet)
    layout.stop.click(None, cancels=[editing], **quiet).then(actions.stop, None, out, **quiet)
    layout.history.choose(actions.restore, {layout.session}, out, **quiet)
    fetched = layout.results.download(actions.download, {layout.session}, [layout.download, layout.status], **quiet)
    fetched.then(None, js=CLICK_DOWNLOAD, **quiet)
