"""Errors of MLflow in one line."""

import pytest
from mlflow.exceptions import MlflowException

from stages.core.errors import MAX_LINE, InputError
from stages.core.files import NoRoomError
from stages.tracking.errors import store_errors_in_one_line


@pytest.mark.parametrize(
    ("message", "kind", "line"),
    [
        ("no such run\nthe rest", InputError, "no such run"),
        ("\n  \x1b]0;title\x07 no such run", InputError, " ]0;title  no such run"),
        ("", InputError, ""),
        ("x" * 999, InputError, "x" * MAX_LINE),
        ("(sqlite3.OperationalError) database or disk is full\n[SQL: …]", NoRoomError, "database or disk is full"),
        ("to http://me:se@cret@here:5000/api failed", InputError, "to http://here:5000/api failed"),
        ("postgresql://here/db?user=me&password=secret", InputError, "postgresql://here/db?user=me&password="),
    ],
)
def test_errors_of_the_store_become_one_line(message, kind, line):
    with pytest.raises(kind) as caught, store_errors_in_one_line():
        raise MlflowException(message)
    assert str(caught.value) == f"tracking store: {line}"
