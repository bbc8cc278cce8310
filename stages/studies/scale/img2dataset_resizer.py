"""Print the images a CPU second of img2dataset's resizer; run by the environment that img2dataset is installed in."""

import io
import json
import sys
import time
from pathlib import Path

import cv2
from img2dataset.resizer import Resizer


def main(folder: Path, size: int) -> None:
    """Resize every JPEG file of a folder, after a few to warm up, and print the rate as JSON."""
    cv2.setNumThreads(1)
    resize = Resizer(size, "center_crop", resize_only_if_bigger=False, encode_quality=95, encode_format="jpg")
    files = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    for content in files[:5]:
        resize(io.BytesIO(content))
    started = time.process_time()
    for content in files:
        picture, *_, error = resize(io.BytesIO(content))
        if picture is None:
            raise RuntimeError(error)
    print(json.dumps({"images_per_cpu_second": len(files) / (time.process_time() - started)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
