"""What is refused before Gradio sees it: all that the page itself does not send, and too many calls of one client.

Gradio answers calls of functions that a page does not have, and calls with other values than they take, with status 500.
"""

import errno
import re
from typing import Annotated, Any

from fastapi import HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.serving.answers import answer_error
from stages.serving.clients import name_of
from stages.serving.service import Service

CALLS = ("/gradio_api/run/predict", "/gradio_api/queue/join")
SESSION = "[A-Za-z0-9_-]{1,64}"  # what a browser calls its session; Gradio keeps it
ROUTES = re.compile(
    r"/((config|theme\.css|favicon\.ico)?|(assets|static)/.*"
    rf"|gradio_api/(run/predict|queue/(join|data)|cancel|reset|heartbeat/{SESSION}|file=.*))"
)
"""Those of Gradio's that the page asks for."""

RANGE = re.compile(r"bytes=[0-9]{0,18}-[0-9]{0,18}")
CALL_SHARE = 0.1  # of a request: what a call of the page counts beside the work that it asks for


class Call(BaseModel):
    """A call of one of the page's functions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fn_index: int
    data: list[Any]
    session_hash: Annotated[str, Field(pattern=f"^{SESSION}$")]
    trigger_id: int | None = None  # the component
    event_data: Any = None


async def only_own_calls(request: Request) -> None:
    """Check one request; a dependency of Gradio's routes.

    Raises:
        HTTPException: the page does not send it.
    """
    path = request.scope["path"]
    if not ROUTES.fullmatch(path):
        raise HTTPException(404, "the page has no such part")
    if not RANGE.fullmatch(request.headers.get("range", "bytes=0-")):
        raise HTTPException(416, "Range: one range of bytes is allowed")
    if not re.fullmatch(SESSION, request.query_params.get("session_hash", "none")):
        raise HTTPException(422, "session_hash: the page does not call a session like this")
    if path not in CALLS:
        return
    try:
        call = Call.model_validate_json(await request.body())
        function = request.app.get_blocks().fns.get(call.fn_index)
        if function is None or function.fn is None:
            raise HTTPException(404, "the page has no such function")
        if len(call.data) != len(function.inputs):
            raise HTTPException(422, f"the function takes {len(function.inputs)} values, {len(call.data)} are given")
        for component, value in zip(function.inputs, call.data, strict=True):
            if value is not None and (model := getattr(component, "data_model", None)) is not None:
                model.model_validate(value)
    except ValidationError as error:
        raise HTTPException(422, "the page does not call a function like this") from error


class ChargedCalls:
    """A dependency of Gradio's routes: every call of the page counts a little for its client, before it is read."""

    def __init__(self, service: Service) -> None:
        """Remember the service, which counts."""
        self._service = service

    async def __call__(self, request: Request) -> None:
        """Count one request.

        Raises:
            BusyError: the client has sent too much.
        """
        if request.scope["path"] in CALLS:
            self._service.charge(name_of(request), CALL_SHARE)


async def answer(request: Request, error: Exception) -> Response:
    """Return the answer to a request of the page that ended with an error."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        error = HTTPException(404, "the page has no file with so long a name")
    return answer_error(error, request.url.path)
