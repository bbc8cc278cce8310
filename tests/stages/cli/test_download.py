"""``iedit download`` from the command line."""

import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.cli.main import main
from stages.core.paths import IMG2DATASET
from tests.support import ROOT
from tests.support.composed import copy_conf
from tests.support.samples import encoded, noise
from tests.support.web import body, serving


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The current folder, with conf/, params.yaml and the Makefile."""
    copy_conf(tmp_path)
    shutil.copy(ROOT / "Makefile", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_list_it_says_what_to_set(project, capsys):
    assert main(["download"]) == 2
    assert capsys.readouterr().err.startswith("error: download.metadata = null: must name the Parquet files with the URLs")


@pytest.mark.exhaustive
def test_it_fetches_and_reports(project, capsys):
    subprocess.run(["make", str(IMG2DATASET / "installed")], cwd=ROOT, check=True)
    IMG2DATASET.parent.mkdir()
    IMG2DATASET.symlink_to(ROOT / IMG2DATASET)
    with serving({f"/{n}.png": body(encoded(noise(n))) for n in range(3)}) as web:
        urls = [f"{web.address}/{n}.png" for n in range(4)]
        pq.write_table(pa.table({"url": urls, "text": ["a cat"] * 4}), "list.parquet")
        assert main(["configure", 'download.metadata="list.parquet"', "download.private_addresses=true"]) == 0
        assert main(["download"]) == 0
        assert main(["configure", "download.size=64", "download.min_success=0.8"]) == 0
        assert main(["download"]) == 2
    out, err = capsys.readouterr()
    assert "error: download.min_success = 0.8: of 4 URLs" in err
    assert "dropped: HTTP Error 404         1" in out
    assert "success rate" in out
    assert """iedit configure source=webdataset 'ingest.source.path="downloads/*/*.tar"'""" in out
    assert len(list(Path("downloads").glob("*/*.tar"))) == 1
