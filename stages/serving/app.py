"""The web application: REST interface, page, health and numbers around one service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from stages.serving.answers import FORMS, MLFLOW, answer_error
from stages.serving.bodies import BodyLimit
from stages.serving.clients import unless_gone
from stages.serving.connections import ConnectionLimit
from stages.serving.images_api import images_api
from stages.serving.metrics import CONTENT_TYPE, Measured
from stages.serving.security import Access, Gate
from stages.serving.sending import AnswerLimit
from stages.serving.service import Service


def make_app(service: Service, access: Access) -> FastAPI:
    """Return the application.

    Args:
        service: started and stopped with the application.
        access: who may ask.
    """

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=running)  # its pages load scripts from elsewhere
    app.include_router(images_api(service))
    _add_operations(app, service)
    _add_invocations(app, service)
    for kind in (*FORMS, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(BodyLimit)
    app.add_middleware(AnswerLimit)
    app.add_middleware(Gate, access=access)
    app.add_middleware(ConnectionLimit)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Answer while the process is alive."""
        return {"status": "alive"}

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, str]:
        """Answer 200 while edits can be done."""
        if service.state != "ready":
            response.status_code = 503
        return {"status": service.state}

    @app.get("/metrics")
    async def numbers() -> Response:
        """Return the numbers for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_invocations(app: FastAPI, service: Service) -> None:
    @app.post(MLFLOW, dependencies=[Depends(service.counted)])
    async def invocations(request: Request) -> Response:
        """Pass a request in MLflow's form to the model."""
        kind = request.headers.get("content-type", "")
        status, content = await unless_gone(request, service.score(await request.body(), kind))
        return Response(content, status, media_type="application/json")


async def _answer(request: Request, error: Exception) -> Response:
    return answer_error(error, request.url.path)
