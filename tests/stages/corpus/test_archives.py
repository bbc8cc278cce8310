"""Truncated and damaged tars: each stops the stage in one line that names the tar."""

import gzip
import tarfile
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.ingest import ingest
from tests.support.sources import corpus_files, noise_pair, params_for, tar_of

pytestmark = pytest.mark.usefixtures("workplace")


def _without_end(found: list[tuple[str, bytes]]) -> bytes:
    """Return a tar of whole members without the end-of-archive blocks."""
    return tar_of(found)[: sum(512 + -(-len(data) // 512) * 512 for _, data in found)]


def _huge_member(name: str, **pax: str) -> bytes:
    """Return a header that announces more bytes than any disk has, by itself or in an extended header."""
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = 0 if pax else 2**60, pax
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) + bytes(1024)


def _damaged_tars() -> dict[str, bytes]:
    whole = tar_of(noise_pair(0) + noise_pair(1))
    last_header = whole.rindex(b"0001.txt")
    broken = bytearray(whole)
    broken[last_header + 150] ^= 0xFF  # in a header's checksum
    start = _without_end(noise_pair(0))
    greedy = tarfile.TarInfo("long")
    greedy.type, greedy.size = tarfile.GNUTYPE_LONGNAME, 2**21  # bytes of a long name
    return {
        "in an image": whole[:1000],
        "between members": whole[:last_header],
        "in a header": whole[: last_header + 100],
        "before the end": whole[: last_header + 1024],
        "in the middle": bytes(broken),
        "empty": b"",
        "no tar": b"<html>" * 500,
        "endless": start + _huge_member("0.bin"),
        "endless by an extended header": start + _huge_member("0.bin", size=str(2**60)),
        "backwards": start + _huge_member("0.bin", size="-512"),
        "compressed": gzip.compress(whole),
        "greedy": start + greedy.tobuf(tarfile.GNU_FORMAT) + b"x" * 2**21 + tar_of(noise_pair(1)),
    }


@pytest.mark.parametrize("name", list(_damaged_tars()))
def test_damaged_tar_stops_the_stage_in_one_line(name):
    Path("tars").mkdir()
    Path("tars/00000.tar").write_bytes(tar_of(noise_pair(7)))
    Path("tars/00001.tar").write_bytes(_damaged_tars()[name])
    with pytest.raises(InputError, match=r"^00001\.tar: truncated or damaged tar") as error:
        ingest(params_for({"kind": "webdataset", "path": "tars/*.tar"}))
    assert "\n" not in str(error.value)
    assert set(corpus_files()) == {"00000.tar", "00000.parquet", "00000.done.json"}


def test_endlessly_nested_header_is_an_error():
    """Each member carries the long name of the next. tarfile reads them recursively."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    Path("a.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 5_000)
    with pytest.raises(InputError, match=r"^a\.tar: truncated or damaged tar \(maximum recursion depth exceeded"):
        ingest(params_for({"kind": "webdataset", "path": "a.tar"}))
