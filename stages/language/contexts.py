"""Which words fit where in a caption: "in a chair" but not "in a stool", "a glass of milk", "a plaid shirt"."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

RIDDEN = frozenset(
    """camel donkey elephant horse mule pony zebra
    bicycle motorcycle scooter skateboard sled snowboard surfboard tricycle""".split()  # noqa: SIM905 - read as words
)
"""Things that one rides: who rides a bicycle down the street does not ride an ambulance."""


def _words(text: str) -> frozenset[str]:
    """Return the words of a list, in which a compound has underscores."""
    return frozenset(word.replace("_", " ") for word in text.split())


UNFIT: Mapping[str, frozenset[str]] = {
    "in": _words(
        """bench couch sofa stool table desk counter shelf workbench coffee_table picnic_table motorcycle bicycle scooter
        skateboard surfboard snowboard plate tray cutting_board paper_plate bridge pier dock boardwalk hill beach cliff branch
        rock log carpet rug mat tree_stump ladder pole"""
    ),
    "on": _words(
        """car truck bus van taxi jeep ambulance fire_truck police_car pickup_truck school_bus limousine convertible
        double-decker_bus dump_truck garbage_truck forest desert park garden meadow parking_lot bowl pot pan mug glass
        house hotel castle barn store restaurant school garage warehouse cabin factory lake pond swimming_pool"""
    ),
    "at": _words("shelf dresser coffee_table workbench"),
    "around": _words("shelf dresser counter"),
    "with": _words("forest desert meadow"),
    "through": _words("parking_lot beach hill"),
    "into": _words("bench couch sofa stool table desk counter shelf plate"),
    "flying": _words("car truck"),
    "cutting": _words("stew curry soup spaghetti pasta risotto lasagna"),
}
"""The word before a noun and its article → the words that do not fit behind it."""

MEASURES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (_words("glass bottle pitcher jug carton mug pint"), _words("wine beer milk water orange_juice lemonade cider soda juice")),
    (_words("cup mug pot"), _words("coffee tea hot_chocolate")),
    (
        _words("bowl plate pot pan"),
        _words("soup salad rice cereal pasta stew oatmeal popcorn spaghetti curry noodles fruit ramen"),
    ),
    (_words("slice piece"), _words("pizza cake pie bread cheesecake toast")),
    (_words("herd"), _words("cattle cow horse zebra sheep goat elephant deer buffalo antelope giraffe bison")),
    (_words("flock"), _words("sheep goat")),
    (_words("flock"), _words("bird goose duck pigeon seagull pelican flamingo")),
    (_words("pack"), _words("dog wolf hyena")),
)
"""Measures and the words that they can be of, which replace one another there: a slice of cake, but no slice of soup."""

ATTRIBUTES = (
    ("material", ("wooden", "metal", "plastic")),
    ("material", ("brick", "stone", "concrete")),
    ("material", ("leather", "velvet")),
    ("material", ("marble", "bronze")),
    ("material", ("ceramic", "glass")),
    ("pattern", ("striped", "plaid", "checkered", "floral")),
    ("weather", ("sunny", "cloudy", "rainy", "foggy", "snowy", "stormy")),
)
"""Words for what something is made of, its pattern and the weather: each may stand in place of the others of its line."""

ONLY_REPLACED = frozenset(["bird", "cattle", "noodles", "fruit", "ramen"])
"""Words of MEASURES that no edit brings in: they are general, or stand only in the plural."""

COLOURED_BY_NATURE = _words(
    """field forest desert park garden meadow pasture beach hill hillside mountain cliff lake river ocean sea pond stream
    grass sand snow gravel mud tree palm_tree bush branch rock broccoli lettuce spinach cabbage rice corn"""
)
"""Things that have one colour: a green field does not become a pink one."""

TIES: Mapping[str, frozenset[str]] = {
    "surfboard": _words("wave waves surfer surfers surfing surf surfs"),
    "skateboard": _words("skateboarder skateboarders skateboarding skater skate"),
    "snowboard": _words("snowboarder snowboarders snowboarding"),
    "ski": _words("skier skiers skiing riding"),
    "elephant": _words("trunk trunks tusk tusks"),
    "zebra": _words("stripes striped"),
    "giraffe": _words("neck necks"),
    "bird": _words("fly flying flies wings beak nest wire feathers feeder swimming long"),
    "peacock": _words("feathers feather tail"),
    "candle": _words("cake birthday cupcake blowing"),
    "hot dog": _words("bun buns"),
    "chair": _words("dining"),
    "ball": _words("racket rackets swinging bat tennis baseball soccer kicking"),
    "store": _words("apple"),
    "chick": _words("nest"),
    "toothbrush": _words("brushing teeth"),
    "sink": _words("kitchen stove oven refrigerator dishwasher dishes"),
    "stove": _words("cooking pan pot kettle"),
    "oven": _words("cooking baking baked"),
    "knife": _words("cut cutting cuts sliced slicing"),
    "cell phone": _words("talking talks calling texting"),
    "phone": _words("talking talks calling texting"),
    "camera": _words("picture pictures photo photos taking lens"),
    "river": _words("bridge"),
    "hamburger": _words("bun buns"),
    "watch": _words("strap hands dial band chain"),
    "clock": _words("building buildings tower towers church mounted station steeple roman numerals"),
    "field": _words("lush green grassy grass grazing baseball soccer football player players game bat ball"),
    "beach": _words("surfboard surfboards wave waves ocean sea water sand palm umbrellas surfing shore sandy rocks"),
    "ocean": _words("wave waves surfer surfing surfboard shark whale whales ship ships beach shore"),
    "sea": _words("wave waves surfer surfing surfboard shark whale whales ship ships beach shore"),
    "forest": _words("tree trees"),
    "mountain": _words("snow ski skis skier slope top snowy mountains"),
    "hill": _words("ski skis skier skiers skiing snow snowboard snowboarder slope top"),
    "snow": _words("ski skis skier skiers skiing snowboard snowboarder slope sled snowman covered snowy mountain"),
    "grass": _words("eating eats eat grazing tall green lush field cut dry long"),
    "bridge": _words("over train trains car cars bus under river"),
    "train station": _words("train trains subway platform"),
    "glasses": _words("wine beer bottle bottles table drink"),
    "barber": _words("hair cutting"),
    "tree": _words("leaves branch branches bark trunk hanging eating forest fruit squirrel climbing"),
    "branch": _words("leaves"),
    "baseball player": _words("bat base baseball field game pitch mound glove catcher ball"),
    "tennis player": _words("racket racquet tennis court ball"),
    "soccer player": _words("soccer field ball goal kicking"),
    "basketball player": _words("basketball hoop ball court"),
}
"""A thing → words that bind it: where one of them stands in the caption, nothing can take the thing's place."""


def attribute(word: str) -> tuple[str, tuple[str, ...]] | None:
    """Return what a word says of a thing ("material", "pattern" or "weather") and the words that may replace it, or None."""
    return next(((kind, tuple(w for w in words if w != word)) for kind, words in ATTRIBUTES if word in words), None)


def measured(measure: str, name: str) -> tuple[str, ...] | None:
    """Return what may replace ``name`` behind a measure such as "slice of"; None if the list knows no such measure of it."""
    for measures, words in MEASURES:
        if measure in measures and name in words:
            return tuple(sorted(words - ONLY_REPLACED - {name}))
    return None


def is_tied(name: str, present: AbstractSet[str]) -> bool:
    """Return whether another word of the caption binds a thing.

    Args:
        name: a noun in the singular.
        present: the other words of the caption.
    """
    return not TIES.get(name, frozenset()).isdisjoint(present)


def words_brought_in() -> frozenset[str]:
    """Return the words of MEASURES and of ATTRIBUTES that an edit may bring in."""
    measures = frozenset[str]().union(*(words for _, words in MEASURES)) - ONLY_REPLACED
    return measures.union(*(words for _, words in ATTRIBUTES))
