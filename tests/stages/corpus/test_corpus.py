"""Random reads: any picture by its key from any process, duplicates left out, damage named in one line."""

import io
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import InputError
from stages.corpus import corpus as module
from stages.corpus.corpus import Corpus
from stages.corpus.shard import Encoding, shard_of
from tests.support.corpora import corpus_sample, write_corpus_of, write_shards_of
from tests.support.samples import encoded, noise
from tests.support.strategies import quick


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    """Two shards; the second has a duplicate of the first's last picture."""
    write_corpus_of(tmp_path, {"b-2": [noise(3), noise(2), noise(4)], "a": [noise(1), noise(2)]})
    return Corpus(tmp_path)


def test_rows_are_in_order_without_duplicates(corpus):
    assert corpus.shards() == ["a", "b-2"]
    assert [row.key for row in corpus.rows("a")] == ["a0000", "a0001"]
    rows = corpus.rows("b-2")
    assert [row.key for row in rows] == ["b-20000", "b-20002"]
    assert (rows[1].alt_text, rows[1].origin, rows[1].width, rows[1].height) == ("text 2", {"name": "b-2/2"}, 32, 32)
    assert [shard_of(row.key) for row in rows] == ["b-2", "b-2"]


def test_any_picture_is_found_by_its_key_after_pickling(corpus):
    copy = pickle.loads(pickle.dumps(corpus))
    for key, seed in {"b-20002": 4, "a0000": 1, "b-20001": 2}.items():  # a duplicate can be read too
        assert copy.image(key).tobytes() == noise(seed).tobytes()
        assert copy.row(key).key == key


def test_rows_of_any_shards_come_in_the_order_asked_for(corpus):
    keys = ["b-20002", "a0000", "b-20000", "a0000", "a0001"]
    assert [row.key for row in corpus.rows_of(keys)] == keys
    pictures = [corpus.picture(row).tobytes() for row in corpus.rows_of(keys)]
    assert pictures == [noise(seed).tobytes() for seed in (4, 1, 3, 1, 2)]
    with pytest.raises(InputError, match="the corpus has no image 'a0002'"):
        corpus.rows_of(["a0000", "a0002", "b-20000"])


def test_a_picture_is_read_at_its_location_without_an_index(corpus):
    rows = corpus.rows("b-2")
    (corpus.folder / "b-2.parquet").unlink()
    assert [corpus.picture(row).tobytes() for row in rows] == [noise(3).tobytes(), noise(4).tobytes()]
    for key in ("../b-20000", "b 20000", "0000"):
        with pytest.raises(InputError, match="the corpus has no image"):
            corpus.picture(replace(rows[0], key=key))


def test_index_says_where_the_tar_holds_each_picture(corpus):
    """The oracle is tarfile."""
    with tarfile.open(corpus.folder / "b-2.tar") as tar:
        found = {member.name: (member.offset_data, member.size) for member in tar if member.name.endswith(".png")}
    rows = pq.read_table(corpus.folder / "b-2.parquet").to_pylist()
    assert {f"{row['key']}.png": (row["offset"], row["length"]) for row in rows} == found


def test_images_come_in_order_decoded_ahead(corpus, monkeypatch):
    monkeypatch.setattr(module, "AHEAD", 1)
    found = [(row.key, picture.tobytes()) for row, picture in corpus.images("b-2")]
    assert found == [("b-20000", noise(3).tobytes()), ("b-20002", noise(4).tobytes())]


@pytest.mark.parametrize(("kind", "extension"), [("webp", "webp"), ("jpeg", "jpg")])
def test_lossy_corpus_is_read_as_pillow_reads_it(tmp_path, kind, extension):
    write_corpus_of(tmp_path, {"a": [noise(1, 64)]}, encoding=Encoding(format=kind, quality=80))
    with tarfile.open(tmp_path / "a.tar") as tar:
        data = tar.extractfile(f"a0000.{extension}").read()
    with module.Image.open(io.BytesIO(data)) as picture:
        assert picture.format == kind.upper()
        assert Corpus(tmp_path).image("a0000").tobytes() == picture.convert("RGB").tobytes()


def test_pixel_digest_differs_where_a_lossy_encoding_does(tmp_path):
    digests = set()
    for number, encoding in enumerate([Encoding(), Encoding(quality=5), Encoding(format="jpeg"), Encoding(format="webp")]):
        write_corpus_of(tmp_path / str(number), {"a": [noise(1)]}, encoding=encoding)
        digests.add(Corpus(tmp_path / str(number)).row("a0000").pixels)
    assert len(digests) == 3  # a PNG has no quality


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_pictures_that_differ_in_their_comments_are_equal(tmp_path, kind):
    pictures = [noise(1), noise(1)]
    pictures[1].info["comment"] = b"another file"  # as Pillow reads it from a GIF
    assert write_corpus_of(tmp_path, {"a": pictures}, encoding=Encoding(format=kind)) == {"duplicate": 1}


