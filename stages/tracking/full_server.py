"""Whether a tracking server fails because its disk is full: MLflow's client reports only how often it was refused."""

import re
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from stages.core.files import SQLITE_FULL, lack_of_room
from stages.tracking.location import EXPERIMENT, KIND, SHOWS_RUNS, tracking_uri

GAVE_UP = re.compile(r"too many 50\d error responses")  # MLflow's client, which drops the server's own words
NUMBER = re.compile(r'"experiment_id":\s*"(\d+)"')
TIMEOUT = 10  # seconds for each request


def full_server(error: object) -> str | None:
    """Return the words for a full disk if the server that gave this error has one, else None.

    A server that cannot store a file answers 500 and no more; only one that cannot write to its database says why. Both are
    usually on one disk, so it is asked to write the kind of our experiment, which stays what it is.

    Args:
        error: the error of MLflow's client.
    """
    if not tracking_uri().startswith("http") or GAVE_UP.search(str(error)) is None:
        return None
    try:
        number = NUMBER.search(_ask("GET", "get-by-name", params={"experiment_name": EXPERIMENT}))
        if number is None:
            answer = _ask("POST", "create", json={"name": EXPERIMENT})
        else:
            answer = _ask("POST", "set-experiment-tag", json={"experiment_id": number[1], "key": KIND, "value": SHOWS_RUNS})
    except MlflowException:  # there is no answer at all; the caller reports the error that it has
        return None
    return None if lack_of_room(answer) is None else f"{SQLITE_FULL} on the server"


def _ask(method: str, question: str, **content: Any) -> str:
    """Return the server's answer to one request, whatever its status."""
    place = f"/api/2.0/mlflow/experiments/{question}"
    credentials = get_default_host_creds(tracking_uri())
    answer = http_request(credentials, place, method, max_retries=0, retry_codes=(), timeout=TIMEOUT, **content)
    return str(answer.text)
