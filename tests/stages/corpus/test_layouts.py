"""The layouts of folders: tables in nested folders, texts beside pictures, pictures alone, and Parquet with pictures in it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.common.parquet import read_rows
from stages.core.errors import InputError
from stages.corpus.corpus import Corpus
from stages.ingest import ingest
from tests.support.icc import matrix_profile
from tests.support.memory import least_peak
from tests.support.samples import encoded, noise
from tests.support.sources import FOLDER, corpus_files, kept, params_for, refused

pytestmark = pytest.mark.usefixtures("workplace")


def write(name: str, content: str | bytes) -> None:
    path = Path("photos", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def picture(number: int, kind: str = "png") -> bytes:
    return encoded(noise(number), kind)


def texts() -> dict[str, str]:
    return {row.origin["name"]: row.alt_text for row in kept()}


def test_tables_in_nested_folders_name_pictures_below_them():
    for place, number in (("cats/0.png", 0), ("cats/more/0.png", 1), ("dogs/0.png", 2), ("dogs/unlisted.png", 3)):
        write(place, picture(number))
    write("cats/metadata.csv", "file_name,text\n0.png,a cat\nmore/0.png,more cats\n../dogs/0.png,a thief\n")
    write("dogs/metadata.jsonl", json.dumps({"file_name": "0.png", "text": "a dog"}))
    ingest(params_for(FOLDER))
    assert texts() == {"cats/0.png": "a cat", "cats/more/0.png": "more cats", "dogs/0.png": "a dog"}
    assert refused() == {"cats/../dogs/0.png": "file name outside the folder"}
    write("dogs/metadata.csv", "file_name\n0.png\n")
    with pytest.raises(InputError, match=r"^photos/dogs/: has more than one of metadata\.csv, .*, must have exactly one$"):
        ingest(params_for(FOLDER))


def test_pictures_beside_every_table_are_not_overlooked():
    for place, number in (("cats/0.png", 0), ("stray/0.png", 1), ("stray/1.png", 2)):
        write(place, picture(number))
    write("cats/metadata.csv", "file_name,text\n0.png,a cat\n")
    with pytest.raises(
        InputError, match=r"^photos: stray/0\.png and 1 more lie in no folder with a table; move them to a folder"
    ):
        ingest(params_for(FOLDER))


def test_pictures_beside_parquet_are_not_overlooked():
    write_images("a.parquet", [{"bytes": picture(0), "path": "a.png"}])
    write("more/0.png", picture(1))
    with pytest.raises(InputError, match=r"^photos: more/0\.png lies in no Parquet file, unlike the others; move them"):
        ingest(params_for(FOLDER))


def test_a_table_in_parquet_gives_the_shards_that_csv_gives():
    rows = [{"file_name": f"{n}.png", "Text": f"text {n}", "license": "CC0", "similarity": n / 10} for n in range(20)]
    for number, row in enumerate(rows):
        write(row["file_name"], picture(number))
    params = params_for(FOLDER, filters={"similarity": {"min": 0.5}})
    written = []
    for name in ("metadata.csv", "metadata.parquet"):
        table = pa.Table.from_pylist(rows)
        if name.endswith("csv"):
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            write(name, "\n".join(lines))
        else:
            pq.write_table(table, "photos/metadata.parquet", row_group_size=3)
        ingest(params)
        written.append({path: data for path, data in corpus_files().items() if path.endswith((".tar", ".parquet"))})
        Path("photos", name).unlink()
    assert len(kept()) == 15
    assert {row.origin["license"] for row in kept()} == {"CC0"}
    assert written[0] == written[1]


def test_captions_stand_in_the_column_that_is_named():
    write("0.png", picture(0))
    write("metadata.csv", "file_name,text,BLIP caption\n0.png,IMG_0001,a cat\n")
    ingest(params_for(FOLDER | {"text": "blip caption"}))
    assert texts() == {"0.png": "a cat"}
    with pytest.raises(InputError, match=r"text; ingest\.source\.text = 'words' is none of them$"):
        ingest(params_for(FOLDER | {"text": "words"}))


def test_texts_beside_pictures_are_their_captions_and_may_be_missing():
    write("a.jpg", picture(0, "jpeg"))
    write("a.txt", "a cat\n")
    write("deep/er/b.PNG", picture(1))
    write("deep/er/b.caption", "a dog")
    write("alone.webp", picture(2, "webp"))
    write("IMG.JPG", picture(6, "jpeg"))
    write("IMG.TXT", "a bird")
    write("latin.png", picture(3))
    write("latin.txt", b"\xff")
    write("notes.txt", "no picture")
    write(".hidden/c.png", picture(4))
    write("__MACOSX/d.png", picture(5))
    ingest(params_for(FOLDER))
    assert texts() == {"a.jpg": "a cat", "deep/er/b.PNG": "a dog", "alone.webp": "", "IMG.JPG": "a bird"}
    assert refused() == {"latin.png": "text cannot be read"}


def test_a_changed_text_costs_its_own_shard():
    for number in range(40):
        write(f"{number:02d}.png", picture(number))
        write(f"{number:02d}.txt", f"text {number}")
    ingest(params_for(FOLDER))
    times = {path: path.stat().st_mtime_ns for path in Path("data/corpus").glob("*.tar")}
    write("07.txt", "another text")
    ingest(params_for(FOLDER))
    changed = [path for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert len(changed) == 1 < len(times)
    assert texts()["07.png"] == "another text"
    write("07-b.png", picture(40))
    ingest(params_for(FOLDER))
    assert len(texts()) == 41
    files = corpus_files()
    shutil.rmtree("data")
    ingest(params_for(FOLDER))
    assert corpus_files() == files


def test_links_out_of_the_folder_are_not_followed():
    Path("secret.png").write_bytes(picture(0))
    Path("secret.txt").write_text("secret")
    write("a.png", picture(1))
    Path("photos/link.png").symlink_to(Path("secret.png").resolve())
    Path("photos/a.txt").symlink_to(Path("secret.txt").resolve())
    write("good.png", picture(3))
    ingest(params_for(FOLDER))
    assert texts() == {"good.png": ""}
    assert refused() == {"link.png": "file name outside the folder", "a.png": "text: file name outside the folder"}
    pq.write_table(pa.table({"a": [1]}), "table.parquet")
    shutil.rmtree("photos")
    Path("photos").mkdir()
    Path("photos/table.parquet").symlink_to(Path("table.parquet").resolve())
    with pytest.raises(InputError, match=r"^photos: table\.parquet leads outside the folder$"):
        ingest(params_for(FOLDER))


def test_a_linked_folder_is_refused():
    """Also one that stays inside, whose pictures would be missing or there twice."""
    write("a.png", picture(0))
    write("deep/b.png", picture(1))
    Path("photos/deep/more").symlink_to(Path("photos").resolve())
    with pytest.raises(InputError, match=r"^photos: deep/more is a link to a folder, which is not followed"):
        ingest(params_for(FOLDER))


def test_a_folder_that_cannot_be_read_is_refused(monkeypatch):
    """The path is longer than the system reads; a folder without permission is readable to the superuser."""
    write("a.png", picture(0))
    here = Path.cwd()
    monkeypatch.chdir("photos")
    for _ in range(20):
        Path("x" * 250).mkdir()
        monkeypatch.chdir("x" * 250)
    monkeypatch.chdir(here)
    with pytest.raises(InputError, match=r"^photos: x+.*: File name too long$"):
        ingest(params_for(FOLDER))
    shutil.rmtree("photos")  # nor could the tests read it that list the folders of others


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How the library datasets stores its feature Image."""


