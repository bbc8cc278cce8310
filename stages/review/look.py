"""How the pages look: the system's own fonts, light and dark as the system has it, nothing from another machine."""

import signal
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Depends
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from stages.common.only_uploads import OnlyUploads
from stages.common.same_origin import only_own_pages

FOLDER = Path(__file__).parent
KEYS, STYLE = "keys.js", "page.css"
NAMES = ["127.0.0.1", "localhost"]  # of this machine; a page of another site may have made its own name point here


def serve(page: gr.Blocks, port: int, *, wait: bool = True) -> str:
    """Serve a page on this machine only, under its own names, to itself and without any file, until Ctrl-C or SIGTERM.

    Args:
        page: the page.
        port: 1 to 65535; 0 is a free one.
        wait: return when the page is interrupted, not when it answers.

    Returns:
        The address.

    Raises:
        OSError: the port is in use.
    """
    options: dict[str, Any] = {"server_name": "127.0.0.1", "quiet": True, "footer_links": [], "run_history": False}
    options |= {"ssr_mode": False, "enable_monitoring": False, "show_error": True}
    options["app_kwargs"] = {
        "dependencies": [Depends(only_own_pages), Depends(OnlyUploads(None))],
        "middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=NAMES)],
    }
    theme = gr.themes.Default(
        primary_hue="emerald",
        neutral_hue="slate",
        font=[gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")],
        font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")],
    )
    head = f"<script>{FOLDER.joinpath(KEYS).read_text(encoding='utf-8')}</script>"
    css = FOLDER.joinpath(STYLE).read_text(encoding="utf-8")
    _, address, _ = page.launch(server_port=port or None, prevent_thread_lock=True, theme=theme, css=css, head=head, **options)
    if wait:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        print(f"reviewing at {address} (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return str(address)
