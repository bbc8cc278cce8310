"""The process that makes the edits of a version."""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

from tests.support import ROOT
from tests.support.harness import PATIENCE

# What stands in for python: the process that is asked for, but with work that never ends.
BUSY = """#!{python}
import os, runpy, sys, time
print(os.getpid(), flush=True)
from stages.core import params_file
params_file.read_params = lambda: time.sleep(3600)
*_, module, version = sys.argv
sys.argv = [module, version]
runpy.run_module(module, run_name="__main__")
"""
STARTER = """
import sys
from types import SimpleNamespace
from stages.review.contenders import Contender
sys.executable = sys.argv[1]
Contender(name="", identity="", version=SimpleNamespace(version="1", digest="a" * 64)).edits([])
"""


def test_it_ends_with_the_command_that_started_it(tmp_path):
    busy = tmp_path / "busy"
    busy.write_text(BUSY.format(python=sys.executable))
    busy.chmod(0o700)
    environment, command = os.environ | {"PYTHONPATH": str(ROOT)}, [sys.executable, "-c", STARTER, str(busy)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        worker = os.pidfd_open(int(starter.stdout.readline()))
        starter.terminate()
        try:
            assert select.select([worker], [], [], PATIENCE)[0]
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            os.close(worker)
