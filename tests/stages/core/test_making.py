"""Making one shard while an attempt that was given up still works on it."""

import pytest

from stages.core.files import file_digest
from stages.core.making import Job, make_shard
from stages.core.sidecars import SIDECAR_SUFFIX, read_sidecar
from stages.core.tasks import ShardFiles, ShardResult, ShardTask, Work


def whole(during=lambda: None) -> Work:
    """Return work that writes "whole" in two parts, with something between them."""

    def work(_: ShardTask, files: ShardFiles, __) -> ShardResult:
        files.output.write_text("who")
        during()
        with files.output.open("a") as file:
            file.write("le")
        return ShardResult(done=1)

    return work


@pytest.mark.parametrize("lost_ends_first", [True, False])
def test_an_attempt_that_lives_on_spoils_nothing(tmp_path, lost_ends_first):
    output, sidecar = tmp_path / "a.out", tmp_path / f"a{SIDECAR_SUFFIX}"
    task = ShardTask(name="a", inputs=(), samples=1)
    lost = Job(task=task, outputs=(output,), sidecar=sidecar, fingerprint="f", settings="s")
    inner, outer = (lost, lost.again()) if lost_ends_first else (lost.again(), lost)
    make_shard(whole(lambda: make_shard(whole(), inner, print)), outer, print)
    assert output.read_text() == "whole"
    assert read_sidecar(sidecar).digests == [file_digest(output)]
    assert sorted(tmp_path.iterdir()) == sorted([output, sidecar])


def test_all_attempts_are_discarded(tmp_path):
    job = Job(
        task=ShardTask(name="a", inputs=(), samples=1),
        outputs=(tmp_path / "a.out",),
        sidecar=tmp_path / f"a{SIDECAR_SUFFIX}",
        fingerprint="f",
        settings="s",
    )
    for name in ("a.out.partial", "a.out.1.partial", f"a{SIDECAR_SUFFIX}.1.partial"):
        (tmp_path / name).mkdir()
    job.again().discard()
    assert not list(tmp_path.iterdir())
