"""OpenAI's interface, by OpenAI's own client where that can send it."""

import asyncio
import base64
import io
import json

import httpx
import openai
import pytest
from PIL import Image, ImageOps

from tests.support.harness import PATIENCE
from tests.support.serving import picture, png, settled, wait_until

FORM = "multipart/form-data; boundary=b"


def mask(width: int = 40, height: int = 30) -> bytes:
    image = Image.new("RGBA", (width, height), "black")
    image.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    return png(image)


@pytest.fixture(scope="module")
def client(address) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)


def sent(result: openai.types.ImagesResponse) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(image.b64_json))) for image in result.data]


def test_a_picture_is_edited(client):
    result = client.images.edit(image=png(picture()), prompt="a dog")
    assert [image.tobytes() for image in sent(result)] == [ImageOps.invert(picture()).tobytes()]
    assert result.created > 1_700_000_000
    assert result.output_format == "png"


def test_a_list_of_one_picture_several_results_and_a_mask(client):
    result = client.images.edit(
        image=[("photo.png", png(picture()))],
        mask=("mask.png", mask()),
        prompt="a dog",
        n=3,
        size="auto",
        model="two",
        response_format="b64_json",
        quality="high",
        background="opaque",
        user="somebody",
        extra_body={"term": "dog", "source_term": "cat", "seed": 5, "strength": 0.5, "guidance_scale": 3, "steps": 9},
    )
    assert len(sent(result)) == 3


def test_the_size_of_the_picture_is_a_size(client):
    assert sent(client.images.edit(image=png(picture()), prompt="a dog", size="40x30"))[0].size == (40, 30)


def test_models_are_listed(client):
    assert [(model.id, model.owned_by) for model in client.models.list()] == [("one", "one"), ("two", "two")]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"n": 17}, openai.BadRequestError, "n = '17': must be a whole number, at least 1 and at most 16"),
        ({"n": 0}, openai.BadRequestError, "n = '0'"),
        ({"size": "1024x1024"}, openai.BadRequestError, "size = '1024x1024': results have the picture's own size, 40x30"),
        ({"response_format": "url"}, openai.BadRequestError, "response_format = 'url': must be 'b64_json'"),
        ({"output_format": "webp"}, openai.BadRequestError, "output_format = 'webp': must be 'png'"),
        ({"background": "transparent"}, openai.BadRequestError, "background = 'transparent': must be 'auto' or 'opaque'"),
        ({"stream": True}, openai.BadRequestError, "stream = 'true': must be 'false'"),
        ({"model": "gpt-image-1"}, openai.NotFoundError, "model = 'gpt-image-1': no such model"),
        ({"model": "../one"}, openai.NotFoundError, "model = '../one': no such model"),
        ({"prompt": " \n "}, openai.BadRequestError, "prompt: must not be blank"),
        ({"prompt": "x" * 200_000}, openai.BadRequestError, "Part exceeded maximum size of 128KB."),
        ({"prompt": "refuse"}, openai.BadRequestError, "a word is wrong"),
        ({"prompt": "fail"}, openai.InternalServerError, "the edit failed; see the log"),
        ({"prompt": "late"}, openai.InternalServerError, "too late"),
        ({"extra_body": {"strength": "nan"}}, openai.BadRequestError, "strength = 'nan': must be a finite number"),
        ({"extra_body": {"steps": 1000}}, openai.BadRequestError, "steps = '1000'"),
        ({"extra_body": {"context": 9}}, openai.BadRequestError, "context = '9': must be a number"),
        ({"extra_body": {"seed": -1}}, openai.BadRequestError, "seed = '-1'"),
        ({"extra_body": {"mask_mode": "given"}}, openai.BadRequestError, "mask_mode = 'given'"),
        ({"extra_body": {"secret\x1b[31m": 1}}, openai.BadRequestError, "secret: no such field"),
        ({"image": b"no picture"}, openai.BadRequestError, "image: not an image"),
        ({"image": [png(picture())] * 2}, openai.BadRequestError, "image: one picture is edited at a time, 2 are given"),
        ({"mask": mask(20, 20)}, openai.BadRequestError, "mask: is 20x20, the image 40x30: they must have one size"),
        ({"mask": png(picture())}, openai.BadRequestError, "mask: no pixel is transparent"),
        ({"mask": mask(), "extra_body": {"mask_mode": "none"}}, openai.BadRequestError, "mask_mode = 'none': a mask is given"),
    ],
)
def test_mistakes_are_errors_of_openais_client(client, arguments, kind, message):
    with pytest.raises(kind) as caught:
        client.images.edit(**({"image": png(picture()), "prompt": "a dog"} | arguments))
    assert caught.value.body["message"].startswith(message)
    assert caught.value.body["type"] in ("invalid_request_error", "server_error")
    assert "/" not in caught.value.body["message"].replace("'../one'", "")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "prompt: is missing"),
        ({"json": {"prompt": "a dog"}}, "prompt: is missing"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, "prompt: is missing"),
        ({"data": {"prompt": "a dog"}}, "image: one picture is edited at a time, 0 are given"),
        ({"data": {"prompt": "a dog", "image": "/etc/passwd"}}, "image: no such field"),
        ({"data": {"prompt": ["a", "b"]}}, "prompt: is there more than once"),
        ({"data": {str(number): "" for number in range(70)}}, "Too many fields. Maximum number of fields is 64."),
        ({"files": [(f"f{number}", b"x") for number in range(5000)]}, "Too many files. Maximum number of files is 4."),
        ({"files": {"other": b"x", "image": png(picture())}, "data": {"prompt": "a"}}, "other: no such field for a file"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "Missing boundary in multipart."),
        ({"content": b"--b", "headers": {"content-type": "multipart/form-data; boundary=b"}}, ""),
        ({"content": b"--b--", "headers": {"content-type": f"{FORM}; charset=undefined"}}, "Content-Type: the charset"),
        ({"content": b"--b--", "headers": {"content-type": f"{FORM}; charset=punycode"}}, "Content-Type: the charset"),
        ({"content": b"--b--", "headers": {"content-type": f"{FORM}; charset=UTF-8"}}, "prompt: is missing"),
        (
            {
                "content": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
                "headers": {"content-type": "multipart/form-data; boundary=b"},
            },
            'The Content-Disposition header field "name" must be provided.',
        ),
    ],
)
def test_what_no_client_sends_is_refused_in_a_line(address, request_, message):
    answer = httpx.post(f"{address}/v1/images/edits", timeout=PATIENCE, **request_)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"].startswith(message)
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_an_edit_whose_client_leaves_is_given_up(address, shared_shelf):
    async def begin_and_leave() -> None:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            edit = asyncio.create_task(client.images.edit(image=png(picture()), prompt="endless"))
            await settled(lambda: shared_shelf.notes("one") == ["began"])
            edit.cancel()
            await asyncio.wait([edit])

    shared_shelf.forget()
    asyncio.run(begin_and_leave())
    wait_until(lambda: shared_shelf.notes("one") == ["began", "given up"])


def test_answers_are_small_lines_of_json(address):
    answer = httpx.get(f"{address}/v1/nothing", timeout=PATIENCE)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert json.loads(answer.text)["error"]["code"] == "not_found"
    assert "server" not in answer.headers
