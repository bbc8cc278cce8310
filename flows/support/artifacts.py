"""The page of a run besides its log: progress, counts, results, edits, and the link to MLflow."""

import re
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
from PIL import Image
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from stages.core.errors import InputError
from stages.core.files import folder_digest, read_json
from stages.core.paths import IEDIT, LOGS, REPORTS

TABLE, SHEET = REPORTS / "table.md", REPORTS / "sheet.png"
BAR = re.compile(r"(?P<what>[^:|]+): +(?P<percent>\d+)%\|")  # a progress bar as tqdm draws it
WEBP_QUALITY = 85  # percent


class Progress:
    """The progress of a long stage, read from the progress bars in its output."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._artifact: UUID | None = None

    def follow(self, line: str) -> None:
        """Publish how far the stage is, if the line is a progress bar.

        A short stage prints only finished bars, so it gets no progress page.
        """
        bar = BAR.match(line)
        if bar is None:
            return
        try:
            # The stage blocks while nobody reads its output, so do not wait for a server that is away.
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                self._publish(bar["what"], float(bar["percent"]))
        except (httpx.HTTPError, PrefectException) as error:  # a page that lags must not end a training
            get_run_logger().warning("progress is not shown: %s", error)

    def _publish(self, what: str, percent: float) -> None:
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=percent, description=what)
        elif percent < 100:
            key = _key(f"{self._stage}-progress")
            self._artifact = cast("UUID", create_progress_artifact(key=key, progress=percent, description=what))


def publish_counts(stage: str, started: float) -> None:
    """Publish how many samples a stage has done, reused and dropped, if it counts them.

    Args:
        stage: the name of the stage.
        started: when it was started, in seconds since the epoch; older counts belong to an earlier run.

    Raises:
        InputError: the file of the counts is damaged.
    """
    path = LOGS / f"{stage}.json"
    if path.is_file():
        ran = path.stat().st_mtime >= started
        create_table_artifact(
            key=_key(f"{stage}-counts"),
            table=_rows(_read_counts(path)),
            description=f"Samples of {stage}" + ("" if ran else "; nothing changed, so these come from an earlier run"),
        )


def publish_evaluation() -> None:
    """Publish the table of results, edits of held-out cases, and a link to the training in MLflow, where they exist.

    Raises:
        InputError: MLflow cannot be reached.
    """
    if TABLE.is_file():
        create_markdown_artifact(key="results", markdown=TABLE.read_text(encoding="utf-8"), description="Results")
    if SHEET.is_file():
        markdown = f"![Edits of held-out cases](data:image/webp;base64,{_as_webp(SHEET)})"
        create_markdown_artifact(key="edits", markdown=markdown, description="Edits of held-out cases, uncurated")
    if IEDIT.is_dir():
        _publish_training()


def _publish_training() -> None:
    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.pages import run_page
    from stages.tracking.runs import find_run

    with store_errors_in_one_line():
        run_id = find_run(folder_digest(IEDIT))
        page = None if run_id is None else run_page(run_id)
    if page is not None:
        create_link_artifact(key="mlflow-run", link=page, link_text="MLflow", description="The training of the model")
    elif run_id is not None:
        text = f"Run `{run_id}` of the experiment `iedit`; `mlflow ui` shows it."
        create_markdown_artifact(key="mlflow-run", markdown=text, description="The training of the model")


def _as_webp(picture: Path) -> str:
    """Return a picture as WebP in base64; the page embeds it, because the server cannot read the project's files."""
    content = BytesIO()
    with Image.open(picture) as image:
        image.convert("RGB").save(content, "webp", quality=WEBP_QUALITY)
    return b64encode(content.getvalue()).decode()


def _key(name: str) -> str:
    """Return a name in the form that Prefect allows for a key."""
    return name.replace("_", "-").lower()


def _read_counts(path: Path) -> dict[str, Any]:
    try:
        counts = read_json(path)
    except ValueError:
        counts = None
    if not isinstance(counts, dict):
        raise InputError(f"{path}: damaged; remove it")
    return counts


def _rows(counts: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Return nested counts as rows of a table."""
    rows: list[dict[str, Any]] = []
    for name, value in counts.items():
        label = f"{prefix}{name}".replace("_", " ")
        rows += _rows(value, f"{label}: ") if isinstance(value, dict) else [{"what": label, "count": value}]
    return rows
