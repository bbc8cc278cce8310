"""The model card of a version: README.md beside its files."""

import tempfile
from pathlib import Path

from mlflow.tracking import MlflowClient

from stages.core.files import write_text
from stages.tracking.registry import Registered

CARD = "README.md"


def save_card(client: MlflowClient, version: Registered, text: str) -> None:
    """Keep a model card with a version; it replaces an earlier one.

    Args:
        client: a client of the store.
        version: the version.
        text: the card, in Markdown.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, CARD)
        write_text(path, text)
        client.log_model_artifact(version.model_id, str(path))
