"""Which things of families.txt take a noun's place. Most of these captions had edits that a reader refused."""

import pytest

from stages.language.clashes import CLASHES
from stages.language.families import FAMILIES, families
from stages.language.mutation import Dropped
from stages.language.senses import base_noun, is_noun, plural, singular_form
from stages.language.ties import FAMILY_TIES, TIES
from tests.support.captions import possible_edits


def brought_in(caption, rules):
    """Return the words that the edits of a caption bring in."""
    edits = possible_edits(caption, rules)
    return set() if isinstance(edits, Dropped) else {edit.target_term for edit in edits}


@pytest.mark.parametrize(
    ("caption", "refused"),
    [
        ("a woman wearing a hat", "cap|beret|baseball cap"),
        ("a pair of sunglasses on a table", "desk|coffee table"),
        ("two planes flying in formation", "jets|hot air balloons"),
        ("a passenger train pulling into a station", "steam train|train"),
        ("a flock of birds flying over a pond", "seagulls|lake"),
        ("a field of sunflowers", "meadow"),
    ],
)
def test_what_is_alike_does_not_replace(caption, refused, open_world):
    assert brought_in(caption, open_world).isdisjoint(refused.split("|"))


@pytest.mark.parametrize(
    ("caption", "bound"),
    [
        ("a baseball player swinging a bat at a ball", "bat|ball|baseball player"),
        ("a girl walking a dog in a park", "dog"),
        ("a bride and groom cutting a wedding cake", "wedding cake"),
        ("a tow truck carrying a yellow car", "car|tow truck"),
        ("a person playing a video game with a remote", "remote"),
        ("a chef is preparing food in a kitchen", "chef"),
        ("three people eating at a restaurant", "restaurant"),
        ("a sandwich cut in half on a wooden board", "sandwich"),
        ("an astronaut floating in space", "astronaut"),
        ("a doctor looking at an x-ray", "doctor"),
        ("a shopping cart full of groceries", "shopping cart"),
        ("a woman knitting a scarf on a sofa", "scarf"),
        ("a carousel with painted horses", "carousel"),
        ("a man trimming a hedge with shears", "hedge|shears"),
        ("a fireplace with stockings hanging from it", "fireplace|stockings"),
        ("a crane lifting a steel beam", "crane"),
        ("a man playing chess with a friend", "chess"),
        ("a man carving a turkey", "turkey"),
        ("a striped cat sitting on a staircase", "cat"),
        ("a close up of a green cat with its mouth open", "cat"),
        ("a man shaving in front of a mirror", "mirror"),
        ("a hammock hanging between two palm trees", "hammock"),
        ("a cow laying on a couch", "cow"),
        ("a boy kicking a soccer ball in a game of soccer", "soccer"),
        ("cars parked on a street", "street"),
        ("a man cooking in a kitchen", "kitchen"),
        ("people on a train at a station", "train"),
        ("lights of a city at night", "night"),
        ("a woman looking out of a window", "window"),
        ("a surfer on a wave with a surfboard", "surfboard"),
        ("a birthday cake with candles", "candles"),
        ("a man throwing a basketball into a hoop", "basketball"),
        ("a fire truck with its ladder up", "fire truck"),
        ("a bunch of grapes on a vine", "grapes"),
        ("a church with a tall steeple", "steeple"),
        ("a woman putting on lipstick in front of a mirror", "mirror"),
        ("a beach with palm trees", "palm trees"),
        ("a hallway with a red carpet", "carpet"),
        ("surfers with surfboards on the beach", "surfboards"),
        ("a tent under the stars at night", "night"),
        ("skateboarders ride down a street", "street"),
        ("children walking down a street with crosswalks", "street"),
    ],
)
def test_what_another_word_binds_stays(caption, bound, open_world):
    edits = possible_edits(caption, open_world)
    terms = set() if isinstance(edits, Dropped) else {edit.source_term for edit in edits if edit.relation == "co-hyponym"}
    assert terms.isdisjoint(bound.split("|"))


