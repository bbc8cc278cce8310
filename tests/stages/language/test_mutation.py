"""The mutate stage: what an edit changes in a caption, what it leaves alone, and that it does so again.

``mutation_cases.csv`` is the table of captions. ``changes`` is what may change with the words of things.txt, an adjective
with its noun, and all of it must; nothing else may, and where there is nothing the caption is dropped. ``also`` may
change with the words of the embedded world. ``becomes`` is one of the edits, word for word; ``never`` are words that no
edit brings in.
"""

import csv
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages import mutate as stage
from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.files import file_digest, read_json, write_json
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.corpus.scenery import SCENERIES
from stages.corpus.world import COLOURS, SIZES, UNCOUNTABLE, draw_scene, nouns, with_article
from stages.language import wordnet as dictionary
from stages.language.english import MOST_CHARACTERS, MOST_WORDS, is_english
from stages.language.mutation import Dropped, Mutation, mutate_caption, possible_edits
from stages.language.adjectives import CHROMATIC, antonym, is_colour, other_colours
from stages.language.nouns import co_hyponyms
from stages.language.rules import Rules
from stages.language.senses import EXCLUDED_WORDS, plural, singular, thing_senses
from stages.language.rules import read_rules
from tests.support import ROOT as PROJECT

VOCABULARY = PROJECT / "nano" / "vocabulary.txt"
SEEDS = range(12)
with (PROJECT / "tests" / "mutation_cases.csv").open(encoding="utf-8", newline="") as table:
    CASES = list(csv.DictReader(table))
CAPTIONS = [case["caption"] for case in CASES]


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
    return read_rules(params.mutate.model_copy(update={"vocabulary": str(VOCABULARY)}))


@pytest.fixture(scope="session")
def open_world(params: Params) -> Rules:
    """As the paper's preset: any common thing, two levels up."""
    return read_rules(params.mutate.model_copy(update={"vocabulary": None, "levels": 2}))


def edits(caption: str, rules: Rules) -> list[Mutation]:
    found = possible_edits(caption, rules)
    return [] if isinstance(found, Dropped) else found


def is_exact(caption: str, edit: Mutation) -> bool:
    """Tell whether the edit prompt is the caption with the term replaced, and with it no more than the article before it."""
    source = r"\s+".join(map(re.escape, edit.source_term.split()))
    for found in re.finditer(rf"\b((an?)\s+)?{source}\b", caption, re.IGNORECASE):
        start = found.start() if found[1] else found.start(0)
        for article in ("a", "an") if found[2] else ("",):
            text = f"{article}{found[1][len(found[2]) :]}{edit.target_term}" if found[2] else edit.target_term
            if (caption[:start] + text + caption[found.end() :]).lower() == edit.edit_prompt.lower():
                wants_an = edit.target_term[0] in "aeiou"  # for no word of the vocabularies is it otherwise
                return not article or (article == "an") == wants_an
    return False


def test_the_table_is_large_and_of_many_kinds():
    assert len(set(CAPTIONS)) == len(CAPTIONS) >= 350
    assert len({case["topic"] for case in CASES}) >= 14


@pytest.mark.parametrize("case", CASES, ids=CAPTIONS)
def test_what_may_change_and_what_may_not(case, world, open_world):
    caption, allowed = case["caption"], set(filter(None, case["changes"].split("|")))
    assert {edit.source_diff for edit in edits(caption, open_world)} == allowed
    assert {edit.source_diff for edit in edits(caption, world)} <= allowed | set(case["also"].split("|"))
    for edit in [*edits(caption, open_world), *edits(caption, world)]:
        assert is_exact(caption, edit), edit
        assert edit.source_diff.split() != edit.target_diff.split()
        assert not set(filter(None, case["never"].split("|"))) & set(edit.target_term.split())
        assert number_agrees(edit), edit
    assert case["becomes"] in {"", *(edit.edit_prompt for edit in edits(caption, open_world))}


