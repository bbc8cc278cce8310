"""WordNet 3.0 (Fellbaum 1998; Princeton University), the dictionary behind the edits of captions.

``python -m stages.language.wordnet`` puts it at data/nltk/corpora/wordnet: from NLTK's server or, if that cannot be
reached, from Debian's packages, which hold the same dictionary.
"""

import io
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.errors import InputError, first_line
from stages.core.files import NoRoomError, file_digest, value_digest, written_aside
from stages.core.paths import NLTK_DATA, WORDNET

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

DEBIAN_PACKAGES = ("wordnet-base", "wordnet-sense-index")

PARTS = ("noun", "verb", "adj", "adv")  # in the order of WordNet's numbers for them, from 1
FILES = (
    *(f"{kind}.{part}" for kind in ("data", "index") for part in PARTS),
    *(f"{part}.exc" for part in PARTS),
    "cntlist.rev",
    "index.sense",
    "lexnames",
)
"""The files that NLTK's reader opens."""

DAMAGE = (AssertionError, LookupError, OSError, RuntimeError, StopIteration, ValueError)
"""The errors that the reader raises for damaged or truncated files, besides its own."""

LEXNAMES = [
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
]
"""The topics by which WordNet's authors sorted senses, in the order of their numbers (manual page lexnames(5WN))."""


@cache
def wordnet() -> "WordNetCorpusReader":
    """Return the dictionary, read into memory; a process's first call takes seconds.

    Raises:
        InputError: it is missing, lacks a file, or is damaged.
    """
    import nltk  # takes seconds, which whoever only asks for the digest is spared

    _check_presence()
    nltk.data.path.insert(0, str(NLTK_DATA.resolve()))  # NLTK reads nothing outside its path
    from nltk.corpus import wordnet as reader
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        reader.ensure_loaded()
    except (*DAMAGE, WordNetError) as error:
        raise InputError(f"{WORDNET}: damaged ({first_line(error)}); remove it and run `make wordnet`") from error
    return reader


def wordnet_digest() -> str:
    """Return a digest of the dictionary's files.

    Raises:
        InputError: it is missing, or lacks a file.
    """
    _check_presence()
    return value_digest([[name, file_digest(WORDNET / name)] for name in FILES])


def provide_wordnet() -> None:
    """Download the dictionary, unless it is there.

    Raises:
        InputError: no source has it; the message says what to do.
        NoRoomError: the disk or a quota is full.
    """
    if not _missing(WORDNET):
        return
    with written_aside(WORDNET) as whole:
        fetched = whole.with_name("fetched")  # removed together with the rest that is set aside
        fetched.mkdir()
        found = _from_nltk(fetched)
        if found is None:
            print(f"WordNet: NLTK's server cannot be reached; taking Debian's packages {' and '.join(DEBIAN_PACKAGES)}")
            found = _from_debian(fetched)
        if missing := _missing(found):
            raise InputError(f"WordNet: the download lacks {', '.join(missing)}; run `make wordnet` again")
        whole.mkdir()
        for file in FILES:
            shutil.copyfile(found / file, whole / file)
    print(f"WordNet: {WORDNET}")


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).is_file()]


def _check_presence() -> None:
    if not WORDNET.is_dir():
        raise InputError(f"{WORDNET}: no dictionary there; run `make wordnet`")
    if missing := _missing(WORDNET):
        raise InputError(f"{WORDNET}: the dictionary lacks {', '.join(missing)}; run `make wordnet`")


def _from_nltk(folder: Path) -> Path | None:
    """Download the dictionary with NLTK and return its folder; None if NLTK's server cannot be reached."""
    import nltk

    downloader = nltk.downloader.Downloader()
    if not downloader.download("wordnet", download_dir=str(folder), quiet=True, print_error_to=io.StringIO()):
        return None
    corpora = folder / "corpora"
    if not (corpora / "wordnet").is_dir():
        try:
            with zipfile.ZipFile(corpora / "wordnet.zip") as archive:
                archive.extractall(corpora)
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise InputError(f"WordNet: NLTK's server gave a damaged zip ({error}); run `make wordnet` again") from error
    return corpora / "wordnet"


def _from_debian(folder: Path) -> Path:
    """Download the dictionary as Debian packages, unpacked but not installed, and return its folder."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise InputError(f"WordNet: no NLTK server and no apt-get; put NLTK's corpus wordnet (3.0) at {WORDNET} yourself")
    command = ["apt-get", "download", *DEBIAN_PACKAGES]
    answer = _call(command, folder)
    if answer.returncode != 0 and os.geteuid() == 0:  # the package lists may be empty, and root may fetch them
        _call(["apt-get", "update"], folder)
        answer = _call(command, folder)
    if answer.returncode != 0:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"WordNet: `{' '.join(command)}` failed ({reason}); as root run `apt-get update`, then `make wordnet`")
    for package in sorted(folder.glob("*.deb")):
        if (answer := _call(["dpkg", "-x", package.name, "unpacked"], folder)).returncode != 0:
            raise InputError(f"WordNet: {package.name} cannot be unpacked: {answer.stderr.strip()}")
    found = folder / "unpacked" / "usr" / "share" / "wordnet"
    lines = [f"{number:02}\t{name}\t{PARTS.index(name.split('.')[0]) + 1}\n" for number, name in enumerate(LEXNAMES)]
    (found / "lexnames").write_text("".join(lines))  # the one file that NLTK needs and Debian leaves out
    return found


def _call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    try:
        provide_wordnet()
    except (InputError, NoRoomError) as error:
        sys.exit(f"error: {error}")
