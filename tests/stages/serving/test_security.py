"""Who may ask: names, origins, keys; and the headers of every answer."""

import base64

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from stages.core.errors import InputError
from stages.serving.security import HEADERS, KEY_VARIABLE, Access, Gate, is_loopback

KEY = "a key that nobody guesses"
OPEN = {"host": "127.0.0.1:5001"}


def client_of(access: Access) -> TestClient:
    app = FastAPI()
    app.add_api_route("/health", lambda: "alive")
    app.add_api_route("/x", lambda: "x", methods=["GET", "POST"])
    app.add_middleware(Gate, access=access)
    return TestClient(app)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:5001", 200),
        ("localhost:5001", 200),
        ("LocalHost", 200),
        ("[::1]:5001", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:5001", 421),
        ("evil.example@127.0.0.1", 421),
        ("127.0.0.1:5001/evil", 421),
        ("127.0.0.1:port", 421),
        ("[::1", 421),
        ("10.0.0.1", 421),
        ("", 421),
    ],
)
def test_the_service_answers_under_its_own_names_only(host, status):
    assert client_of(Access("127.0.0.1")).get("/x", headers={"host": host}).status_code == status


def test_a_bound_name_is_a_name_of_the_service():
    client = client_of(Access("editor.example", KEY))
    key = {"authorization": f"Bearer {KEY}"}
    assert client.get("/x", headers={"host": "Editor.example:5001"} | key).status_code == 200
    assert client.get("/x", headers={"host": "evil.example"} | key).status_code == 421


def test_at_all_addresses_the_key_protects_whatever_the_name():
    client = client_of(Access("0.0.0.0", KEY))
    assert client.get("/x", headers={"host": "10.0.0.1"}).status_code == 401
    assert client.get("/x", headers={"host": "10.0.0.1", "authorization": f"Bearer {KEY}"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:5001"}, 200),
        ({"origin": "https://127.0.0.1:5001"}, 200),  # behind a proxy that ends TLS
        ({"origin": "http://127.0.0.1:5002"}, 403),
        ({"origin": "http://localhost:5001"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_may_not_send(headers, status):
    assert client_of(Access("127.0.0.1")).post("/x", headers=OPEN | headers).status_code == status


def test_a_link_on_another_site_may_be_followed():
    answer = client_of(Access("127.0.0.1")).get("/x", headers=OPEN | {"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer {KEY}", 200),
        (basic(KEY), 200),
        ("", 401),
        (KEY, 401),
        ("Bearer", 401),
        (f"Bearer {KEY}x", 401),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Digest {KEY}", 401),
        (basic("wrong"), 401),
        ("Basic ####", 401),
        ("Basic /w==", 401),
    ],
)
def test_the_key_is_asked_for(authorization, status):
    client = client_of(Access("127.0.0.1", KEY))
    answer = client.get("/x", headers=OPEN | {"authorization": authorization})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_key_of_other_letters_is_compared():
    client = client_of(Access("127.0.0.1", "ein Schlüssel, lang genug"))
    assert client.get("/x", headers=OPEN | {"authorization": b"Bearer \xff\xfe"}).status_code == 401


def test_health_needs_no_key():
    assert client_of(Access("127.0.0.1", KEY)).get("/health", headers=OPEN).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "editor.example"])
def test_elsewhere_than_on_this_machine_a_key_is_needed(host):
    with pytest.raises(InputError, match=f"other machines could connect, so {KEY_VARIABLE} must hold a key"):
        Access(host)
    assert Access(host, KEY).key == KEY


def test_a_short_key_is_refused():
    with pytest.raises(InputError, match=f"{KEY_VARIABLE}: has 3 characters, must have at least 16"):
        Access("127.0.0.1", "abc")


@pytest.mark.parametrize(("host", "is_so"), [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("127.1.evil", False)])
def test_loopback_is_known(host, is_so):
    assert is_loopback(host) == is_so


@pytest.mark.parametrize("headers", [OPEN, {"host": "evil.example"}, OPEN | {"origin": "null"}])
def test_every_answer_has_the_headers(headers):
    answer = client_of(Access("127.0.0.1")).get("/x", headers=headers)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_websockets_are_refused():
    with pytest.raises(WebSocketDisconnect), client_of(Access("127.0.0.1")).websocket_connect("/x", headers=OPEN):
        pass
