"""Numbers for Prometheus, read by its own parser."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from stages.serving.admission import Admission
from stages.serving.calls import ModelVersion
from stages.serving.metrics import CONTENT_TYPE, Metrics
from stages.serving.models import Models
from tests.support.harness import PATIENCE

MODEL = ModelVersion(reference="champion", name="iedit", version="3")


def numbers(text: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_requests_and_edits_are_counted(shelf, tmp_path):
    admission = Admission()
    metrics = Metrics(admission, Models(shelf, tmp_path))
    for status, seconds in ((200, 0.2), (200, 3), (429, 0.001)):
        metrics.answered("/v1/images/edits", status, seconds)
    metrics.edited(MODEL, 1.5, 4)
    metrics.edited(MODEL, 1.5, None)
    with admission.admit(pixels=100, images=2):
        found = numbers(metrics.text().decode())
    assert found["iedit_http_requests_total", "/v1/images/edits", "200"] == 2
    assert found["iedit_http_requests_total", "/v1/images/edits", "429"] == 1
    assert found["iedit_http_request_seconds_count", "/v1/images/edits"] == 3
    assert found["iedit_http_request_seconds_sum", "/v1/images/edits"] == 3.201
    assert found["iedit_edit_seconds_sum", "iedit/3"] == 3
    assert (found["iedit_batch_pictures_count",], found["iedit_batch_pictures_sum",]) == (1, 4)
    assert (found["iedit_requests_in_flight",], found["iedit_pixels_in_flight",]) == (1, 300)
    assert found["iedit_ready",] == 0


def test_a_service_reports_its_model_and_every_route(address):
    for path in ("/health", "/health", "/ready", "/v1/models", "/some/page", "/another"):
        httpx.get(address + path, timeout=PATIENCE)
    answer = httpx.get(f"{address}/metrics", timeout=PATIENCE)
    assert answer.headers["content-type"] == CONTENT_TYPE
    found = numbers(answer.text)
    assert found["iedit_model_info", "one", ""] == 1
    assert found["iedit_http_requests_total", "/health", "200"] == 2
    assert found["iedit_http_requests_total", "page", "404"] == 2  # a path of a client never becomes a label
    assert found["iedit_ready",] == 1
    assert found["process_resident_memory_bytes",] > 2**20
