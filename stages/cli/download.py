"""``iedit download``: fetch the pictures of lists of URLs into tars."""

import argparse

from stages.core.errors import InputError
from stages.core.params_file import read_params
from stages.core.params_ingest import WebDatasetSource
from stages.corpus.downloads import download as fetch


def download(_: argparse.Namespace) -> None:
    """Fetch what is missing, print what came and what did not, and say how the stages come to read it.

    Raises:
        InputError: a list cannot be fetched; or the others were, and too few URLs of one gave a picture.
    """
    params = read_params()
    counts, poor = fetch(params)
    counts.report()
    tars = f"{params.download.folder}/*/*.tar"
    if params.ingest.source != WebDatasetSource(kind="webdataset", path=tars):
        command = f"""iedit configure source=webdataset 'ingest.source.path="{tars}"'"""
        print(f"\nThe stages read another source. For these tars: {command}")
    if poor:
        raise InputError("; ".join(poor))
