"""Copies of an MLflow store."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.tracking._tracking_service import utils


def move_store(database: Path, old: Path, new: Path) -> None:
    """Replace the folder in every path that a copied MLflow store holds, and in MLflow's own cache of such paths."""
    utils._artifact_repos_cache.clear()  # by the id of a run or model, which a copy shares with the original
    with closing(sqlite3.connect(database)) as store, store:
        for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in store.execute(f'PRAGMA table_info("{table}")').fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    change = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE "{column}" LIKE ?'
                    store.execute(change, (str(old), str(new), f"%{old}%"))