def number_agrees(edit: Mutation) -> bool:
    """Tell whether source and target are both singular or both plural, by their forms alone."""
    singulars = {"bus", "cactus", "dress", "glass", "hippopotamus", "octopus", "rhinoceros", "walrus"}
    terms = {term.split()[-1] for term in (edit.source_term, edit.target_term)}
    plurals = {term in ("geese", "mice", "cacti") or (term[-1] == "s" and term not in singulars) for term in terms}
    return len(plurals) == 1 or not terms.isdisjoint(["sheep", "bison", "deer", "elk", "moose"])


@pytest.mark.parametrize("caption", ["a big red truck", "an orange on an orange plate", "a woman"])
def test_seeds_reach_every_edit_and_no_other(caption, open_world):
    found = {mutate_caption(caption, open_world, seed) for seed in range(500)}
    possible = possible_edits(caption, open_world)
    assert found == ({possible} if isinstance(possible, Dropped) else set(possible))


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
    found = {edit.target_term: edit for edit in edits("a big leather suitcase", open_world)}
    assert (found["little"].source_diff, found["little"].target_diff) == ("big leather suitcase", "little leather suitcase")
    assert found["little"].relation == "antonym"
    found = {edit.target_term: edit for edit in edits("a red car", open_world)}
    assert (found["blue"].target_diff, found["blue"].edit_prompt, found["blue"].relation) == (
        "blue car",
        "a blue car",
        "colour",
    )
    assert (found["truck"].source_diff, found["truck"].target_diff, found["truck"].relation) == ("car", "truck", "co-hyponym")


def test_the_same_seed_gives_the_same_edit_and_another_seed_another(world):
    caption = "a small white dog sitting on a bed"
    first, second = ([mutate_caption(caption, world, seed) for seed in SEEDS] for _ in range(2))
    assert first == second
    assert len(set(first)) > 3


@pytest.mark.parametrize(("share", "relations"), [(0.0, {"co-hyponym"}), (1.0, {"colour"})])
def test_the_share_of_adjectives(share, relations, world):
    rules = Rules(vocabulary=world.vocabulary, levels=4, adjective_share=share)
    assert {mutate_caption("a red car", rules, seed).relation for seed in SEEDS} == relations


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("", Dropped.EMPTY),
        ("  ", Dropped.EMPTY),
        ("a dog and " * MOST_WORDS, Dropped.TOO_LONG),
        ("/" * (MOST_CHARACTERS + 1), Dropped.TOO_LONG),
        ("ein roter Hund auf einem Sofa", Dropped.NOT_ENGLISH),
        ("photo d'un cat, candle 1234", Dropped.NOT_ENGLISH),
        ("桌子上的一只猫", Dropped.NOT_ENGLISH),
        ("a dgo on teh beahc", Dropped.NOT_ENGLISH),
        ("an empty room", Dropped.NOTHING_TO_CHANGE),
        ("12345", Dropped.NOTHING_TO_CHANGE),
        ("/home/user/pictures/cat on a chair.jpg", Dropped.NOTHING_TO_CHANGE),
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
    assert noun not in others
    assert set(others) <= set(nouns())
    # In WordNet a laptop has no more to do with a camera than with a candle, and a snail is next of kin to an octopus.
    assert others or noun in {"laptop", "snail"}


def test_most_nouns_have_several_replacements(world, open_world):
    for rules in (world, open_world):
        counts = [len(co_hyponyms(noun, rules)) for noun in rules.vocabulary if thing_senses(noun)]
        assert sum(count >= 3 for count in counts) > 0.75 * len(counts)


