"""The registered model as MLflow loads and serves it."""

import base64
import io
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from PIL import Image

from stages.core.errors import InputError
from stages.editing.editor import Editor
from stages.editing.pictures import decode_picture, encode_picture
from stages.tracking import registry, store
from stages.tracking.deadline import IS_SERVED
from stages.tracking.in_flight import InFlight
from stages.tracking.pyfunc_model import EditorModel, _count_pixels
from tests.support.registered import EXAMPLE, SAMPLING
from tests.support.samples import encoded

OPTIONAL = ("negative_prompt", "mask", "term", "source_term")
LONG = "a dog on the beach " * 40
NARROW = encode_picture(Image.new("RGB", (300, 2)))


def encoded_mask(mask: Image.Image) -> str:
    return base64.b64encode(encoded(mask)).decode()


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
    assert required == {"image": True, "prompt": True} | dict.fromkeys(OPTIONAL, False)
    defaults = {spec.name: spec.default for spec in served.metadata.signature.params}
    assert defaults["num_inference_steps"] == SAMPLING.steps
    assert defaults["mask_mode"] == "predicted"


def test_predict(predict):
    image, mask = encode_picture(EXAMPLE.image), encoded_mask(Image.new("L", (32, 32), 1))
    table = pd.DataFrame([{"image": image, "prompt": "a dog", "term": "dog"}, {"image": image, "prompt": "a cat"}])
    edits = predict(table, params={"num_images": 2, "seed": 3})
    assert edits[["row", "number"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert decode_picture(edits["image"][0]).size == (32, 32)
    assert edits["image"][0] != edits["image"][1]
    pd.testing.assert_frame_equal(edits, predict(table, params={"num_images": 2, "seed": 3}))
    given = pd.DataFrame([{"image": image, "prompt": "a dog", "mask": mask}])
    assert len(predict(given, params={"mask_mode": "given"})) == 1


@pytest.mark.parametrize(
    ("changes", "params", "message"),
    [
        ({"image": "not base64!"}, {}, "row 0: image: not base64"),
        ({"image": "aGVsbG8="}, {}, r"row 0: image: not an image \(PNG, JPEG, WEBP"),
        ({"image": ""}, {}, "row 0: image must not be empty"),
        ({"prompt": ""}, {}, "row 0: prompt: must not be blank"),
        ({"prompt": " \n\x1b "}, {}, "row 0: prompt: must not be blank"),
        ({"mask": encode_picture(EXAMPLE.image)}, {}, "a mask is given, but mask_mode is 'predicted'"),
        ({}, {"mask_mode": "given"}, "no mask is given, but mask_mode is 'given'"),
        ({}, {"mask_mode": "magic"}, "mask_mode = 'magic': allowed are predicted, given, none"),
        ({}, {"strength": 0.0}, "strength = 0.0: must be a number, above 0 and at most 1"),
        ({}, {"strength": 1.5}, "strength = 1.5: must be a number, above 0 and at most 1"),
        ({}, {"guidance_scale": 1e308}, r"guidance_scale = 1e\+308: must be a number, at least 1 and at most 100"),
        ({}, {"num_images": 16, "num_inference_steps": 999}, "1 rows × 16 images × 999 steps = 15,984: allowed in one request"),
        ({"prompt": LONG}, {}, "row 0: prompt: longer than the model reads; it would not see the end, 'a dog on the beach"),
        ({"negative_prompt": "a cat"}, {"guidance_scale": 1.0}, "row 0: a negative prompt needs guidance"),
        (
            {"mask": encoded_mask(Image.new("L", (32, 32)))},
            {"mask_mode": "given"},
            "row 0: the mask is black everywhere",
        ),
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
    monkeypatch.setenv(IS_SERVED, "true")  # as MLflow sets it, and for no longer
    row = {"image": encode_picture(EXAMPLE.image), "prompt": "a dog"} | changes
    with pytest.raises(MlflowException, match=message) as caught:
        predict(pd.DataFrame([row]), params=params)
    assert "\n" not in caught.value.message
    assert caught.value.get_http_status_code() == 400
    with TestClient(scoring_server.init(served)) as client:  # what `mlflow models serve` runs
        answer = client.post("/invocations", json={"dataframe_records": [row], "params": params})
    assert answer.status_code == 400
    assert answer.json()["message"] == caught.value.message


def ask(served, content: dict) -> tuple[int, dict]:
    """Send a request to what ``mlflow models serve`` runs."""
    with TestClient(scoring_server.init(served)) as client:
        answer = client.post("/invocations", json=content)
    return answer.status_code, answer.json()


def row(**changes: object) -> dict:
    return {"image": encode_picture(EXAMPLE.image), "prompt": "a dog", "term": "dog"} | changes


NULLS = ("num_images", "seed", "mask_mode", "strength", "guidance_scale", "num_inference_steps")


def test_null_is_the_default(served, monkeypatch):
    monkeypatch.setenv(IS_SERVED, "true")
    status, wanted = ask(served, {"dataframe_records": [row()]})
    assert status == 200
    for name in NULLS:
        assert ask(served, {"dataframe_records": [row()], "params": {name: None}}) == (200, wanted)
    assert ask(served, {"dataframe_records": [row(**dict.fromkeys(OPTIONAL[:2]))]}) == (200, wanted)


def test_pictures_of_a_request_are_bounded(monkeypatch):
    monkeypatch.setattr("stages.tracking.pyfunc_model.MAX_REQUEST_PIXELS", 3 * 32 * 32)
    monkeypatch.setattr("stages.editing.pictures.decoded", lambda *_: pytest.fail("a picture was decoded"))
    with pytest.raises(InputError, match=r"^row 3: the results up to here have more than 3,072 pixels: send fewer$"):
        _count_pixels(pd.DataFrame([row()] * 4), 1)
    assert _count_pixels(pd.DataFrame([row()] * 3), 1) == 3 * 32 * 32
    assert _count_pixels(pd.DataFrame([row(image="no picture"), row(mask=row()["image"])]), 2) == 3 * 32 * 32


def test_requests_in_hand_are_bounded(served, monkeypatch):
    """Another request comes while the first is edited, and has as many steps."""
    monkeypatch.setenv(IS_SERVED, "true")
    monkeypatch.setattr(served.unwrap_python_model(), "_in_flight", InFlight({"steps": 7, "pixels": 10**6}))
    content = {"dataframe_records": [row()], "params": {"num_images": 2, "num_inference_steps": 2, "mask_mode": "none"}}
    edit_many, answers = Editor.edit_many, []

    def ask_meanwhile(self: Editor, *others: object) -> list:
        answers.append(ask(served, content))
        return edit_many(self, *others)

    monkeypatch.setattr(Editor, "edit_many", ask_meanwhile)
    status, _ = ask(served, content)
    ((refused, answer),) = answers
    assert (status, refused, answer["error_code"]) == (200, 429, "RESOURCE_EXHAUSTED")
    assert answer["message"] == "busy: 4 steps more than the 4 in hand would exceed 7: try again later"
    monkeypatch.setattr(Editor, "edit_many", edit_many)
    assert ask(served, content)[0] == 200


def test_results_say_how_they_were_made(predict):
    table = pd.DataFrame([row()])
    text = predict(table, params={"mask_mode": "none", "seed": 3})["image"][0]
    assert b"compositeWithTrainedAlgorithmicMedia" in Image.open(io.BytesIO(base64.b64decode(text))).info["xmp"]


def test_an_unexpected_error_is_one_line_without_paths(served, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "/a/path")

    monkeypatch.setenv(IS_SERVED, "true")
    monkeypatch.setattr(Editor, "edit_many", fail)
    status, answer = ask(served, {"dataframe_records": [row()]})
    assert (status, answer["error_code"]) == (500, "INTERNAL_ERROR")
    assert answer["message"] == "the edit failed: OSError; see the log"
    assert "stack_trace" not in answer


def test_an_edit_ends_with_the_servers_patience(served, monkeypatch):
    monkeypatch.setenv(IS_SERVED, "true")
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    with pytest.raises(MlflowException, match="not done within 0 seconds: see MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"):
        served.predict(pd.DataFrame([row()]))


@pytest.fixture
def second(champion, tmp_path) -> Path:
    """The folder of another version: the champion's, with a change in its code."""
    folder = tmp_path / "second"
    shutil.copytree(registry.fetch_model(store.connect(), registry.CHAMPION_URI), folder)
    module = folder / "code/stages/editing/editor.py"
    module.write_text(module.read_text() + "\nWHOSE = 'second'\n")
    return folder


def test_a_version_does_not_run_on_others_code(second, served):
    with pytest.raises(MlflowException, match="not this model's own code: load the model in another process") as caught:
        mlflow.pyfunc.load_model(str(second))
    assert "\n" not in str(caught.value)
    assert len(served.predict(pd.DataFrame([row()]))) == 1


@pytest.mark.exhaustive
def test_a_version_alone_runs_on_its_own_code(second, tmp_path):
    code = f"import mlflow; mlflow.pyfunc.load_model({str(second)!r}); import stages.editing.editor as e; print(e.WHOSE)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "second\n"
