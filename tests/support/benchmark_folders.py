"""Small folders in the formats of the benchmarks."""

import csv
import itertools
import json
from pathlib import Path

from PIL import Image

from stages.benchmarks import run_length
from tests.support.judges import box, smooth


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def entry(path: str = "1_change/a.jpg", **changes: object) -> dict[str, object]:
    """An entry of PIE-Bench's mapping file."""
    return {
        "image_path": path,
        "original_prompt": "a slanted [rusty] bicycle on the road",
        "editing_prompt": "a slanted [shiny red] bicycle on the road",
        "editing_instruction": "Polish the bicycle",
        "editing_type_id": "7",
        "blended_word": "bicycle bicycle",
        "mask": run_length.encode(box()),
    } | changes


def pie_bench(folder: Path, **entries: dict[str, object]) -> Path:
    save(folder / "annotation_images" / "1_change" / "a.jpg", smooth(1))
    (folder / "mapping_file.json").write_text(json.dumps(entries))
    return folder


def magic_brush(folder: Path) -> Path:
    """A session of two turns and one of one."""
    turns = {"7": 2, "8": 1}
    sessions, told, changed = {}, {}, {}
    for name, count in turns.items():
        files = [f"{name}-input.png", *(f"{name}-output{number}.png" for number in range(1, count + 1))]
        for number, file in enumerate(files):
            save(folder / "images" / name / file, smooth(int(name) + number))
        masked = smooth(int(name)).resize((128, 96))  # of another size, as some of the authors' are
        masked.putalpha(run_length.to_image(~box(128, 96)))
        save(folder / "images" / name / f"{name}-mask1.png", masked)
        sessions[name] = [
            {"input": before, "output": after, "instruction": f"make it {number}", "mask": f"{name}-mask1.png"}
            for number, (before, after) in enumerate(itertools.pairwise(files), start=1)
        ]
        told[name] = {file: f"picture {file}" for file in files}
        changed[name] = {file: f"change {file}" for file in files[1:]}
    (folder / "edit_sessions.json").write_text(json.dumps(sessions))
    (folder / "global_descriptions.json").write_text(json.dumps(told))
    (folder / "local_descriptions.json").write_text(json.dumps(changed))
    return folder


def edit_bench(folder: Path) -> Path:
    columns = ("aos", "prompt_full", "prompt_mask-simple", "prompt_mask-rich")
    for part in ("natural", "generated"):
        save(folder / f"references_{part}" / "color_common_indoor.png", smooth(3))
        save(folder / f"masks_{part}" / "color_common_indoor.png", run_length.to_image(box()).convert("RGB"))
        with (folder / f"annotations_{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [columns, ("color_common_indoor", f"a red cup in a {part} kitchen", "a red cup", "a tall red cup")]
            )
    return folder


def own(folder: Path, rows: str = "source,mask,prompt\na.png,mask.png,a red dog\na.png,,a cat\n") -> Path:
    save(folder / "a.png", smooth(1))
    save(folder / "mask.png", run_length.to_image(box()))
    (folder / "cases.csv").write_text(rows)
    return folder
