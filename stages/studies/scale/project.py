"""A folder with parameters of its own in which stages run as child processes, so that their CPU time can be read."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from stages.core.composition import compose_params
from stages.core.files import read_json
from stages.core.paths import CAPTIONS, CORPUS, EDITS, ENCODED, HELD_OUT, LOGS, MASKS, PAIRS, PARAMS_FILE, TRAINING_SET
from stages.studies.usage import ROOT, run_module

LINKED = ("nano", "data/nltk")  # what stages read besides their inputs

OUTS = {
    "ingest": (CORPUS,),
    "caption": (CAPTIONS,),
    "mutate": (EDITS,),
    "retrieve": (PAIRS,),
    "segment": (TRAINING_SET, HELD_OUT),
    "encode": (ENCODED,),
}
"""What is measured → its outputs. Encoding is the first part of the stage train."""
COMMANDS = {name: ("stages", name) for name in OUTS} | {"encode": ("stages.studies.scale.encode",)}
"""What is measured → the module that runs it, with its arguments."""
COUNTS = {name: name for name in OUTS} | {"segment": "masks"}
"""What is measured → the counts that say how much was made; segment's own are of pairs whose masks are usable."""
STAGES = tuple(OUTS)
MASKED = ["pixels", "diff"]  # columns of a pair's source and of its target


def count_masks(folder: Path) -> int:
    """Return the distinct pictures with distinct phrases of all shards of pairs: a mask is made of each."""
    return sum(len(set(zip(*(table[name].to_pylist() for name in MASKED), strict=True))) for table in _sides(folder))


def _sides(folder: Path) -> Iterator[pa.Table]:
    """Yield pixels and phrase of source and target of every pair, a table a shard."""
    for path in sorted((folder / MASKS).glob("*.parquet")):
        table = pq.read_table(path, columns=[f"{side}_{name}" for side in ("source", "target") for name in MASKED])
        yield pa.concat_tables([table.select([0, 1]).rename_columns(MASKED), table.select([2, 3]).rename_columns(MASKED)])


def count_latents(folder: Path) -> int:
    """Return the distinct pictures of all shards of drawn pairs."""
    return sum(len(np.load(path, mmap_mode="r")) for path in (folder / ENCODED).glob("pairs/*.latents.npy"))


PICTURES = {"segment": count_masks, "encode": count_latents}


@dataclass(frozen=True)
class Cost:
    """The cost of one stage, all its processes together."""

    cpu: float  # seconds
    wall: float  # seconds
    peak: int  # bytes of memory of its largest process
    done: int  # samples made
    reused: int  # samples kept from an earlier run
    bytes: int  # of its outputs on disk
    pictures: int  # that its network sees, each once a shard, with each phrase; 0 for stages that work on every image

    def as_json(self) -> dict[str, float]:
        """Return the cost with seconds to the millisecond."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


class Project:
    """A folder to run stages in, with parameters composed from the given choices."""

    def __init__(self, folder: Path, *choices: str) -> None:
        self.folder = folder
        for name in LINKED:
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(ROOT / name)
        self.choose(*choices)

    def choose(self, *choices: str) -> None:
        """Compose params.yaml from conf/ and choices such as ``preset=embedded``."""
        params = compose_params(*choices)
        (self.folder / PARAMS_FILE).write_text(yaml.safe_dump(params.model_dump(mode="json")), encoding="utf-8")

    def run(self, stage: str) -> Cost:
        """Run a stage and return its cost.

        Raises:
            InputError: the stage fails; the message holds its last line.
        """
        counts = self.folder / LOGS / f"{COUNTS[stage]}.json"
        counts.unlink(missing_ok=True)
        usage = run_module(COMMANDS[stage], self.folder, threads=1)
        made = read_json(counts) if counts.is_file() else {}
        return Cost(
            **asdict(usage),
            done=made.get("done", 0),
            reused=made.get("reused", 0),
            bytes=self.size(*OUTS[stage]),
            pictures=PICTURES[stage](self.folder) if stage in PICTURES else 0,
        )

    def size(self, *places: Path) -> int:
        """Return the bytes of all files below some folders of the project."""
        files = (path for place in places for path in (self.folder / place).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    def forget(self, out: Path) -> None:
        """Remove an output, so that the next run makes it from nothing."""
        shutil.rmtree(self.folder / out, ignore_errors=True)


def run_all(project: Project, stages: Iterable[str]) -> dict[str, Cost]:
    """Run stages one after another and return the cost of each."""
    return {stage: project.run(stage) for stage in stages}
