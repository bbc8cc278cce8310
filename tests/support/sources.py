"""Sources of images as users have them, folders and tars, and the corpus that ingest makes of one."""

import csv
import io
import tarfile
from pathlib import Path

from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.params_ingest import Ingest
from stages.core.shards import SERIAL
from stages.corpus.corpus import Corpus, CorpusRow
from tests.support import ROOT
from tests.support.samples import encoded, noise

SIZE = 64  # sides of a corpus image, pixels
FOLDER = {"kind": "folder", "path": "photos", "text": None}


def params_for(source: dict, **changes: object) -> Params:
    """Return the project's parameters with a small ingest section for ``source``."""
    section = {"size": SIZE, "shard_size": 8, "min_side": 16, "max_pixels": 100_000, "max_refused": 1.0}
    section |= {"format": "png", "quality": 90, "near_duplicates": None, "filters": {}}
    section |= {"source": source} | changes
    return read_params(ROOT / "params.yaml").model_copy(update={"ingest": Ingest.model_validate(section), "execution": SERIAL})


def write_folder(rows: list[tuple[str, str, bytes | None]]) -> dict:
    """Write photos/ with a metadata.csv of (name, text, bytes) rows; a file without bytes is listed but not written."""
    folder = Path("photos")
    folder.mkdir(exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([("file_name", "text"), *((name, text) for name, text, _ in rows)])
    for name, _, data in rows:
        if data is not None:
            (folder / name).write_bytes(data)
    return FOLDER


def numbered_folder(seeds: list[int]) -> dict:
    """Write a folder with one noise picture per seed, named and captioned by its position."""
    return write_folder([(f"{n}.png", f"text {n}", encoded(noise(seed))) for n, seed in enumerate(seeds)])


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    """Return a tar of regular members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def noise_pair(number: int) -> list[tuple[str, bytes]]:
    """Return the members of one sample: a noise picture and its alt text."""
    return [(f"{number:04d}.png", encoded(noise(number))), (f"{number:04d}.txt", b"noise %d" % number)]


def corpus_files() -> dict[str, bytes]:
    folder = Path("data/corpus")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused() -> dict[str, str]:
    """Return origin → reason from the list that ingest writes."""
    with Path("data/corpus/refused.csv").open(newline="", encoding="utf-8") as file:
        return {row["origin"]: row["reason"] for row in csv.DictReader(file)}


def kept() -> list[CorpusRow]:
    corpus = Corpus()
    return [row for shard in corpus.shards() for row in corpus.rows(shard)]
