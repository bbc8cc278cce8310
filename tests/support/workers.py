"""Workers that other processes can import: they upper-case text files, and misbehave where a file says so."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import InputError
from stages.core.params import Execution
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, StageCounts, Work, map_shards

PROCESSES = Execution(engine="processes", workers=2, gpus_per_worker=1.0, address=None)
RAY = PROCESSES.model_copy(update={"engine": "ray"})
SUFFIXES = (".out", ".len")


@dataclass(frozen=True)
class UpperCase:
    """Writes a text in capitals, and its length.

    A text of "die" kills the process each time, and "die once" the first time; "refuse" is bad input, "break" a defect, and
    "sleep" takes long. "wait" waits for a file "go", which a text "go" writes.
    """

    def load(self) -> Work:
        Path(f"loaded-{os.getpid()}").touch()
        return make


def make(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
    text = task.inputs[0].read_text()
    for output in files.outputs:
        output.write_text("half of it")
    advance(1)
    died = Path(f"died-{task.name}")
    if text == "die" or (text == "die once" and not died.exists()):
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "refuse":
        raise InputError(f"{task.inputs[0]}: refused")
    if text == "break":
        raise RuntimeError("a defect")
    if text == "sleep":
        Path("asleep").touch()
        time.sleep(600)
    if text == "wait":
        Path(f"waits-{task.name}-{os.getpid()}").touch()
        while not Path("go").exists():
            time.sleep(0.1)
    files.outputs[0].write_text(text.upper())
    files.outputs[1].write_text(str(len(text)))
    if text == "go":
        Path("go").touch()
    result = ShardResult(done=1, notes=[{"shard": task.name}])
    result.dropped[text] += 1
    return result


def upper_case(texts: list[str], execution: Execution = PROCESSES, **changes: object) -> StageCounts:
    """Upper-case texts, a shard each, below the working directory."""
    for number, text in enumerate(texts):
        path = Path("in", str(number))
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    tasks = [ShardTask(name=str(number), inputs=(Path("in", str(number)),), samples=2) for number in range(len(texts))]
    arguments = {"folder": Path("out"), "settings": {}, "worker": UpperCase()} | changes
    return map_shards(stage="test", tasks=tasks, suffixes=SUFFIXES, execution=execution, **arguments)


def outputs(folder: Path = Path("out")) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*")}  # a leftover folder would raise
