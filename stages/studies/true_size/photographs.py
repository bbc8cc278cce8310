"""Sixteen photographs that scikit-image installs with itself, with captions, as a source of the kind folder."""

import csv
from pathlib import Path

import skimage
from PIL import Image

CAPTIONS = {
    "astronaut.png": "a woman in an orange suit in front of a flag",
    "brick.png": "a brick wall behind a bench",
    "camera.png": "a man with a camera on a field",
    "chelsea.png": "a brown cat on a sofa",
    "clock_motion.png": "a round clock on a wall",
    "coffee.png": "a red cup of coffee on a wooden table",
    "coins.png": "a group of old coins on a table",
    "grass.png": "a green apple on the grass",
    "gravel.png": "a small dog on a gravel road",
    "hubble_deep_field.jpg": "a white kite in the dark sky",
    "ihc.png": "a purple flower in a garden",
    "moon.png": "a grey balloon in the sky",
    "motorcycle_left.png": "a red motorcycle in a garage",
    "motorcycle_right.png": "a black motorcycle beside a wooden door",
    "retina.jpg": "an orange on a black table",
    "rocket.jpg": "a white boat beside a tower",
}
"""Photograph → a caption that has an edit. Some name what is not there: random weights do not see it."""


def write_photographs(folder: Path) -> None:
    """Write the photographs as they are, RGB, and metadata.csv with their captions."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text"])
        for name, caption in CAPTIONS.items():
            picture = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
            written = f"{Path(name).stem}.png"
            picture.save(folder / written)
            writer.writerow([written, caption])