@pytest.mark.parametrize(
    ("caption", "wanted", "refused"),
    [
        ("a bathroom with a sink and a mirror", "toilet|bathtub", "clock|stove"),
        ("a living room with a couch and a lamp", "fireplace|armchair", "bed|toilet"),
        ("a pizza with mushrooms and olives on it", "tomatoes|onions", "carrots|celery"),
        ("a dog with a frisbee in its mouth", "ball|stick", "kite"),
        ("a dog wearing a bow tie", "scarf", "necklace"),
        ("a cat sleeping on a bed", "couch", "chair|hammock"),
        ("an owl sitting on a fence", "branch|rock", "hedge|gate"),
        ("a man riding a horse on the beach", "camel", "cow|bicycle"),
        ("a man holding a surfboard on the beach", "umbrella", "kayak"),
        ("a herd of sheep grazing in a field", "goats|cows", "lions"),
        ("a group of men playing a game of soccer on a field", "rugby|baseball", "tennis"),
        ("two girls playing tennis in a park", "badminton|volleyball", "soccer"),
        ("a couple walking down a street", "beach|path", "bridge"),
        ("a dog standing in a kitchen", "garage|living room", "restaurant"),
        ("people sitting on a train", "ferry|airplane", "car"),
        ("a bench by a lake at night", "sunset", "day"),
        ("a man walking in the rain", "snow", "sand"),
        ("a chair next to a window", "door|fireplace", "clock"),
        ("a man riding a wave on a surfboard", "kayak", "skateboard"),
        ("a man riding a skate board", "scooter", "surfboard"),
        ("a horse on a dirt road", "gravel|paved", "wooden"),
        ("a man in a grassy field", "snowy|muddy", "rocky"),
        ("a busy street at night", "empty", "closed"),
        ("a busy street with stores", "empty", "closed"),
        ("a person on a snowy hill", "grassy|rocky", "sandy"),
        ("a room with a red wall", "blue|green", "taxi"),
        ("a kitchen with wood cabinets", "metal|plastic", "wooden"),
    ],
)
def test_a_thing_becomes_another_of_its_scene(caption, wanted, refused, open_world):
    found = brought_in(caption, open_world)
    assert set(wanted.split("|")) <= found
    assert found.isdisjoint(refused.split("|"))


@pytest.mark.parametrize(
    ("caption", "refused"),
    [
        ("a skier on a snowy hill", "grassy|rocky"),
        ("skiers on a snowy hill", "grassy|rocky"),
        ("a busy street with a pedestrian", "empty"),
        ("a busy street with pedestrians", "empty"),
        ("two men on a busy street", "empty"),
        ("a man with a skateboard on the stairs", "bicycle"),
    ],
)
def test_what_clashes_with_another_word_is_not_brought_in(caption, refused, open_world):
    assert brought_in(caption, open_world).isdisjoint(refused.split("|"))


@pytest.mark.parametrize("lists", [FAMILY_TIES, TIES, CLASHES], ids=["families", "things", "clashes"])
def test_what_binds_or_clashes_does_so_in_the_plural(lists):
    nouns = {word for words in lists.values() for word in words if is_noun(word)} - {"shear"}  # shears are one thing
    assert len(nouns) > 50
    assert {word for word in nouns if word not in (base_noun(plural(word)), singular_form(plural(word)))} == set()


def test_a_coloured_thing_becomes_none_of_one_colour(open_world):
    assert "taxi" in brought_in("a car parked on a street", open_world)
    assert brought_in("a purple car parked on a street", open_world).isdisjoint({"taxi", "police car", "ambulance"})
    assert brought_in("a red stop sign", open_world).isdisjoint({"blue", "street lamp"})
    assert brought_in("a red apple and a green bush", open_world).isdisjoint({"blue", "purple", "pink"})


def test_every_word_has_a_family_and_every_family_two_things():
    lines = [line for line in FAMILIES.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    found = {family.name: family for several in families().of.values() for family in several}
    assert len(found) == len(lines)
    for name, family in found.items():
        words = [word for group in family.groups for word in group]
        assert len(words) == len(set(words)), name
        assert len(family.brought_in) >= 1
        assert all(word and plural(word) for word in words), name
