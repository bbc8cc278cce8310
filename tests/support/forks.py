"""``python -m MODULE`` in a fork of one process that has imported everything, because importing takes many seconds.

The server listens on a socket. A small program that takes the place of Python hands it arguments, folder, environment and
standard streams, and exits as the fork does.
"""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    code = server.recv(8)
sys.exit(int(code) if code else 137)
"""
"""The program in the place of Python; without an answer the fork was killed."""
CLOCK = "SIMULATED_CLOCK"  # a variable: seconds by which the clock of a fork is ahead


@contextmanager
def serving(folder: Path, *preloaded: str) -> Iterator[tuple[Path, int]]:
    """Start a server that has imported some modules; yield the program in the place of Python, and the server's id."""
    address = str(folder / "socket")
    program = folder / "bin" / "python"
    program.parent.mkdir()
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    server = subprocess.Popen([sys.executable, "-m", "tests.support.forks", address, *preloaded])
    try:
        while not Path(address).exists():
            assert server.poll() is None
            time.sleep(0.1)
        yield program, server.pid
    finally:
        server.kill()
        server.wait()


def serve(address: str) -> None:
    """Fork for every request, for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    gc.collect()
    gc.freeze()  # so that no fork's collector touches, and by that copies, the memory of this process
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{address}.new")
        listening.listen(64)
        Path(f"{address}.new").rename(address)
        while True:
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                os._exit(answer(client))
            client.close()


def answer(client: socket.socket) -> int:
    """Run the module that a client asks for, in this process, and send its exit code."""
    length, streams, _, _ = socket.recv_fds(client, 8, 3)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        request += client.recv(65536)
    (option, module, *arguments), folder, environment = json.loads(request)
    assert option == "-m", f"only modules are run, not {option}"
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    move_clock(float(environment.get(CLOCK, "0")))
    sys.argv = ["", *arguments]
    sys.executable = str(Path(environment["FORKS"]))
    code = run(module)
    client.sendall(str(code).encode())
    return code


def run(module: str) -> int:
    """Run a module as Python would, and return the exit code."""
    warnings.simplefilter("ignore")  # runpy warns of what is imported already
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as Python reports it
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def move_clock(seconds: float) -> None:
    """Let Python's clock run ahead; clocks that measure durations stay, as do the times of files."""
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        __import__(name)
    serve(sys.argv[1])
