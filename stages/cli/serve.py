"""``iedit serve``: the editor as a web page and over REST."""

import argparse
import logging
import os
import sys


def serve(options: argparse.Namespace) -> None:
    """Serve a model until a signal comes.

    Raises:
        InputError: there is no such model, a limit or the port is out of range, or other machines could connect without a key.
    """
    from stages.serving.admission import Limits
    from stages.serving.security import KEY_VARIABLE, Access
    from stages.serving.server import serve as run

    access = Access(options.host, os.environ.get(KEY_VARIABLE) or None)
    limits = Limits(per_minute=options.requests_per_minute, seconds=options.deadline)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it reports every request to a model
    run(options.model, access, options.port, limits)
