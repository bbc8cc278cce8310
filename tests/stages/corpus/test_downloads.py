"""From lists of URLs to tars: img2dataset against a server on this machine, whose answers are good, bad and hostile."""

import fcntl
import re
import shutil
import struct
import subprocess
import time
import zlib
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.support.tasks import TRANSIENT
from stages.core.counts import StageCounts
from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.paths import IMG2DATASET
from stages.corpus import downloads
from stages.corpus.downloads import download
from stages.ingest import ingest
from tests.support import ROOT
from tests.support.downloads import section_for
from tests.support.samples import encoded, noise
from tests.support.sources import kept, params_for, refused
from tests.support.web import Web, body, dripping, failing_first, late, redirect, serving, silent

pytestmark = pytest.mark.usefixtures("workplace")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SIDE = 20_000
BOMB = b"\x89PNG\r\n\x1a\n" + b"".join(
    (
        _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(bytes(SIDE * (1 + SIDE // 8)))),
        _chunk(b"IEND", b""),
    )
)
"""A black picture of 400 million pixels in 50 KB."""

TARS = {"kind": "webdataset", "path": "downloads/*/*.tar"}


@pytest.fixture
def img2dataset() -> None:
    """The environment of img2dataset, made as the command makes it."""
    subprocess.run(["make", str(IMG2DATASET / "installed")], cwd=ROOT, check=True)
    IMG2DATASET.parent.mkdir()
    IMG2DATASET.symlink_to(ROOT / IMG2DATASET)


def params(metadata: str = "lists", **changes: object) -> Params:
    ingested = params_for(TARS, shard_size=100, filters={"similarity": {"min": 0.3}})
    return ingested.model_copy(update={"download": section_for(metadata, **changes)})


def counts_of(**changes: object) -> StageCounts:
    """Download the lists, none of which is poor."""
    counts, poor = download(params(**changes))
    assert not poor
    return counts


def write_list(name: str, urls: list[str], similarity: float = 0.5) -> None:
    Path("lists").mkdir(exist_ok=True)
    texts = [f"text {url.rpartition('/')[2]}" for url in urls]
    columns = {"URL": urls, "caption": texts, "similarity": [similarity] * len(urls), "LICENSE": ["CC0"] * len(urls)}
    pq.write_table(pa.table(columns), f"lists/{name}.parquet")


def good(web: Web, start: int, count: int) -> list[str]:
    """Return URLs of pictures that the server delivers, each a different one."""
    for number in range(start, start + count):
        web.answers[f"/{number}.png"] = body(encoded(noise(number, 64)))
    return [f"{web.address}/{number}.png" for number in range(start, start + count)]


def hostile(web: Web) -> dict[str, str]:
    """Return URLs that give no picture → how the reason begins."""
    html = body(b"<html>not found</html>", kind="image/png")
    robots = {"all": "noai", "mixed": "nofollow, NoImageAI", "other": "elsewhere: noai", "me": "iedit-test: noindex"}
    for name, said in robots.items():
        web.answers[f"/robots-{name}.png"] = body(encoded(noise(900)), headers={"X-Robots-Tag": said})
    web.answers |= {
        "/lie.png": html,
        "/empty.png": body(b""),
        "/cut.png": body(encoded(noise(901))[:500], length=5000),
        "/silent.png": silent,
        "/drip.png": dripping(b"x" * 1000, 0.2),
        "/bomb.png": body(BOMB),
        "/loop.png": redirect("/loop.png"),
        "/inside.png": redirect("file:///etc/passwd"),
        "/down.png": failing_first(100, html),
    }
    return {
        f"{web.address}/gone.png": "HTTP Error 404",
        f"{web.address}/down.png": "HTTP Error 503",
        f"{web.address}/lie.png": "Image decoding error",
        f"{web.address}/bomb.png": "OpenCV",
        f"{web.address}/empty.png": "an empty answer",
        f"{web.address}/cut.png": "ended too early",
        f"{web.address}/silent.png": "timed out",
        f"{web.address}/drip.png": "took more than",
        f"{web.address}/loop.png": "HTTP Error 302",
        f"{web.address}/inside.png": "HTTP Error 302",
        f"{web.address}/robots-all.png": "Use of image disallowed by X-Robots-Tag directive",
        f"{web.address}/robots-mixed.png": "Use of image disallowed by X-Robots-Tag directive",
        f"{web.address}/robots-me.png": "Use of image disallowed by X-Robots-Tag directive",
        "http://127.0.0.1:9/nobody.png": "<urlopen error [Errno …] Connection refused>",
        "http://no.such.host.invalid/a.png": "<urlopen error",
    }


@pytest.mark.exhaustive
def test_urls_become_a_corpus_and_every_failure_is_named(img2dataset, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "MOST_SILENCES", 2)
    with serving({}) as web:
        urls, bad = good(web, 0, 280), hostile(web)
        web.answers["/moved.png"] = redirect(urls[0])
        web.answers["/late.png"] = late(0.5, body(encoded(noise(902, 64))))
        web.answers["/second.png"] = failing_first(1, body(encoded(noise(903, 64))))
        more = [f"{web.address}/{name}.png" for name in ("moved", "late", "second", "robots-other")]
        write_list("first", [*urls, *more, *bad])
        write_list("unlike", [f"{web.address}/never.png"] * 20, similarity=0.1)
        settings = params(user_agent="iedit-test", timeout=5.0)
        counts, poor = download(settings)
        counts.report()
    assert not poor
    assert counts.done == 284
    assert counts.figures == {"success rate": pytest.approx(284 / 299)}
    assert counts.dropped["ingest.filters.similarity: below 0.3"] == 20
    assert not web.asked["/never.png"]
    failed = {reason: n for reason, n in counts.dropped.items() if not reason.startswith("ingest.filters")}
    for beginning in set(bad.values()):
        wanted = sum(reason.startswith(beginning) for reason in bad.values())
        assert sum(n for reason, n in failed.items() if reason.startswith(beginning)) == wanted, (beginning, failed)
    assert sum(failed.values()) == len(bad)
    assert "success rate" in capsys.readouterr().out
    ingest(settings)
    assert len(kept()) == 283  # the one behind a redirect is there twice
    texts = {row.alt_text: row.origin for row in kept()}
    assert texts["text 7.png"]["url"].endswith("/7.png")
    assert texts["text 7.png"]["license"] == "CC0"
    assert refused() == {}


@pytest.mark.exhaustive
def test_only_what_is_missing_is_fetched(img2dataset, monkeypatch):
    monkeypatch.setattr(downloads, "SHARD_SIZE", 10)
    with serving({}) as web:
        write_list("a", good(web, 0, 30))
        assert counts_of().done == 30
        write_list("b", good(web, 100, 5))
        counts = counts_of()
        assert (counts.done, counts.reused, counts.shards_done, counts.shards_reused) == (5, 30, 1, 1)
        assert set(web.asked.values()) == {1}
        (whole,) = Path("downloads").glob("a-*")
        cut = Path("downloads/partial") / whole.name  # as a run leaves it that was killed in its second shard
        whole.rename(cut)
        for path in [cut / "statistics.json", *cut.glob("00001*")]:
            path.unlink()
        (cut / "00001.tar").write_bytes(b"half of a tar")
        web.asked.clear()
        assert counts_of().done == 30
        assert sorted(web.asked) == sorted(f"/{number}.png" for number in range(10, 20))
        ingest(params())
        assert len(kept()) == 35
        Path("lists/b.parquet").unlink()
        download(params())
        assert not list(Path("downloads").glob("b-*"))
        write_list("b", [f"{web.address}/{number}.png" for number in range(100, 105)])
        web.asked.clear()
        assert counts_of().reused == 35
        assert not web.asked  # it came back from downloads/old


@pytest.mark.exhaustive
def test_private_addresses_are_not_asked(img2dataset):
    with serving({}) as web:
        write_list("a", [*good(web, 0, 5), f"http://localhost:{web.port}/0.png"])
        message = (
            r"download\.min_success = 0\.2: of 6 URLs of .*a\.parquet 0 gave a picture, 6 failed for: leads to a private"
            r" address, which download\.private_addresses = false refuses"
        )
        _, (line,) = download(params(private_addresses=False))
        assert re.fullmatch(message, line)
        assert not web.asked
        assert not list(Path("downloads").glob("*/*.tar"))
        assert counts_of().done == 6


@pytest.mark.exhaustive
def test_a_poor_list_keeps_what_came_and_its_earlier_version(img2dataset, monkeypatch):
    monkeypatch.setattr(downloads, "SHARD_SIZE", 10)
    with serving({}) as web:
        urls = good(web, 0, 11)
        write_list("a", urls[:1])
        assert counts_of().done == 1
        write_list("a", [*urls, *(f"{web.address}/gone-{n}.png" for n in range(9))])  # 10 of the first 10, 1 of the others
        write_list("b", good(web, 100, 2))
        counts, (line,) = download(params(min_success=0.9))
        assert "of 20 URLs" in line
        assert "11 gave a picture, 9 failed for: HTTP Error 404" in line
        assert (counts.done, counts.dropped) == (2, {})
        assert [path.parent.name[:2] for path in sorted(Path("downloads").glob("*/*.tar"))] == ["a-", "b-"]
        web.asked.clear()
        download(params(min_success=0.9))
        assert sorted(web.asked) == sorted(["/10.png", *(f"/gone-{n}.png" for n in range(9))])  # the poor tar alone
        web.asked.clear()
        assert counts_of(min_success=0.5).done == 11
        assert not web.asked
        assert len(list(Path("downloads").glob("a-*"))) == 1


@pytest.mark.exhaustive
def test_what_a_kill_left_is_fetched_again(img2dataset):
    with serving({}) as web:
        write_list("a", good(web, 0, 3))
        counts_of()
        (whole,) = Path("downloads").glob("a-*")
        whole.rename(Path("downloads/partial") / whole.name)  # killed before that, with statistics.json written
        assert counts_of().done == 3
        assert set(web.asked.values()) == {1}
        whole.rename(Path("downloads/partial") / whole.name)
        (Path("downloads/partial") / whole.name / "00000_stats.json").write_text("")
        assert counts_of().done == 3
        assert set(web.asked.values()) == {2}


@pytest.mark.exhaustive
def test_img2dataset_holds_the_lock_where_the_command_was_killed(img2dataset):
    with serving({"/a.png": silent}) as web:
        write_list("a", [f"{web.address}/a.png"])
        child = get_context("spawn").Process(target=download, args=(params(timeout=60.0),))
        child.start()
        while not web.asked["/a.png"]:
            assert child.is_alive()
            time.sleep(0.1)
        child.kill()
        child.join()
        with pytest.raises(InputError, match="at work in this folder"):
            download(params())


@pytest.mark.exhaustive
def test_pictures_come_as_served_without_a_size(img2dataset):
    data = encoded(noise(0, 100), "webp", lossless=True)
    with serving({"/a.webp": body(data), "/lie.png": body(b"<html>")}) as web:
        write_list("a", [f"{web.address}/a.webp", f"{web.address}/lie.png"])
        counts_of(size=None)
    ingest(params())
    assert [row.alt_text for row in kept()] == ["text a.webp"]
    assert next(iter(refused().values())).startswith("not an image")


def test_one_download_at_a_time():
    write_list("a", ["http://127.0.0.1/a.png"])
    Path("downloads").mkdir()
    with Path("downloads/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"^downloads: another iedit download is at work in this folder") as error:
            download(params())
        assert TRANSIENT.search(str(error.value))


def test_an_environment_that_cannot_be_made_is_one_line():
    """There is no Makefile in the current folder."""
    write_list("a", ["http://127.0.0.1/a.png"])
    with pytest.raises(InputError, match=r"^\.venv/img2dataset: img2dataset cannot be installed: "):
        download(params())
    assert shutil.which("make")
