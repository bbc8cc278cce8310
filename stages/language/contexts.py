"""Which words fit where in a caption: what one holds and wears, "in a chair" but not "in a stool", a plaid shirt.

Families are those of families.txt; where the words around say nothing of a thing's family, the thing stays. A verb stands for
all its forms ("ride"), a noun for its plural too.
"""

from collections.abc import Mapping


def word_set(text: str) -> frozenset[str]:
    """Return the words of a list, in which a compound has underscores."""
    return frozenset(word.replace("_", " ") for word in text.split())


RIDDEN = frozenset(
    """camel donkey elephant horse mule pony zebra
    bicycle motorcycle scooter skateboard sled snowboard surfboard tricycle""".split()  # noqa: SIM905 - read as words
)
"""Things that one rides: who rides a bicycle down the street does not ride an ambulance."""

ROOMS = word_set("bathroom kitchen living_room bedroom desk_thing")
"""Families of things that are not alike: they replace one another in "a bathroom with a sink and a toilet" only."""

ANIMALS = word_set("pet farm savanna woodland hunter small_animal climber reptile big_reptile")
CLOTHES = word_set("hat top dress trousers shoe scarf tie jewel suit eyewear")
VEHICLES = word_set("road_vehicle rail_vehicle cycle aircraft boat big_boat")

SUBJECT = word_set(
    """up_of close-up_of closeup_of view_of image_of photo_of photograph_of picture_of painting_of drawing_of
    illustration_of shot_of display_of field_of variety_of"""
) | {""}
"""What stands before the first thing of a caption."""

ANYWHERE = SUBJECT | word_set(
    "with without and next_to close_to near beside behind alongside front_of have including featuring"
)
"""What may stand before a thing of any family; behind words that stand neither here nor in OBJECTS, a thing stays."""

OBJECTS: Mapping[str, frozenset[str]] = {
    "hold": word_set(
        """pet bag reading device instrument fruit vegetable sweet handheld_food racket toy toy_of_a_dog ball small_care writing
        gripping_tool hand_tool long_tool beach_thing kite snow_gear pot plate flower container vessel"""
    ),
    "carry": word_set("bag reading instrument toy ball beach_thing snow_gear container plate racket"),
    "wear": CLOTHES | {"clothes of a pet"},
    "drink": word_set("hot_drink cold_drink"),
    "eat": word_set("handheld_food main_dish sweet fruit"),
    "ride": word_set("mount cycle board snow_gear"),
    "drive": word_set("road_vehicle"),
    "play": word_set("instrument field_game court_game"),
    "game of": word_set("field_game court_game"),
    "read": word_set("reading"),
    "use": word_set("device"),
    "fly": word_set("kite"),
    "feed": word_set("farm savanna woodland climber swimming_bird"),
    "pet": word_set("pet farm"),
    "hug": word_set("toy pet"),
    "throw": word_set("ball toy_of_a_dog"),
    "catch": word_set("ball toy_of_a_dog"),
    "chase": word_set("ball toy_of_a_dog"),
    "cut": word_set("cut_food fruit vegetable"),
    "slice": word_set("cut_food fruit vegetable"),
    "sell": word_set("fruit vegetable sweet flower handheld_food"),
    "bake": word_set("sweet"),
    "serve": word_set("main_dish sweet"),
    "chop": word_set("fruit vegetable"),
    "peel": word_set("vegetable"),
    "push": word_set("cycle"),
    "pull": word_set("cart"),
    "open": word_set("appliance"),
    "load": word_set("container"),
    "stack": word_set("container"),
    "look at": ANIMALS | word_set("savanna device aircraft reading"),
    "on": word_set(
        """lying perch outdoor_seat seat desk_surface surface plate board rock ground height cycle flower reading crossing
        bedding floor_cover roof under_an_insect transport wave_rider slope boat big_boat way"""
    ),
    "top of": word_set(
        "lying perch outdoor_seat seat desk_surface surface plate rock ground height reading board wave_rider slope"
    ),
    "atop": word_set("lying perch outdoor_seat seat desk_surface surface plate rock ground height reading"),
    "onto": word_set("lying perch outdoor_seat seat surface plate rock transport boat"),
    "off": word_set("transport"),
    "for": word_set("transport"),
    "down": word_set("way"),
    "in": word_set(
        """container parked land water dress suit top hat trousers shoe road_vehicle boat vase ground public_building
        building workplace room weather"""
    ),
    "inside": word_set("container room workplace"),
    "inside of": word_set("container room workplace"),
    "outside": word_set("building"),
    "outside of": word_set("building"),
    "from": word_set("drinking_vessel crossing"),
    "at": word_set("device day"),
    "under": word_set("surface seat outdoor_seat crossing"),
    "underneath": word_set("surface seat outdoor_seat crossing"),
    "below": word_set("surface crossing"),
    "over": word_set("land water outdoor_seat"),
    "above": word_set("land water bath storage surface"),
    "across": word_set("land water crossing"),
    "through": word_set("land"),
    "along": word_set("water barrier"),
    "by": word_set("water barrier post building street_furniture sign seat outdoor_seat tree"),
    "past": word_set("building barrier sign street_furniture"),
    "against": word_set("building barrier post tree"),
    "between": word_set("tree palm conifer building post"),
    "up": word_set("post"),
    "tied to": word_set("crossing post tree barrier"),
    "side of": word_set("building"),
    "middle of": word_set("land water"),
    "edge of": word_set("land water height"),
    "vase of": word_set("flower"),
}
"""A verb or preposition → the families whose things may change behind it; see also ANYWHERE."""

