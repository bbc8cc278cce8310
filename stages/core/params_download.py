"""The parameters of ``iedit download``; of the stages only describe looks where the tars are."""

from typing import Annotated

from pydantic import Field

from stages.core.section import Count, Name, Section, Share


class Download(Section):
    """Pictures from lists of URLs; see :mod:`stages.corpus.downloads`."""

    metadata: Name | None  # the Parquet files with the URLs: a file, a folder or a glob; null: there are none
    folder: Name  # where the tars go
    url: Name  # columns of the lists, in any case
    text: Name | None  # null: there are none
    size: Annotated[int, Field(ge=16, le=4096)] | None  # pixels of the shorter side of larger pictures; null: as served
    processes: Count
    threads: Count  # downloads at once in each process
    timeout: Annotated[float, Field(gt=0, le=3600)]  # seconds that a server may be silent
    retries: Annotated[int, Field(ge=0)]  # of a picture that did not come
    user_agent: Name | None  # a word that names the downloader to servers, and to their opt-out headers
    private_addresses: bool  # whether URLs may lead to this machine and its network
    min_success: Share  # share of a list's URLs below which it counts as not downloaded
