"""How many workers ``auto`` starts, and what a machine or container has to offer."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from stages.core.executors import count_workers, machine
from stages.core.executors.machine import Machine, this_machine
from stages.core.shards import SERIAL
from tests.support.workers import UpperCase

GIB = 2**30


@dataclass(frozen=True)
class WithModel(UpperCase):
    modules: ClassVar = ("stages.models.captioner",)


@pytest.mark.parametrize(
    ("offers", "share", "texts", "models"),
    [
        (Machine(cores=4, memory=64 * GIB, gpus=()), 1.0, 4, 4),
        (Machine(cores=64, memory=16 * GIB, gpus=()), 1.0, 16, 5),
        (Machine(cores=2, memory=GIB // 2, gpus=()), 1.0, 1, 1),
        (Machine(cores=8, memory=64 * GIB, gpus=("0", "1")), 1.0, 8, 2),
        (Machine(cores=8, memory=64 * GIB, gpus=("0", "1")), 0.25, 8, 8),
        (Machine(cores=8, memory=64 * GIB, gpus=("0", "1")), 0.6, 8, 2),
        (Machine(cores=8, memory=64 * GIB, gpus=("0", "1")), 0.001, 8, 8),
        (Machine(cores=1, memory=64 * GIB, gpus=("0", "1")), 0.5, 1, 2),
    ],
)
def test_workers_fit_cores_memory_and_gpus(offers, share, texts, models):
    execution = SERIAL.model_copy(update={"gpus_per_worker": share})
    assert count_workers(UpperCase(), execution, offers) == texts
    assert count_workers(WithModel(), execution, offers) == models


def test_limits_of_a_container_count(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    for name, text in (("cpu.max", "350000 100000\n"), ("memory.max", f"{3 * GIB}\n"), ("memory.current", f"{GIB}\n")):
        (tmp_path / name).write_text(text)
    found = this_machine()
    assert (found.cores, found.memory) == (3, 2 * GIB)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    found = this_machine()
    assert found.cores == 16
    assert found.memory > 0


@pytest.mark.parametrize(("visible", "wanted"), [("0,3", ("0", "3")), ("GPU-1", ("GPU-1",)), ("", ()), ("-1", ())])
def test_only_visible_gpus_count(monkeypatch, visible, wanted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine().gpus == wanted
