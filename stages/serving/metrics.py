"""What the service reports to Prometheus."""

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from stages.serving.admission import Admission
from stages.serving.calls import ModelVersion
from stages.serving.models import Models
from stages.serving.security import App, Message, Receive, Scope, Send

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
PICTURES = (1, 2, 4, 8, 16, 32)
ROUTES = ("/v1/images/edits", "/v1/models", "/invocations", "/health", "/ready", "/metrics")

disable_created_metrics()  # a second series for each, with the time of its first value


class Metrics:
    """The numbers of one service, in a registry of its own."""

    def __init__(self, admission: Admission, models: Models) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._models = models
        self._requests = Counter("iedit_http_requests", "Requests answered.", ("route", "status"), registry=self._registry)
        self._seconds = Histogram(
            "iedit_http_request_seconds", "Seconds of a request.", ("route",), buckets=SECONDS, registry=self._registry
        )
        self._edit_seconds = Histogram(
            "iedit_edit_seconds", "Seconds of an edit, waiting included.", ("model",), buckets=SECONDS, registry=self._registry
        )
        self._batch = Histogram(
            "iedit_batch_pictures", "Pictures made in one batch.", buckets=PICTURES, registry=self._registry
        )
        self._model = Gauge("iedit_model_info", "The default model: 1.", ("reference", "version"), registry=self._registry)
        for name, text, read in (
            ("requests_in_flight", "Requests at work or waiting for the model.", lambda: admission.requests),
            ("pixels_in_flight", "Pixels of the pictures in flight and their results.", lambda: admission.pixels),
            ("ready", "Whether the default model is loaded.", lambda: models.default is not None),
        ):
            Gauge(f"iedit_{name}", text, registry=self._registry).set_function(read)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def edited(self, model: ModelVersion, seconds: float, batch: int | None) -> None:
        """Count an edit that was done, and the pictures of its batch, unless another edit of the batch counts them."""
        self._edit_seconds.labels(f"{model.name}/{model.version or '-'}").observe(seconds)
        if batch is not None:
            self._batch.observe(batch)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format, whose media type is CONTENT_TYPE."""
        self._model.clear()
        if (default := self._models.default) is not None:
            self._model.labels(default.reference, default.version or "").set(1)
        return generate_latest(self._registry)


class Measured:
    """An ASGI application around another one, whose answers it counts."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start, status = time.monotonic(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            if scope["type"] == "http":
                route = scope["path"] if scope["path"] in ROUTES else "page"
                self._metrics.answered(route, status, time.monotonic() - start)
