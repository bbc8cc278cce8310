"""Pages of one HTML file that load nothing from anywhere, from the templates beside this module."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.report.pictures import THUMBNAIL

LAYOUT = "layout.html"  # the template that all pages extend
MACROS = "macros.html"  # what several pages show alike


def render(template: str, *, columns: int, **values: Any) -> str:
    """Return a page. Texts are escaped; a value that the template needs and does not get is an error.

    Args:
        template: the file of the page's template.
        columns: how many pictures stand side by side in its widest table.
        values: what the template shows.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template(template)
    return page.render(layout=LAYOUT, macros=MACROS, columns=columns, thumbnail=THUMBNAIL, **values)