POSTURES = word_set("sit stand rest lie lay display place be")
"""Verbs of things of any family."""

SUBJECTS: Mapping[str, frozenset[str]] = {
    "sleep": ANIMALS,
    "look": ANIMALS | {"trade"},
    "stare": ANIMALS,
    "walk": ANIMALS | word_set("wading_bird shore_bird yard_bird swimming_bird shellfish trade"),
    "cross": word_set("farm savanna woodland hunter road_vehicle"),
    "drink": word_set("farm savanna woodland hunter small_animal"),
    "eat": word_set("farm savanna woodland small_animal"),
    "graze": word_set("farm savanna woodland"),
    "run": word_set("farm savanna hunter"),
    "swim": word_set("swimming_bird large_sea_animal small_sea_animal seal"),
    "jump": word_set("large_sea_animal"),
    "fly": word_set("aircraft kite perching_bird shore_bird"),
    "perch": word_set("any_bird perching_bird climber"),
    "park": VEHICLES,
    "drive": word_set("road_vehicle"),
    "travel": word_set("road_vehicle rail_vehicle"),
    "come": word_set("road_vehicle rail_vehicle"),
    "go": word_set("road_vehicle rail_vehicle"),
    "move": word_set("road_vehicle rail_vehicle"),
    "pass": word_set("road_vehicle rail_vehicle"),
    "stop": word_set("road_vehicle rail_vehicle"),
    "pull": word_set("rail_vehicle cart"),
    "tie": word_set("boat big_boat"),
    "arrive": word_set("rail_vehicle"),
    "float": word_set("boat big_boat sea harbor swimming_bird"),
    "sail": word_set("boat big_boat sea harbor"),
    "dock": word_set("boat big_boat sea harbor"),
    "anchor": word_set("boat big_boat sea harbor"),
    "take": word_set("aircraft"),
    "land": word_set("aircraft"),
    "hang": word_set("lamp sign on_a_wall dress top"),
    "lean": word_set("cycle instrument"),
    "bloom": word_set("flower"),
    "pose": word_set("trade player"),
    "smile": word_set("trade player"),
}
"""A verb → the families whose things do it: where another thing does it, the thing stays."""

COMPLETED_BY = word_set("with full filled covered made surrounded containing topped decorated shaped loaded 's for like")
"""Words that say more about the thing before them, which stays: a shopping cart full of groceries."""

COMPLETED = word_set("vase fruit_bowl cut_food plate handheld_food main_dish sweet")
"""Families that change before such words all the same."""

UNFIT: Mapping[str, frozenset[str]] = {
    "in": word_set("bench couch sofa stool motorcycle bicycle scooter bush"),
    "on": word_set("car truck bus van taxi jeep ambulance fire_truck police_car pickup_truck drone"),
    "under": word_set("shelf stool"),
    "through": word_set("parking_lot"),
    "fly": word_set("balloon"),
    "against": word_set("bush hedge"),
    "top of": word_set("grass sand snow"),
    "for": word_set("airplane"),
}
"""A word → the things that do not fit behind it."""

MEASURES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (word_set("glass pitcher jug pint"), word_set("wine beer milk water orange_juice lemonade cider soda juice")),
    (word_set("bottle"), word_set("wine beer milk water")),
    (word_set("cup mug pot"), word_set("coffee tea hot_chocolate")),
    (word_set("bowl"), word_set("soup salad rice cereal pasta stew oatmeal popcorn spaghetti curry noodles fruit ramen")),
    (word_set("plate pan"), word_set("salad rice pasta spaghetti curry noodles soup cereal oatmeal")),
    (word_set("slice piece"), word_set("pizza cake pie bread cheesecake toast")),
    (word_set("herd"), word_set("cattle cow horse sheep goat deer")),
    (word_set("herd"), word_set("elephant zebra buffalo antelope giraffe")),
    (word_set("flock"), word_set("sheep goat")),
    (word_set("flock"), word_set("goose duck pigeon seagull pelican flamingo")),
    (word_set("pack"), word_set("dog wolf hyena")),
)
"""Measures and the words that they can be of, which replace one another there: a slice of cake, but no slice of soup."""

ONLY_REPLACED = frozenset(
    """cattle noodles fruit ramen toast cheesecake cider soda juice water stew curry hyena oatmeal popcorn
    cereal""".split()  # noqa: SIM905 - read as words
)
"""Words of MEASURES that no edit brings in: they are general, too like others, or stand only in the plural."""