def write_images(name: str, cells: list[dict | None], rows_per_group: int = 100, **columns: list) -> None:
    table = pa.table({"image": pa.array(cells, IMAGE)} | columns)
    Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
    features = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
    pq.write_table(table.replace_schema_metadata({"huggingface": features}), f"photos/{name}", row_group_size=rows_per_group)


def test_parquet_with_pictures_is_read_as_datasets_writes_it():
    cells = [{"bytes": picture(n), "path": f"{n}.png"} for n in range(20)]
    cells[3] = {"bytes": None, "path": "/etc/passwd"}
    cells[4] = None
    cells[5] = {"bytes": b"no picture", "path": None}
    captions = [[f"text {n}", "other"] for n in range(20)]
    write_images("data/train-00000-of-00001.parquet", cells, 7, caption=captions, LICENSE=["CC0"] * 20)
    ingest(params_for(FOLDER))
    name = "data/train-00000-of-00001.parquet"
    assert texts() == {f"{name}/{n + 1}": f"text {n}" for n in range(20) if n not in (3, 4, 5)}
    assert {row.origin["license"] for row in kept()} == {"CC0"}
    lost = "no bytes of a picture in the row"
    assert {place: reason[:30] for place, reason in refused().items() if not reason.startswith("not an image")} == {
        f"{name}/4": lost[:30],
        f"{name}/5": lost[:30],
    }
    image = Corpus().image(kept()[0].key).resize((32, 32), Image.Resampling.BOX)
    assert np.abs(np.asarray(image, int) - np.asarray(noise(0), int)).mean() < 40  # it is that picture, enlarged
    times = {path: path.stat().st_mtime_ns for path in Path("data/corpus").glob("*.tar")}
    assert len(times) == 3  # 8, 8 and 4 rows
    write_images("data/train-00001-of-00002.parquet", [{"bytes": picture(30), "path": None}], caption=[["new"]])
    ingest(params_for(FOLDER))
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert len(kept()) == 18


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"url": ["a"]}, r"a\.parquet has 0 columns of pictures \(bytes, path\), must have one$"),
        ({"image": pa.array([None], IMAGE), "mask": pa.array([None], IMAGE)}, "has 2 columns of pictures"),
        ({"image": pa.array([None], IMAGE), "title": ["a"]}, r"columns image, title; ingest\.source\.text = 'words' is none"),
    ],
    ids=range(3),
)
def test_parquet_of_another_kind_is_one_line(columns, message):
    Path("photos").mkdir()
    pq.write_table(pa.table(columns), "photos/a.parquet")
    with pytest.raises(InputError, match=message):
        ingest(params_for(FOLDER | {"text": "words"}))


