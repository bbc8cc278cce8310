"""Records of whole numbers divided into buckets on disk, so that any number of them is sorted in flat memory."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST = 256  # of five billion records of three numbers, each bucket then takes 500 MB of memory

Numbers = NDArray[np.uint64]


class Buckets:
    """Appends records to one file a bucket, and reads them back bucket by bucket."""

    def __init__(self, folder: Path, count: int, *, width: int) -> None:
        """Start with ``count`` empty buckets for records of ``width`` numbers, in a new folder."""
        folder.mkdir()
        self._folder, self.count, self._width = folder, count, width

    def add(self, buckets: NDArray[np.int64], records: Numbers) -> None:
        """Append records (n, width), each to its bucket (n,)."""
        order = np.argsort(buckets, kind="stable")
        starts = np.searchsorted(buckets[order], np.arange(self.count + 1))
        for bucket in np.unique(buckets).tolist():
            with self._path(bucket).open("ab") as file:
                file.write(records[order[starts[bucket] : starts[bucket + 1]]].tobytes())  # NumPy would not say why it cannot

    def read(self, bucket: int) -> Numbers:
        """Return the records (n, width) of a bucket in the order in which they came."""
        path = self._path(bucket)
        records = np.fromfile(path, np.uint64) if path.exists() else np.empty(0, np.uint64)
        return records.reshape(-1, self._width)

    def of_hashes(self, hashes: Numbers) -> NDArray[np.int64]:
        """Return the bucket of each hash (n,): equal hashes meet in one, and all are about equally full."""
        return ((hashes >> np.uint64(32)) * np.uint64(self.count) >> np.uint64(32)).astype(np.int64)

    def of_runs(self, numbers: NDArray[np.int64], total: int) -> NDArray[np.int64]:
        """Return the bucket of each of some numbers (n,) below ``total``: runs of them meet in one, in order."""
        return numbers * self.count // total

    def run(self, bucket: int, total: int) -> range:
        """Return the numbers below ``total`` that :meth:`of_runs` puts into a bucket."""
        return range(-(-bucket * total // self.count), -(-(bucket + 1) * total // self.count))

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:03d}"
