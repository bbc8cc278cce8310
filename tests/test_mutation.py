"""The mutate stage: what an edit changes in a caption, what it leaves alone, and that it does so again."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import mutate as stage
from stages.corpus.scenery import SCENERIES
from stages.corpus.world import COLOURS, SIZES, draw_scene, nouns
from stages.files import file_digest, read_json, write_json
from stages.language import wordnet as dictionary
from stages.language.mutation import Dropped, Mutation, mutate_caption
from stages.language.replacements import CHROMATIC, Rules, antonym, co_hyponyms, other_colours
from stages.language.senses import singular, thing_senses
from stages.params import Params, read_params
from stages.run import InputError

PROJECT = Path(__file__).resolve().parents[1]
VOCABULARY = PROJECT / "nano" / "vocabulary.txt"
SEEDS = range(12)


@pytest.fixture(scope="session", autouse=True)
def _dictionary():
    before = Path.cwd()
    os.chdir(PROJECT)
    try:
        dictionary.provide_wordnet()
        dictionary.wordnet()
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def params() -> Params:
    return read_params(PROJECT / "params.yaml")


@pytest.fixture(scope="session")
def world(params: Params) -> Rules:
    return stage.read_rules(params.mutate.model_copy(update={"vocabulary": str(VOCABULARY)}))


@pytest.fixture(scope="session")
def open_world() -> Rules:
    return Rules(vocabulary=None, min_count=2, levels=3, adjective_share=0.5)


def edits(caption: str, rules: Rules) -> list[Mutation]:
    found = [mutate_caption(caption, rules, seed) for seed in SEEDS]
    return [edit for edit in found if isinstance(edit, Mutation)]


# What may change (as it stands in the diff prompt); nothing else may.
MAY_CHANGE = [
    ("a red car on the beach", {"car", "red car"}),
    ("an orange on an orange plate", {"orange", "plate", "orange plate"}),
    ("a small white dog sitting on a bed", {"dog", "bed", "small dog", "white dog"}),
    ("two buses parked next to each other on a street", {"buses"}),
    ("A man riding a horse on the beach", {"horse"}),
    ("a black and white photo of a cat on a couch", {"cat", "couch"}),
    ("a black and white cat", {"cat"}),
    ("a saw on the road", {"saw"}),
    ("a hot dog on a plate", {"hot dog", "plate"}),
    ("an ice cream on a plate", {"ice cream", "plate"}),
    ("a polar bear in the snow", {"polar bear"}),
    ("a fire engine in the city", {"fire engine"}),
    ("a woman in a red dress", {"dress", "red dress"}),
    ("a group of people standing around a table", {"table"}),
    ("a man in a black suit", {"suit", "black suit"}),
    ("a black man in a hat", {"hat"}),
    ("a young boy with a dog", {"dog"}),
    ("an old couple sitting on a couch", {"couch"}),
    ("three sheep grazing in a green field", {"sheep"}),
    ("sheep in a field", set()),
    ("a slice of pizza on a white plate", {"pizza", "plate", "white plate"}),
    ("a light blue car parked in a driveway", {"car"}),
    ("a brick house with a wooden door", {"house", "door"}),
    ("the Eiffel Tower in Paris at night", set()),
    ("a bunch of bananas in a basket", {"bananas", "basket"}),
    ("a cat and another cat on a couch", {"couch"}),
    ("a picture of an old truck", {"truck", "old truck"}),
    ("a painting of a boat", {"boat"}),
    ("a large elephant next to a small elephant", set()),
    ("a blue and orange bus on white background", {"bus"}),
    ("mice on a wooden floor", {"mice"}),
    ("a pair of scissors on a desk", {"desk"}),
    ("a man wearing glasses and a tie", {"tie"}),
    ("Dog on a bench", {"dog", "bench"}),
    ("a laptop computer sitting on top of a desk", {"laptop computer", "desk"}),
    ("a red stop sign on the side of a road", set()),
    ("a vase of flowers on a table", {"flowers", "table"}),
    ("a black cat in the snow", {"cat", "black cat"}),
    ("a black sheep in the field", {"sheep", "black sheep"}),
    ("a glass of white wine", {"white wine"}),
    ("a pink rose in the forest", {"rose", "pink rose"}),
    ("a close-up of a dog's face", set()),
    ("an empty room", set()),
    ("a happy dog", {"dog"}),
    ("a wooden chair", {"chair"}),
    ("a striped shirt", {"shirt", "striped shirt"}),
    ("a tiny mouse", {"mouse", "tiny mouse"}),
    ("he is in a car, as it was", {"car"}),
    ("stock photo of a lemon 1234", {"lemon"}),
    ("a chinese woman, a christian and a jew", set()),
    ("a person holding a hand over a head", set()),
    ("5 apples on a tree", {"apples", "tree"}),
    ("a zebra and a giraffe in a field", {"zebra", "giraffe"}),
]


@pytest.mark.parametrize(("caption", "allowed"), MAY_CHANGE)
def test_what_may_change(caption, allowed, world, open_world):
    for rules in (world, open_world):
        found = edits(caption, rules)
        assert {edit.source_diff for edit in found} <= allowed
        for edit in found:
            assert edit.edit_prompt != caption
            assert edit.target_term in edit.edit_prompt.lower()
            assert edit.source_diff != edit.target_diff


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("a small dog", "a large dog"),
        ("a white owl", "a black owl"),
        ("a tiny mouse", "a large mouse"),
        ("an airplane in the city", "a helicopter in the city"),
        ("A helicopter", "An airplane"),
        ("two horses in a field", "two zebras in a field"),
        ("owls on a roof", "eagles on a roof"),
        ("an owl in the snow", "an eagle in the snow"),
        ("Owl on a roof", "Eagle on a roof"),
        ("a peacock on the road", "a turkey on the road"),
        ("hats in the room", "caps in the room"),
        ("several sheep", "several goats"),
        ("a sheep", "a goat"),
    ],
)
def test_an_edit_reads_as_written(caption, wanted, world):
    assert wanted in {edit.edit_prompt for edit in edits(caption, world)}


def test_diff_prompts_name_the_thing_that_changes(open_world):
    adjective = next(edit for edit in edits("a large brick house", open_world) if edit.relation == "antonym")
    assert (adjective.source_diff, adjective.target_diff) == ("large brick house", "small brick house")
    colour = next(edit for edit in edits("a red car", open_world) if edit.relation == "colour")
    assert colour.target_diff == f"{colour.target_term} car"
    assert colour.edit_prompt.endswith(f"{colour.target_term} car")
    noun = next(edit for edit in edits("a red car", open_world) if edit.relation == "co-hyponym")
    assert (noun.source_diff, noun.target_diff) == (noun.source_term, noun.target_term)


def test_the_same_seed_gives_the_same_edit_and_another_seed_another(world):
    caption = "a small white dog sitting on a bed"
    assert [mutate_caption(caption, world, seed) for seed in SEEDS] == [mutate_caption(caption, world, seed) for seed in SEEDS]
    assert len({edit.edit_prompt for edit in edits(caption, world)}) > 3


@pytest.mark.parametrize(("share", "relations"), [(0.0, {"co-hyponym"}), (1.0, {"colour"})])
def test_the_share_of_adjectives(share, relations, world):
    rules = Rules(vocabulary=world.vocabulary, min_count=0, levels=4, adjective_share=share)
    assert {edit.relation for edit in edits("a red car", rules)} == relations


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("", Dropped.EMPTY),
        ("  ", Dropped.EMPTY),
        ("an empty room", Dropped.NOTHING_TO_CHANGE),
        ("12345", Dropped.NOTHING_TO_CHANGE),
        ("?! / , (", Dropped.NOTHING_TO_CHANGE),
        ("a woman", Dropped.NOTHING_TO_CHANGE),
        ("a surfboard", Dropped.NO_REPLACEMENT),
    ],
)
def test_why_a_caption_is_dropped(caption, reason, world):
    assert mutate_caption(caption, world, 0) is reason


def test_the_vocabulary_is_that_of_the_embedded_world(world):
    assert world.vocabulary == {*nouns(), *COLOURS, *filter(None, SIZES)}


@pytest.mark.parametrize("noun", list(nouns()))
def test_every_noun_of_the_world_has_a_replacement_in_the_world(noun, world):
    others = co_hyponyms(noun, world)
    assert others
    assert noun not in others
    assert set(others) <= set(nouns())


def test_scenes_of_the_world_change_in_their_subject_only(world):
    for index in range(300):
        scene = draw_scene(1, "train", index)
        edit = mutate_caption(scene.caption, world, index)
        assert isinstance(edit, Mutation), scene.caption
        assert edit.source_term in scene.subject
        assert edit.edit_prompt.endswith(SCENERIES[scene.scenery][0])


@pytest.mark.parametrize("place", ["beach", "forest", "desert", "city", "mountain", "field", "snow", "night", "road", "room"])
def test_scenery_is_not_a_thing(place):
    assert not thing_senses(place)


@pytest.mark.parametrize(
    "word", ["man", "woman", "people", "boy", "player", "couple", "jew", "american", "hand", "head", "photo"]
)
def test_people_bodies_and_pictures_are_not_things(word):
    assert not thing_senses(word)


def test_what_is_brought_in_is_common_and_decent(open_world):
    known_slips = {"bitch", "dog", "shuttle", "local", "deadhead", "ass", "cock", "brothel", "human", "vehicle", "mammal"}
    for noun in ("dog", "bus", "horse", "cat", "monkey", "donkey", "chicken", "house", "cake", "bird", "tower"):
        assert not known_slips & set(co_hyponyms(noun, open_world))


def test_adjectives(open_world):
    assert set(other_colours("red", open_world)) == set(CHROMATIC) - {"red"}
    assert other_colours("black", open_world) == ("white",)
    assert antonym("big", open_world, living=False) == "little"
    assert antonym("old", open_world, living=False) == "new"
    assert antonym("old", open_world, living=True) == "young"
    for invisible in ("wooden", "happy", "heavy", "other", "american"):
        assert antonym(invisible, open_world, living=False) is None


def test_number():
    assert singular("buses") == ("bus", True)
    assert singular("bus") == ("bus", False)
    assert singular("mice") == ("mouse", True)
    assert singular("cactus") == ("cactus", False)
    assert singular("glasses") is None
    assert singular("scissors") is None


def test_lexnames_are_numbered_as_in_wordnet():
    assert len(dictionary.LEXNAMES) == 45
    assert dictionary.LEXNAMES.index("noun.animal") == 5
    assert dictionary.LEXNAMES.index("adj.ppl") == 44


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project folder with two shards of captions and the dictionary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nltk").symlink_to(PROJECT / "data" / "nltk")
    captions = [f"a red {noun} on the beach" for noun in list(nouns())[:10]] + ["a woman", ""]
    for name, part in (("00000", captions[:6]), ("00001", captions[6:])):
        path = stage.CAPTIONS / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = [f"{name}-{index}" for index in range(len(part))]
        pq.write_table(pa.table({"key": keys, "caption": part}), path)
        write_json(path.with_name(f"{name}.done.json"), {"done": len(part)})
    return tmp_path


def with_vocabulary(params: Params, path: Path | None, **changes: object) -> Params:
    section = params.mutate.model_copy(update={"vocabulary": None if path is None else str(path)} | changes)
    return params.model_copy(update={"mutate": section})


def test_the_stage_writes_edits_and_does_nothing_twice(folder, params):
    ours = with_vocabulary(params, VOCABULARY)
    stage.mutate(ours)
    paths = sorted(stage.EDITS.glob("*.parquet"))
    before = [file_digest(path) for path in paths]
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    assert table.column_names == [
        *("key", "caption", "edit_prompt", "source_term", "target_term", "relation", "source_diff", "target_diff")
    ]
    assert table.num_rows == 10
    log = read_json(Path("logs/mutate.json"))
    assert (log["done"], log["reused"]) == (10, 0)
    assert log["dropped"] == {"empty caption": 1, "no noun or adjective to change": 1}

    stage.mutate(ours)
    log = read_json(Path("logs/mutate.json"))
    assert (log["done"], log["reused"], log["shards_reused"]) == (0, 10, 2)
    paths[0].unlink()
    stage.mutate(ours)
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 1
    assert [file_digest(path) for path in paths] == before


def test_the_stage_starts_anew_when_a_setting_or_the_vocabulary_changes(folder, params):
    words = folder / "words.txt"
    words.write_text("dog\ncat\n")
    stage.mutate(with_vocabulary(params, words))
    stage.mutate(with_vocabulary(params, words, adjective_share=0.25))
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 2
    words.write_text("dog\ncat\nhorse\n")
    stage.mutate(with_vocabulary(params, words, adjective_share=0.25))
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 2


def test_bad_input_is_told_in_one_line(folder, params):
    with pytest.raises(InputError, match=r"mutate.vocabulary = 'none.txt': no such file"):
        stage.mutate(with_vocabulary(params, Path("none.txt")))
    words = folder / "words.txt"
    words.write_text("# things\ndog\nice cream\n")
    with pytest.raises(InputError, match=r"words.txt:3: 'ice cream'"):
        stage.mutate(with_vocabulary(params, words))
    for path in stage.CAPTIONS.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no .parquet shards"):
        stage.mutate(with_vocabulary(params, VOCABULARY))
    (folder / "data" / "nltk").unlink()
    with pytest.raises(InputError, match="run `make wordnet`"):
        stage.mutate(with_vocabulary(params, VOCABULARY))


def test_wordnet_is_provided_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calls = []

    def from_debian(folder):
        calls.append(folder)
        (found := folder / "found").mkdir()
        for name in dictionary.FILES if len(calls) > 1 else dictionary.FILES[:-1]:
            (found / name).write_text(name)
        return found

    monkeypatch.setattr(dictionary, "_from_nltk", lambda _: None)
    monkeypatch.setattr(dictionary, "_from_debian", from_debian)
    with pytest.raises(InputError, match="lacks lexnames"):
        dictionary.provide_wordnet()
    assert not dictionary.DICTIONARY.exists()
    dictionary.provide_wordnet()
    assert {path.name for path in dictionary.DICTIONARY.iterdir()} == set(dictionary.FILES)
    assert [path.name for path in dictionary.NLTK_DATA.iterdir()] == ["corpora"]
    capsys.readouterr()
    dictionary.provide_wordnet()
    assert len(calls) == 2
    assert capsys.readouterr().out == ""