def test_folders_without_a_corpus_are_one_line():
    Path("photos").mkdir()
    with pytest.raises(InputError, match=r"^photos: has no pictures, no metadata\.csv or .*, and no Parquet files$"):
        ingest(params_for(FOLDER))
    write_images("data/train-0.parquet", [{"bytes": picture(0), "path": None}])
    data = Path("photos/data/train-0.parquet").read_bytes()
    write("data/train-0.parquet", data[:-20])
    with pytest.raises(InputError, match=r"train-0\.parquet: damaged, or not Parquet: "):
        ingest(params_for(FOLDER))
    write("data/test-0.parquet", data)
    with pytest.raises(InputError, match=r"has the splits test, train; put the files of one into a folder of its own$"):
        ingest(params_for(FOLDER))


def test_rows_are_read_from_any_place_in_bounded_memory(tmp_path):
    path, rows, size = tmp_path / "a.parquet", 400, 50_000
    rng = np.random.default_rng(0)
    table = pa.table({"n": range(rows), "data": [rng.bytes(size) for _ in range(rows)]})
    pq.write_table(table, path, row_group_size=20)
    del table
    for start, stop in ((0, 400), (130, 271), (139, 140), (399, 400), (400, 400)):
        assert [row["n"] for row in read_rows(path, ["n"], start, stop, batch=7)] == list(range(start, stop))
    before = pa.total_allocated_bytes()
    assert max(pa.total_allocated_bytes() - before for _ in read_rows(path, ["data"], batch=8)) < rows * size / 4
    assert least_peak(lambda: [None for _ in read_rows(path, ["data"], batch=8)]) < rows * size / 4


P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


def test_avif_is_read_and_its_profile_applied():
    colour = Image.new("RGB", (64, 64), (200, 40, 40))
    write("a.avif", encoded(colour, "avif", icc_profile=matrix_profile(2.2, P3, srgb_curve=True), quality=95))
    write("b.AVIF", encoded(colour, "avif", quality=95))
    ingest(params_for(FOLDER))
    means = {row.origin["name"]: np.asarray(Corpus().image(row.key), int).mean((0, 1)) for row in kept()}
    assert means["a.avif"][0] > means["b.AVIF"][0] + 8  # Display P3's red is redder than that of sRGB
    assert np.abs(means["b.AVIF"] - (200, 40, 40)).max() < 6