def test_replaced_shard_is_read_anew(corpus):
    assert corpus.image("a0000").tobytes() == noise(1).tobytes()
    write_corpus_of(corpus.folder, {"a": [noise(8), noise(9)]})
    assert corpus.image("a0000").tobytes() == noise(8).tobytes()


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_another_picture_in_the_same_place_is_refused(tmp_path, kind):
    """A table that was written before ingest ran again names the picture that lay there."""
    rows = []
    for number in (1, 2):
        write_corpus_of(tmp_path, {"a": [noise(number, 64)]}, encoding=Encoding(format=kind))
        rows.append(Corpus(tmp_path).row("a0000"))
    complaint = r"a\.tar: sample a0000: another picture lies in its place; run the stages from ingest on$"
    with pytest.raises(InputError, match=complaint):
        Corpus(tmp_path).picture(replace(rows[1], pixels=rows[0].pixels))
    assert Corpus(tmp_path).picture(rows[1]) == Corpus(tmp_path).picture_of(rows[1])


@pytest.mark.parametrize("key", ["a0002", "c0000", "", "0000", "a00", "a000x", "../a0000", "a\x00b0000", "a²000"])
def test_unknown_key_is_one_line(corpus, key):
    with pytest.raises(InputError, match="the corpus has no image") as error:
        corpus.image(key)
    assert str(error.value).isprintable()


def _damage_index(corpus: Corpus, **columns: list) -> None:
    path = corpus.folder / "a.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"offset": [-1, 0]}, "negative offset"),
        ({"key": ["a0001", "a0000"]}, "keys out of order"),
        ({"key": ["a0000", "a000x"]}, "does not end in 4 digits"),
        ({"offset": [10, 0]}, r"a\.tar: sample a0000: truncated or damaged image"),
        ({"length": [0, 0]}, r"a\.tar: sample a0000: truncated or damaged image"),
        ({"width": [31, 32]}, r"a\.tar: sample a0000: a picture is RGB of \(32, 32\) pixels, must be RGB of \(31, 32\)"),
    ],
    ids=range(6),
)
def test_damaged_index_is_one_line(corpus, columns, message):
    _damage_index(corpus, **columns)
    with pytest.raises(InputError, match=message) as error:
        corpus.image("a0000")
    assert "\n" not in str(error.value)


def test_missing_parts_of_a_corpus_are_one_line(corpus):
    (corpus.folder / "duplicates/a.parquet").unlink()
    with pytest.raises(InputError, match=r"duplicates/a\.parquet: no such file; run the stage ingest to its end"):
        corpus.rows("a")
    (corpus.folder / "a.tar").unlink()
    with pytest.raises(InputError, match=r"a\.tar: No such file or directory; run the stage ingest"):
        corpus.image("a0000")
    with pytest.raises(InputError, match=r"no \.tar shards"):
        Corpus(corpus.folder / "nowhere").shards()


def test_half_a_tar_is_one_line(corpus):
    path = corpus.folder / "b-2.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"b-2\.tar: sample b-20000: truncated or damaged image"):
        corpus.image("b-20000")


def test_grey_picture_in_a_shard_is_refused(tmp_path):
    data = encoded(noise(1).convert("L"))
    with pytest.raises(module.Refused, match=r"a picture is L of \(32, 32\) pixels"):
        module.decode_stored(data, (32, 32))


def test_inputs_name_all_that_decides_a_shard(corpus):
    assert [path.relative_to(corpus.folder).as_posix() for path in corpus.inputs("a")] == [
        "a.tar",
        "a.parquet",
        "duplicates/a.parquet",
    ]
    assert all(path.is_file() for path in corpus.inputs("a"))


def test_equal_corpora_have_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_corpus_of(tmp_path / name, {"a": [noise(1), noise(2), noise(1)]})
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 4  # tar, index, sidecar, duplicates
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)
    assert np.asarray(Corpus(tmp_path / "two").image("a0001")).shape == (32, 32, 3)


@quick
@given(texts=st.lists(st.text(), max_size=4), origin=st.dictionaries(st.text(max_size=5), st.none() | st.text(), max_size=3))
def test_samples_come_back_whatever_their_words(tmp_path_factory, texts, origin):
    folder = tmp_path_factory.getbasetemp() / "words"
    texts = [text.encode("utf-8", "replace").decode() for text in texts]  # Parquet and tars hold UTF-8
    samples = [corpus_sample("a", place, noise(place, 3), text, **origin) for place, text in enumerate(texts)]
    write_shards_of(folder, {"a": samples})
    found = list(Corpus(folder).images("a"))
    assert [(row.key, row.alt_text, row.origin, image.tobytes()) for row, image in found] == [
        (each.key, each.alt_text, each.origin, each.image.tobytes()) for each in samples
    ]
