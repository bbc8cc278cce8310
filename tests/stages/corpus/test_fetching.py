"""What img2dataset may open: http and https only, no private address, and answers of bounded bytes and seconds."""

import socket
import urllib.error
from pathlib import Path

import pytest

from stages.corpus import fetching
from stages.corpus.fetching import opener, public_addresses
from tests.support.web import body, dripping, dripping_headers, failing_first, late, redirect, serving


def test_answers_are_read_within_their_bounds():
    answers = {
        "/good": body(b"x" * 70_000),
        "/exact": body(b"x" * 100_000),
        "/long": body(b"x" * 100_001),
        "/cut": body(b"x" * 10, length=20),
        "/empty": body(b""),
        "/again": failing_first(1, body(b"x")),
    }
    bounded = opener(100_000, 60)
    with serving(answers) as web:
        answers["/there"] = redirect(f"{web.address}/good")
        assert bounded.open(f"{web.address}/good").read() == b"x" * 70_000
        assert bounded.open(f"{web.address}/there").read() == b"x" * 70_000
        assert len(bounded.open(f"{web.address}/exact").read()) == 100_000
        reasons = {"long": "more than 100000 bytes", "cut": "ended too early", "empty": "empty"}
        for name, reason in reasons.items():
            with pytest.raises(OSError, match=reason):
                bounded.open(f"{web.address}/{name}").read()
        for name in ("again", "none"):
            with pytest.raises(urllib.error.HTTPError):
                bounded.open(f"{web.address}/{name}")


@pytest.mark.parametrize("answer", [dripping(b"x" * 50, 0.05), dripping_headers(0.05)])
def test_slow_answers_are_given_up_also_after_a_redirect(answer):
    """Each takes 2.5 seconds, and no byte of it keeps the socket waiting for long."""
    with serving({"/drip": answer, "/there": redirect("/drip")}) as web:
        for name in ("drip", "there"):
            with pytest.raises(OSError, match=r"took more than 0\.4 seconds"):
                opener(1000, 0.4).open(f"{web.address}/{name}", timeout=60).read()


def test_redirects_have_one_deadline():
    answers = {f"/{left}": late(0.3, redirect(f"/{left - 1}") if left else body(b"x")) for left in range(5)}
    with serving(answers) as web:
        with pytest.raises(OSError, match=r"took more than 1 seconds"):
            opener(1000, 1).open(f"{web.address}/4", timeout=60).read()
        assert web.asked["/0"] == 0


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:image/png;base64,AAAA", "gopher://127.0.0.1/"]
)
def test_only_http_is_opened_also_after_a_redirect(url):
    bounded = opener(1000, 1)
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        bounded.open(url)
    with serving({"/there": redirect(url)}) as web, pytest.raises(urllib.error.URLError, match=r"not allowed|unknown url type"):
        bounded.open(f"{web.address}/there")


PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "localhost", "2130706433", "0x7f.1"),
)


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused_however_written(host, monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(OSError, match="leads to a private address"):
        public_addresses(host, 80)


def test_public_addresses_and_a_proxy_are_let_through(monkeypatch):
    assert public_addresses("8.8.8.8", 80) == socket.getaddrinfo("8.8.8.8", 80)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    assert public_addresses("127.0.0.1", 3128) == socket.getaddrinfo("127.0.0.1", 3128)
    with pytest.raises(OSError, match="leads to a private address"):
        public_addresses("127.0.0.2", 80)


def test_a_name_with_one_private_address_is_refused(monkeypatch):
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(fetching, "_find_addresses", lambda *_: addresses)
    with pytest.raises(OSError, match="leads to a private address"):
        public_addresses("rebound.example", 80)


def test_few_of_many_addresses_are_tried(monkeypatch):
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"8.8.8.{number}", 80)) for number in range(200)]
    monkeypatch.setattr(fetching, "_find_addresses", lambda *_: addresses)
    assert public_addresses("many.example", 80) == addresses[:16]


def test_bounds_hold_for_urllib_and_for_sockets(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    monkeypatch.setattr(urllib.request, "_opener", None)
    fetching.set_bounds(most_bytes=1000, most_seconds=1, private_addresses=False)
    with serving({"/a": body(b"x")}) as web, pytest.raises(urllib.error.URLError, match="leads to a private address"):
        urllib.request.urlopen(f"{web.address}/a", timeout=1)
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        urllib.request.urlopen(Path("/etc/hostname").as_uri())
