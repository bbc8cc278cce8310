"""Ctrl-C before a stage works; test_interruption.py has the rest."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.harness import ROOT, wait_for


def test_a_stage_that_still_imports_ends_in_one_line(tmp_path, handles_interrupts):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    command = [sys.executable, "-m", "stages", "evaluate"]  # the others import torch when there is work
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: "libtorch" in Path(f"/proc/{process.pid}/maps").read_text())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said.count("\n")) == (130, 1), said
    assert said.startswith("error: interrupted")
