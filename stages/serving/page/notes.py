"""Lines for the visitor, as HTML: what is being done, what was done, and what is wrong."""

from html import escape

from stages.core.errors import first_line
from stages.serving.calls import Progress, UnavailableError


def note(text: str) -> str:
    """Return a plain line."""
    return f'<p class="note" role="status">{escape(text)}</p>'


def busy(text: str, progress: Progress | None = None) -> str:
    """Return a line with a bar; without progress the bar only shows that something is done."""
    share = f' value="{progress.step}" max="{progress.of}"' if progress else ""
    return f'<p class="note" role="status">{escape(text)}</p><progress{share} aria-label="{escape(text)}"></progress>'


def complaint(error: Exception | str) -> str:
    """Return what is wrong in one line, and when it is worth trying again."""
    line = first_line(error)
    if isinstance(error, UnavailableError):
        line += f"; try again in {max(1, round(error.retry_after))} s"
    return f'<p class="note wrong" role="alert">{escape(line[:1].upper() + line[1:])}</p>'
