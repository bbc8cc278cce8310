"""What executors report to: the counts of the stage, and one progress line for all workers."""

import sys
from collections import defaultdict

from tqdm import tqdm

from stages.core.counts import StageCounts
from stages.core.digests import Digests
from stages.core.making import Job, Made
from stages.core.sidecars import Sidecar
from stages.core.tasks import ShardTask


class Record:
    """The counts of a stage, which are the same in any order of completion, and the progress line.

    The line's rate and time left are those of the samples that are made in this run.
    """

    def __init__(self, counts: StageCounts, digests: Digests, samples: int) -> None:
        self._counts, self._digests = counts, digests
        self._bar = tqdm(total=samples, desc=counts.stage, unit="sample", mininterval=1, smoothing=0.1)
        self._advanced: defaultdict[str, int] = defaultdict(int)  # samples of shards that are being made

    def close(self) -> None:
        """Leave the line as it stands."""
        self._bar.close()

    def reused(self, task: ShardTask, sidecar: Sidecar) -> None:
        """Count a shard that was whole already."""
        self._counts.shards_reused += 1
        self._counts.reused += sidecar.done
        self._counts.dropped.update(sidecar.dropped)
        self._bar.initial += task.samples
        self._bar.last_print_n += task.samples
        self._bar.n += task.samples

    def advance(self, job: Job, samples: int) -> None:
        """Show that a worker has finished some samples of a shard."""
        self._advanced[job.task.name] += samples
        self._bar.update(samples)

    def lost(self, job: Job) -> None:
        """Say that a shard's worker died, and take back what was shown of the shard."""
        self._bar.write(f"{job.outputs[0]}: the worker that was making it died", file=sys.stderr)
        self._bar.update(-self._advanced.pop(job.task.name, 0))

    def made(self, job: Job, made: Made) -> None:
        """Count a shard that was made, and remember its digests."""
        self._counts.shards_done += 1
        self._counts.done += made.done - made.reused
        self._counts.reused += made.reused
        self._counts.dropped.update(made.dropped)
        self._bar.update(job.task.samples - self._advanced.pop(job.task.name, 0))
        for path, digest in zip(job.outputs, made.digests, strict=True):
            self._digests.learn(path, digest)