@pytest.mark.parametrize("levels", range(1, 7))
@pytest.mark.parametrize("rules", ["world", "open_world"])
def test_what_lives_in_water_never_changes_with_what_lives_on_land(levels, rules, request):
    swimming = {"whale", "dolphin", "shark", "walrus", "orca", "killer whale", "crab", "lobster", "octopus", "squid"}
    more = {"pelican", "frog", "spider", "snake", "otter"}  # on land as well, or nearer to what is
    vocabulary = request.getfixturevalue(rules).vocabulary
    wide = Rules(vocabulary=vocabulary | more, levels=levels, adjective_share=0.5)
    for noun in wide.vocabulary | swimming:
        others = set(co_hyponyms(noun, wide))
        assert others <= swimming if noun in swimming else others.isdisjoint(swimming), noun
    without = Rules(vocabulary=wide.vocabulary - swimming | {"whale", "spider"}, levels=levels, adjective_share=0.5)
    assert mutate_caption("a whale in the sea", without, 0) is Dropped.NO_REPLACEMENT


def test_scenes_of_the_world_change_in_their_subject_only(world):
    for index in range(300):
        scene = draw_scene(1, "train", index)
        for edit in edits(scene.caption, world):
            assert edit.source_term in scene.subject
            assert edit.edit_prompt.endswith(SCENERIES[scene.scenery][0])
            assert is_exact(scene.caption, edit)
        assert edits(scene.caption, world) or scene.caption.startswith(("a laptop", "a snail", *UNCOUNTABLE))


def test_uncountable_words_take_no_article_and_no_plural(world):
    assert edits("red corn in a field", world)
    for caption in ("a carrot in a field", "a tomato on a plate", "two carrots in a field", "the carrot"):
        changed = edits(caption, world)
        assert changed
        assert not [edit for edit in changed if re.search("corn|broccoli", edit.edit_prompt)], caption


@pytest.mark.parametrize("place", ["beach", "forest", "desert", "city", "mountain", "field", "snow", "night", "road", "room"])
def test_scenery_is_not_a_thing(place):
    assert not thing_senses(place)


@pytest.mark.parametrize(
    "word", ["man", "woman", "people", "boy", "player", "couple", "jew", "american", "hand", "head", "photo", "church", "hijab"]
)
def test_people_bodies_religion_and_pictures_are_not_things(word):
    assert not thing_senses(word)


def nouns_by_topics() -> dict[str, list[str]]:
    """Return the nouns of WordNet with the topics of their senses, the commonest first; from its files, which is quick."""
    data, index = ((PROJECT / dictionary.DICTIONARY / f"{kind}.noun").read_text().splitlines() for kind in ("data", "index"))
    topics = {line[:8]: dictionary.LEXNAMES[int(line[9:11])] for line in data if line[0] != " "}
    rows = (line.split() for line in index if line[0] != " ")
    return {row[0].replace("_", " "): [topics[offset] for offset in row[-int(row[2]) :]] for row in rows}


def test_who_people_are_is_never_changed_and_never_brought_in(world, open_world):
    """Over all that can come out, and all that WordNet calls people and their bodies before it calls anything else so."""
    things = {"noun.animal", "noun.food", "noun.artifact", "noun.plant"}
    people = {"noun.person", "noun.body"}
    called = {word for word, topics in nouns_by_topics().items() if topics[0] in people and things & set(topics)}
    assert {"pitcher", "tiger", "dark horse", "boxer", "hot dog"} < called
    for rules in (world, open_world):
        changed = {word for word in called - rules.vocabulary if co_hyponyms(word, rules)}
        assert changed <= {"hot dog"}  # a show-off, to WordNet
        assert not EXCLUDED_WORDS & rules.vocabulary
        for word in rules.vocabulary:
            for sense in thing_senses(word):
                assert sense.lexname() in things
                above = {kind.name() for kind in sense.closure(lambda below: below.hypernyms())}
                assert not above & {"body_part.n.01", "place_of_worship.n.01", "hominid.n.01", "weapon.n.01"}, word


