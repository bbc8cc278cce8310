"""The folder that Gradio keeps files in while a page is open: this process's own, not the one that all programs share."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_folder() -> Iterator[None]:
    """Give Gradio a new folder within the block. Gradio must not be imported before: that is when it reads the name."""
    with tempfile.TemporaryDirectory(prefix="iedit-review-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield
