"""Answers to errors: one line, in the form that the clients of each interface read, with neither a traceback nor a path."""

import json
import logging
import math
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from stages.core.errors import InputError, first_line
from stages.core.files import lack_of_room
from stages.serving.calls import (
    BusyError,
    DeadlineExceededError,
    EditFailedError,
    ModelUnavailableError,
    UnavailableError,
    UnknownModelError,
)

MLFLOW = "/invocations"  # whose clients read MLflow's form
GONE = 499  # as nginx logs it: nobody reads the answer
FORMS: dict[type[Exception], tuple[int, str, str]] = {
    UnknownModelError: (404, "invalid_request_error", "model_not_found"),
    InputError: (400, "invalid_request_error", "invalid_value"),
    BusyError: (429, "requests", "rate_limit_exceeded"),
    ModelUnavailableError: (503, "server_error", "model_unavailable"),
    DeadlineExceededError: (504, "server_error", "timeout"),
    EditFailedError: (500, "server_error", "edit_failed"),
    ClientDisconnect: (GONE, "invalid_request_error", "client_left"),
}
"""Error → status, and type and code as OpenAI's API names them."""

logger = logging.getLogger(__name__)


def answer_error(error: Exception, path: str) -> Response:
    """Return the answer to a request that ended with an error; what is not known here is logged, and answered by 500."""
    if isinstance(error, HTTPException):
        answer = refuse(error.status_code, str(error.detail), path)
        answer.headers.update(error.headers or {})
        return answer
    for kind, (status, name, code) in FORMS.items():
        if isinstance(error, kind):
            answer = _answer(status, first_line(error), path, name, code)
            if isinstance(error, UnavailableError):
                answer.headers["retry-after"] = str(math.ceil(error.retry_after))
            return answer
    logger.error("a request failed", exc_info=error)
    if (reason := lack_of_room(error)) is not None:
        return refuse(503, f"the disk of the service: {reason}", path)
    return _answer(500, "the request failed; see the log", path, "server_error", "internal_error")


def refuse(status: int, message: str, path: str) -> Response:
    """Return the answer to a request that is refused before anything knows what it wants."""
    name = "server_error" if status >= 500 else "invalid_request_error"
    return _answer(status, first_line(message), path, name, HTTPStatus(status).phrase.lower().replace(" ", "_"))


def _answer(status: int, message: str, path: str, name: str, code: str) -> Response:
    if path == MLFLOW:
        content: object = {"error_code": code.upper(), "message": message}
    else:
        content = {"error": {"message": message, "type": name, "param": None, "code": code}}
    return Response(json.dumps(content, ensure_ascii=False), status, media_type="application/json")