def test_nations_beliefs_and_what_people_are_have_no_opposite_and_no_colour(open_world):
    reader = dictionary.wordnet()
    adjectives = set()
    for word in reader.all_lemma_names("a"):
        names = {lemma.name() for lemma in reader.synsets(word, "a")[0].lemmas()}
        if word.capitalize() in names and word not in ("brobdingnagian", "lilliputian", "chinese-red"):
            adjectives.add(word)
    assert {"chinese", "catholic", "jewish", "victorian"} <= adjectives
    for word in sorted(adjectives | {"male", "female", "gay", "pregnant", "blind", "naked", "poor"}):
        assert not is_colour(word)
        for living in (True, False):
            assert antonym(word, open_world, living=living) is None


def test_every_antonym_is_of_the_vocabulary(open_world):
    found = {antonym(word, open_world, living=True) for word in sorted(dictionary.wordnet().all_lemma_names("a"))[::5]}
    assert {"small", "large", "plain"} < found <= {None, *open_world.vocabulary}


def test_colours_and_other_adjectives(open_world):
    assert set(other_colours("red", open_world)) == set(CHROMATIC) - {"red"}
    assert other_colours("black", open_world) == ("white",)
    assert "red" not in other_colours("crimson", open_world)
    assert not is_colour("cherry")  # tree
    assert antonym("big", open_world, living=False) == "little"
    assert antonym("old", open_world, living=False) == "new"
    assert antonym("old", open_world, living=True) == "young"
    for invisible in ("wooden", "happy", "heavy", "other", "american"):
        assert antonym(invisible, open_world, living=False) is None


def test_number():
    assert singular("buses") == ("bus", True)
    assert singular("bus") == ("bus", False)
    assert singular("cacti") == ("cactus", True)
    assert singular("cactus") == ("cactus", False)
    assert singular("coats") == ("coat", True)
    assert singular("glasses") is None
    assert singular("scissors") is None
    assert plural("bison") == "bison"


@pytest.mark.parametrize("rules", ["world", "open_world"])
def test_the_words_brought_in_have_a_plural_that_is_known_again(rules, request):
    for word in request.getfixturevalue(rules).vocabulary:
        if co_hyponyms(word, request.getfixturevalue(rules)) and plural(word) != word:
            assert singular(plural(word)) == (word, True)


def test_language():
    assert is_english(["a", "dog", "on", "a", "sofa"])
    assert is_english(["a", "bowl", "of", "chili", "con", "carne"])
    assert is_english(["Las", "Vegas", "at", "night"])
    assert not is_english(["le", "bus", "rouge"])
    assert not is_english(["auto", "rossa"])
    assert one_line(" a\tdog\x00on\u2028a\x1b sofa\n") == "a dog on a sofa"


QUICK = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = sorted(
    {word for caption in CAPTIONS for word in caption.split()}
    | set(VOCABULARY.read_text(encoding="utf-8").split())
    | {"two", "an", "A", ",", ".", "of", "and", "an-", "'s", "hot", "dog's", "🐶", "\u200d", "C:\\dog.png"}
)
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@QUICK
@given(caption=SENTENCES | st.text(max_size=80), seed=st.integers(0, 2**63 - 1))
def test_any_caption_becomes_an_exact_edit_or_is_dropped(caption, seed, world, open_world):
    caption = one_line(caption)
    for rules in (world, open_world):
        edit = mutate_caption(caption, rules, seed)
        assert edit == mutate_caption(caption, rules, seed)
        if isinstance(edit, Dropped):
            assert possible_edits(caption, rules) is edit
            continue
        assert edit in possible_edits(caption, rules)
        assert is_exact(caption, edit)
        assert edit.edit_prompt.isprintable()
        assert edit.edit_prompt != caption
        assert any(edit.target_term in (word, plural(word)) for word in rules.vocabulary)
        assert edit.source_diff.startswith(edit.source_term)
        assert edit.target_diff == edit.target_term + edit.source_diff.removeprefix(edit.source_term)