FURNITURE = word_set(
    """bench chair table desk stool shelf cabinet box fence gate door ladder post railing chest dresser bed crate bowl
    spoon spatula"""
)
TEXTILES = word_set(
    "shirt dress skirt sweater blanket pillow tie scarf tablecloth curtain couch sofa rug umbrella jacket apron vest"
)
PLACES = word_set("day morning afternoon street road city town forest park field landscape")

ATTRIBUTES: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...] = (
    ("material", ("wooden", "metal", "plastic"), FURNITURE),
    (
        "material",
        ("brick", "stone", "concrete"),
        word_set("house building wall tower bridge fireplace path church barn"),
    ),
    ("material", ("leather", "velvet"), word_set("couch sofa armchair chair boot shoe jacket bag handbag stool")),
    ("material", ("marble", "bronze"), word_set("statue sculpture bust")),
    ("material", ("ceramic", "glass"), word_set("bowl vase jar mug cup plate pot teapot pitcher")),
    ("pattern", ("striped", "plaid", "checkered", "floral"), TEXTILES),
    ("weather", ("sunny", "cloudy", "rainy", "foggy"), PLACES),
    ("weather", ("cloudy", "stormy"), word_set("sky")),
    ("ground", ("dirt", "gravel", "paved", "cobblestone"), word_set("road street path driveway alley sidewalk walkway lane")),
    ("ground", ("grassy", "snowy", "muddy"), word_set("field yard lot area")),
    ("ground", ("grassy", "snowy", "rocky"), word_set("hill hillside mountain mountainside slope")),
    ("traffic", ("busy", "empty"), word_set("street road highway intersection city_street sidewalk")),
    ("colour", ("white", "red", "blue", "green", "yellow"), word_set("wall door ceiling room curtain carpet tile")),
)
"""Words for what something is made of, its pattern and the weather, and the things of which they are said: there each may stand
in place of the others of its line."""

COLOURED_BY_NATURE = word_set(
    """field forest desert park garden meadow pasture beach hill hillside mountain cliff lake river ocean sea pond stream
    water sky grass sand snow gravel mud rock stop_sign traffic_light fire_truck fire_engine ambulance police_car school_bus
    taxi taxi_cab cab cone"""
)
"""Things that have one colour, as plants and food have: a green field does not become a pink one."""

COATS_OF_PETS = word_set("black white brown gray grey")
"""Colours that a cat, a dog and a horse have: a green dog is none that could be a green cat."""

OF_ONE_COLOUR = word_set(
    """tiger lion leopard giraffe zebra elephant rhinoceros flamingo fox raccoon skunk badger hedgehog crow eagle pelican
    peacock parrot ladybug bee sunflower daisy saxophone trumpet"""
) | frozenset(["police car", "ambulance", "fire truck", "taxi", "stop sign", "street lamp", "fire hydrant", "wolf"])
"""Things that no edit brings in behind a colour."""

NEVER_BRIGHT = word_set(
    """toilet sink bathtub mirror washing_machine refrigerator stove dishwasher microwave television fireplace bookshelf piano
    coffee_table laptop snow sand grass tree bush hedge log bear goose swan castle lighthouse hay"""
)
"""Things that no edit brings in behind another colour than black, white, brown and grey."""

BINDING_ADJECTIVES = word_set(
    """round square oval striped spotted plaid checkered floral curly polar stuffed high baby knitted woven wicker
    straw feathered neon steaming baked fried boiled glazed"""
)
"""Adjectives that say of which kind a thing is: it stays."""


ALIKE = {"wood": "wooden", "cement": "concrete", "checked": "checkered"}
"""Words of materials and patterns that nothing brings in → the word of ATTRIBUTES that changes as they do."""


def attribute(word: str) -> str | None:
    """Return what a word says of a thing ("material", "pattern", "weather", "ground", "traffic" or "colour"), or None."""
    word = ALIKE.get(word, word)
    return next((kind for kind, words, _ in ATTRIBUTES if word in words), None)


def other_attributes(word: str, thing: str) -> tuple[str, ...]:
    """Return the words that may replace a material, a pattern or the weather of a thing, a noun in the singular."""
    word = ALIKE.get(word, word)
    rows = (words for _, words, things in ATTRIBUTES if word in words and thing in things)
    return tuple(other for other in next(rows, ()) if other != word)


def measured(measure: str, name: str) -> tuple[str, ...] | None:
    """Return what may replace ``name`` behind a measure such as "slice of"; None if the list knows no such measure of it."""
    for measures, words in MEASURES:
        if measure in measures and name in words:
            return tuple(sorted(words - ONLY_REPLACED - {name}))
    return None


def words_brought_in() -> frozenset[str]:
    """Return the words of MEASURES and of ATTRIBUTES that an edit may bring in."""
    measures = frozenset[str]().union(*(words for _, words in MEASURES)) - ONLY_REPLACED
    return measures.union(*(words for _, words, _ in ATTRIBUTES))
