"""Embeddings are kept by sample, and are the same in any company."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stages.core.earlier import write_table
from stages.core.paths import CORPUS, EDITS
from stages.core.shards import SERIAL, ShardFiles, ShardTask
from stages.corpus.corpus import Corpus
from stages.models.clip import load_clip
from stages.pairing.embedding_worker import EmbeddingWorker, embed_shards, hashes_of_embeddings
from stages.pairing.embeddings import Pool, facts_path, images_path
from tests.support.tiny_corpus import image, params_for, write_world
from tests.support.workers import PROCESSES, RAY

ENGINES = [SERIAL, *(pytest.param(each, marks=pytest.mark.exhaustive) for each in (PROCESSES, RAY))]


@pytest.fixture
def embed(models, workplace):
    """Embeds the first shard of a small world; gives its files, the result, and what CLIP was asked to embed."""
    write_world(1)
    work = EmbeddingWorker(config=params_for(models).retrieve, corpus=Corpus(CORPUS)).load()

    def run(name: str, *earlier):
        outputs = tuple(workplace / f"{name}.{kind}" for kind in ("images", "texts", "facts"))
        task = ShardTask(name="00000", inputs=(EDITS / "00000.parquet",), samples=6)
        table = write_table(workplace / "table", earlier, hashes_of_embeddings)
        result = work(task, ShardFiles(outputs=outputs, earlier=table), lambda _: None)
        return outputs, result

    return run


def test_what_stays_the_same_is_not_embedded_again(embed):
    first, result = embed("first")
    assert (result.done, result.reused) == (6, 0)
    arrays = load_file(first[0])
    arrays["embeddings"][2] = 7  # kept: known by its pixels
    arrays["digests"][4] ^= 1  # made again
    save_file(arrays, first[0])
    second, result = embed("second", first)
    assert (result.done, result.reused) == (6, 5)
    found = load_file(second[0])["embeddings"]
    assert (found[2] == 7).all()
    np.testing.assert_array_equal(np.delete(found, 2, axis=0), np.delete(arrays["embeddings"], 2, axis=0))


def test_files_say_what_the_corpus_holds_of_every_image(embed):
    """The oracle is the corpus's own index."""
    images_file, _, facts_file = embed("first")[0]
    folder = images_file.parent
    images_file.rename(images_path(folder, "00000"))
    facts_file.rename(facts_path(folder, "00000"))
    images, rows, wanted = Pool(folder, (("00000", 6),)), np.array([4, 0, 4, 5]), Corpus(CORPUS).rows("00000")
    assert images.facts(rows) == [
        (row.key, row.pixels, row.alt_text, row.offset, row.length, row.width, row.height)
        for row in (wanted[place] for place in rows)
    ]
    assert images.identity(rows) == images.identity(rows.copy()) != images.identity(rows[::-1])


@pytest.mark.parametrize("execution", ENGINES)
def test_images_and_texts_are_known_in_other_shards(models, workplace, execution):
    params, folder = params_for(models), workplace / "embeddings"

    def embed_all():
        counts = embed_shards(params.retrieve, Corpus(CORPUS), EDITS, folder, execution)
        assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
        return counts.done, counts.reused, {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}

    write_world(2)
    assert embed_all()[:2] == (12, 0)
    write_world(2, [(number + 3) % 12 for number in range(12)])
    done, reused, files = embed_all()
    assert (done, reused) == (0, 12)
    shutil.rmtree(folder)
    assert embed_all()[2] == files


def test_embeddings_are_the_same_in_any_company(models):
    clip = load_clip(models.clip)
    alone = clip.embed_images([image(3)] * 4)[0]
    for company in ([3, 0, 1, 2], [0, 1, 2, 3], [5, 3, 3, 5]):
        together = clip.embed_images([image(number) for number in company])
        assert (together[company.index(3)] == alone).all()
    words = clip.embed_texts(["a dog", "a cat", "a red hen", "a fox"])
    assert (clip.embed_texts(["a red hen"] * 4)[0] == words[2]).all()