@QUICK
@given(
    noun=st.sampled_from(sorted(nouns())), adjective=st.sampled_from(["", *COLOURS, "small", "large"]), seed=st.integers(0, 99)
)
def test_an_edit_can_be_edited_back(noun, adjective, seed, world):
    """What an edit changed can change again, and an adjective back into what it was."""
    subject = f"{adjective} {noun}".strip()
    caption = f"{with_article(subject)} on the beach"
    edit = mutate_caption(caption, world, seed)
    if isinstance(edit, Mutation):
        assert not isinstance(possible_edits(edit.edit_prompt, world), Dropped)
        if edit.relation != "co-hyponym":
            assert caption in {back.edit_prompt for back in edits(edit.edit_prompt, world)}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project folder with two shards of captions and the dictionary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nltk").symlink_to(PROJECT / "data" / "nltk")
    captions = [f"a red {noun} on the beach" for noun in list(nouns())[:10]] + ["a woman", ""]
    for name, part in (("00000", captions[:6]), ("00001", captions[6:])):
        path = CAPTIONS_FOLDER / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = [f"{name}-{index}" for index in range(len(part))]
        pq.write_table(pa.table({"key": keys, "caption": part}), path)
        sidecar = {"fingerprint": "", "digest": "", "done": len(part), "dropped": {}, "notes": []}
        write_json(path.with_name(f"{name}.done.json"), sidecar)
    return tmp_path


def with_vocabulary(params: Params, path: Path | None, **changes: object) -> Params:
    section = params.mutate.model_copy(update={"vocabulary": None if path is None else str(path)} | changes)
    return params.model_copy(update={"mutate": section})


def test_the_stage_writes_edits_and_does_nothing_twice(folder, params):
    ours = with_vocabulary(params, VOCABULARY)
    stage.mutate(ours)
    paths = sorted(EDITS.glob("*.parquet"))
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


def test_the_stage_takes_bad_captions_in_its_stride(folder, params):
    captions = [
        "a red\tcar\x00 on\r\nthe \u202ebeach",
        "dog " * 200,
        "ein Hund auf dem Tisch",
        "C:\\cat.png",
        "\u2028",
        "🐶" * 40,
    ]
    pq.write_table(pa.table({"key": list("abcdef"), "caption": captions}), CAPTIONS_FOLDER / "00001.parquet")
    stage.mutate(with_vocabulary(params, None))
    (row,) = pq.read_table(EDITS / "00001.parquet").to_pylist()
    assert (row["key"], row["caption"]) == ("a", "a red car on the beach")
    assert row["edit_prompt"].startswith("a ")
    assert row["edit_prompt"].endswith(" on the beach")
    assert read_json(EDITS / "00001.done.json")["dropped"] == {
        Dropped.EMPTY: 1,
        Dropped.TOO_LONG: 1,
        Dropped.NOT_ENGLISH: 2,
        Dropped.NOTHING_TO_CHANGE: 1,
    }


def test_what_decides_an_edit_decides_whether_it_is_made_again(folder, params, monkeypatch):
    stage.mutate(params := with_vocabulary(params, VOCABULARY))
    monkeypatch.setattr("stages.core.provenance.version", lambda name: f"another {name}")
    stage.mutate(params)
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 2


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
    words.write_bytes(b"dog\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"words.txt:2: 'caf"):
        stage.mutate(with_vocabulary(params, words))
    words.write_text("# nothing\n")
    with pytest.raises(InputError, match=r"words.txt: holds no word"):
        stage.mutate(with_vocabulary(params, words))
    for path in CAPTIONS_FOLDER.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no .parquet shards"):
        stage.mutate(with_vocabulary(params, VOCABULARY))
    (folder / "data" / "nltk").unlink()
    with pytest.raises(InputError, match="run `make wordnet`"):
        stage.mutate(with_vocabulary(params, VOCABULARY))
