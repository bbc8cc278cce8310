"""What a server leaves on disk beside its own folder, and whom it trusts."""

import os
import subprocess
import sys
import tempfile

import pytest
from fastapi import FastAPI

from stages.core.errors import InputError
from stages.serving.server import configure
from tests.support import ROOT

STARTED = """
import os, tempfile
from pathlib import Path
from stages.serving import server
from stages.serving.security import Access
server.Server.run = lambda _: print([name[:12] for name in os.listdir(tempfile.gettempdir())])
server.serve("nano/models/diffusion", Access("127.0.0.1"), 0, server.Limits())
print(os.listdir(tempfile.gettempdir()))
"""


def test_no_folder_of_other_programs_is_used():
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": folder}
        environment.pop("GRADIO_TEMP_DIR", None)
        command = [sys.executable, "-c", STARTED]
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["['iedit-serve-']", "[]"]


@pytest.mark.parametrize("proxies", ["*", "10.0.0.1,*"])
def test_not_every_client_may_name_itself(monkeypatch, proxies):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    with pytest.raises(InputError, match="FORWARDED_ALLOW_IPS"):
        configure(FastAPI(), "127.0.0.1", 0)
