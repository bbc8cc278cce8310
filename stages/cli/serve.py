"""``iedit serve``: serve a registered version over REST."""

import argparse
import os
import sys

from stages.core.errors import InputError
from stages.tracking.location import check_store

SERVER = "stages.tracking.server"


def serve(options: argparse.Namespace) -> None:
    """Become the server of a version, on the code that was registered with it.

    Raises:
        InputError: there is no such version, or its code has no server.
    """
    check_store()  # before the slow imports

    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.registry import fetch_model
    from stages.tracking.store import connect

    with store_errors_in_one_line():
        folder = fetch_model(connect(create=False), options.model)
    code = folder / "code"
    if not code.joinpath(*SERVER.split(".")).with_suffix(".py").is_file():
        raise InputError(f"{options.model}: its code is older than this command; `mlflow models serve` serves it")
    sys.stdout.flush()
    command = [sys.executable, "-P", "-m", SERVER, str(folder), options.host, str(options.port)]
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": str(code)})  # noqa: S606 - no shell is wanted
