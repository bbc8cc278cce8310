"""The registered model as MLflow loads and serves it."""

from functools import partial
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from PIL import Image

from stages.editing.pictures import decode_picture, encode_picture
from stages.tracking import store
from stages.tracking.pyfunc_model import EditorModel
from tests.support.registered import EXAMPLE, SAMPLING

NARROW = encode_picture(Image.new("RGB", (300, 2)))


@pytest.fixture(scope="module")
def served(registered_project):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(registered_project)
        store.connect()
        return mlflow.pyfunc.load_model("models:/iedit@champion")


@pytest.fixture(scope="module", params=["served", "imported"])
def predict(request, registered_project, served):
    """The editor's predict: from the copy of the code that MLflow serves, and from ours."""
    if request.param == "served":
        return served.predict
    model = EditorModel()
    folders = {"model": str(registered_project / "models/iedit"), "segmenter": str(registered_project / "segmenter")}
    model.load_context(SimpleNamespace(artifacts=folders))
    return partial(model.predict, None)


def test_signature(served):
    required = {spec.name: spec.required for spec in served.metadata.signature.inputs}
    assert required == {"image": True, "prompt": True, "mask": False, "term": False, "source_term": False}
    defaults = {spec.name: spec.default for spec in served.metadata.signature.params}
    assert defaults["num_inference_steps"] == SAMPLING.steps
    assert defaults["mask_mode"] == "predicted"


def test_predict(predict):
    image, black = encode_picture(EXAMPLE.image), encode_picture(Image.new("L", (32, 32)))
    table = pd.DataFrame([{"image": image, "prompt": "a dog", "term": "dog"}, {"image": image, "prompt": "a cat"}])
    edits = predict(table, params={"num_images": 2, "seed": 3})
    assert edits[["row", "number"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert decode_picture(edits["image"][0]).size == (32, 32)
    assert edits["image"][0] != edits["image"][1]
    pd.testing.assert_frame_equal(edits, predict(table, params={"num_images": 2, "seed": 3}))
    given = pd.DataFrame([{"image": image, "prompt": "a dog", "mask": black}])
    assert len(predict(given, params={"mask_mode": "given"})) == 1


@pytest.mark.parametrize(
    ("changes", "params", "message"),
    [
        ({"image": "not base64!"}, {}, "row 0: image: not base64"),
        ({"image": "aGVsbG8="}, {}, r"row 0: image: not an image \(PNG, JPEG, WEBP\)"),
        ({"image": ""}, {}, "row 0: image must not be empty"),
        ({"prompt": ""}, {}, "row 0: prompt: must not be blank"),
        ({"prompt": " \n\x1b "}, {}, "row 0: prompt: must not be blank"),
        ({"mask": encode_picture(EXAMPLE.image)}, {}, "a mask is given, but mask_mode is 'predicted'"),
        ({}, {"mask_mode": "given"}, "no mask is given, but mask_mode is 'given'"),
        ({}, {"mask_mode": "magic"}, "mask_mode = 'magic': allowed are predicted, given, none"),
        ({}, {"strength": 0.0}, "strength = 0.0"),
        ({}, {"strength": 1.5}, "strength = 1.5"),
        ({}, {"strength": 0.1}, "no step is left"),
        ({}, {"num_images": 0}, "number of images = 0: allowed is 1 to 16"),
        (
            {"image": NARROW},
            {"mask_mode": "none"},
            "row 0: the image is 300 × 2: its longer side may be 8 times the shorter",
        ),
    ],
)
def test_invalid_request_is_answered_in_one_line(predict, served, changes, params, message, monkeypatch):
    monkeypatch.setenv(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name, "true")  # as MLflow sets it, and for no longer
    row = {"image": encode_picture(EXAMPLE.image), "prompt": "a dog"} | changes
    with pytest.raises(MlflowException, match=message) as caught:
        predict(pd.DataFrame([row]), params=params)
    assert "\n" not in caught.value.message
    assert caught.value.get_http_status_code() == 400
    with TestClient(scoring_server.init(served)) as client:  # what `mlflow models serve` runs
        answer = client.post("/invocations", json={"dataframe_records": [row], "params": params})
    assert answer.status_code == 400
    assert answer.json()["message"] == caught.value.message
