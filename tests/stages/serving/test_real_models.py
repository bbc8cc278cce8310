"""The service with tiny real models from a registry: each version in its own process, on its own code."""

import base64
import io
import threading

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from stages.serving.catalogue import RegistryCatalogue
from stages.serving.models import Models
from tests.support.harness import PATIENCE
from tests.support.serving import picture, png, served


@pytest.fixture(scope="module")
def address(registered_project, tmp_path_factory):
    """Where the champion of a project is served."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(registered_project)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with served(Models(RegistryCatalogue("models:/iedit@champion"), tmp_path_factory.mktemp("s"))) as address:
            yield address


@pytest.fixture(scope="module")
def client(address) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)


def image_of(result: openai.types.ImagesResponse) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(result.data[0].b64_json)))


def test_outside_the_mask_the_pixels_are_the_users_own(client):
    mask = Image.new("RGBA", (200, 120), "black")
    mask.paste((0, 0, 0, 0), (20, 20, 80, 80))
    photo = picture(200, 120)
    edited = image_of(client.images.edit(image=png(photo), mask=png(mask), prompt="a red dog", extra_body={"seed": 3}))
    changed = (np.asarray(edited) != np.asarray(photo)).any(axis=2)
    assert edited.size == (200, 120)
    assert changed[20:80, 20:80].mean() > 0.5
    changed[:100, :100] = False  # the mask, and the seam around it
    assert not changed.any()


def test_the_seed_decides_the_result_and_the_file_says_so(client):
    arguments = {"image": png(), "prompt": "a red dog"}
    results = [
        client.images.edit(**arguments, extra_body={"seed": seed, "mask_mode": "none"}).data[0].b64_json for seed in (1, 1, 2)
    ]
    assert results[0] == results[1] != results[2]
    assert b"compositeWithTrainedAlgorithmicMedia" in base64.b64decode(results[0])
    assert b"models:/iedit/1" in base64.b64decode(results[0])


def test_mlflows_protocol_is_served_beside_it(address):
    row = {"image": base64.b64encode(png()).decode(), "prompt": "a red dog"}
    body = {"dataframe_records": [row], "params": {"mask_mode": "none", "num_images": 2}}
    answer = httpx.post(f"{address}/invocations", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    assert [(edit["row"], edit["number"]) for edit in answer.json()["predictions"]] == [(0, 0), (0, 1)]
    wrong = httpx.post(f"{address}/invocations", json=body | {"params": {"num_images": 99}}, timeout=PATIENCE)
    assert wrong.json()["message"] == "number of images = 99: allowed is 1 to 16"


def test_models_are_those_of_the_registry(client):
    assert [(model.id, model.owned_by, model.version) for model in client.models.list()] == [
        ("champion", "iedit", "1"),
        ("1", "1", None),
        ("base", "base", None),
    ]
    with pytest.raises(openai.NotFoundError):
        client.images.edit(image=png(), prompt="a red dog", model="challenger")
    assert image_of(client.images.edit(image=png(), prompt="a red dog", model="1", extra_body={"mask_mode": "none"}))


def test_requests_of_many_clients_share_a_batch(address, client):
    arguments = {"image": png(), "prompt": "a red dog", "extra_body": {"mask_mode": "none", "steps": 50, "strength": 1}}
    senders = [threading.Thread(target=client.images.edit, kwargs=arguments) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    lines = httpx.get(f"{address}/metrics", timeout=PATIENCE).text.splitlines()
    numbers = dict(line.rsplit(" ", 1) for line in lines if line.startswith("iedit_batch_pictures_"))
    assert float(numbers["iedit_batch_pictures_sum"]) > float(numbers["iedit_batch_pictures_count"])
