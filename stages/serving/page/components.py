"""Components of the page that Gradio does not have; each is a template and a script in assets/.

They are functions, not classes: for every subclass of a component Gradio writes a stub beside the source.
"""

from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).parent / "assets"


def make_painter(**options: Any) -> gr.HTML:
    """Return the picture with its mask to paint on.

    The value holds ``rendition``, the picture; ``width`` and ``height`` of the layer; ``layer``, the mask as the data URI of
    a PNG, or None; ``mended``, whether the visitor painted on it; and ``drafted``, whether it shows what a draft adds.
    """
    return _scripted("painter", **options)


def make_results(**options: Any) -> gr.HTML:
    """Return cards with a slider between before and after.

    The value holds ``before``, a picture; ``ratio``, its width by its height; ``columns``, how many models are compared; and
    ``cards``, each with ``rendition``, ``title``, ``alt``, and ``preview`` while it is not finished. The event ``download``
    has the index of a card.
    """
    return _scripted("results", **options)


def make_strip(**options: Any) -> gr.HTML:
    """Return a row of pictures, each with ``rendition``, ``title`` and ``detail``; ``choose`` has the index of one."""
    return _scripted("strip", **options)


def _scripted(asset: str, **options: Any) -> gr.HTML:
    """Return a component drawn by ``assets/NAME.html`` and ``assets/NAME.js``; its value is plain JSON."""
    template, script = (ASSETS / f"{asset}.{kind}" for kind in ("html", "js"))
    return gr.HTML(
        html_template=template.read_text(), js_on_load=script.read_text(), apply_default_css=False, padding=False, **options
    )
