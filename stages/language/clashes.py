"""Words beside which no edit brings a thing, or a word for one, in: a fence that is wooden becomes no hedge."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from stages.language.contexts import word_set
from stages.language.ties import WINTER

PLATED = word_set(
    """plate food dish bowl tray pizza sandwich hamburger salad steak omelet omelette pie donut cake burrito soup cup
    glass"""
)

CLASHES: Mapping[str, frozenset[str]] = {
    "snowy": word_set(
        """graze grazing flower bloom bikini swim summer soccer baseball sunny green butterfly bee crop hay kite frisbee tent
        zebra giraffe elephant lion beach desert"""
    ),
    "grassy": word_set("ski skier skiing snow snowboard snowboarder sled ice winter cold covered"),
    "muddy": word_set("ski skier skiing snow snowboard snowboarder sled ice winter graze grazing flower frisbee kite picnic"),
    "rocky": word_set("ski skier skiing snow snowboard snowboarder sled ice winter soccer frisbee"),
    "paved": word_set("dirt dust motocross"),
    "cobblestone": word_set("country field farm forest mountain rural highway desert dirt wood"),
    "gravel": word_set("city dirt"),
    "dirt": word_set("city"),
    "busy": word_set("empty snow rural country field"),
    "empty": word_set(
        """people crowd traffic car bus truck person man woman city filled lot bunch full many taxi pedestrian motorcycle
        vehicle market"""
    ),
    "fireplace": word_set("bathroom kitchen street city tree road park beach vase toilet"),
    "door": word_set("vase plant table desk sit view"),
    "window": word_set("tree park street"),
    "wardrobe": word_set("stand nightstand night_stand"),
    "garage": word_set("baby bed pillow suit dress"),
    "office": word_set("baby dog cat horse bed child"),
    "sunset": word_set("city street snow"),
    "hot air balloon": word_set("runway airport park parked land take formation grassy gate hangar"),
    "hedge": word_set("wooden metal wire iron chain picket stone brick white wood leather"),
    "bush": word_set("lean leaning wooden metal top"),
    "tree": word_set("lean leaning window top"),
    "fence": word_set("stone"),
    "barn": word_set("city street urban intersection airport bus taxi downtown sidewalk station beach tall"),
    "pie": word_set("icing frosting"),
    "croissant": word_set("icing frosting filling"),
    "cow": word_set("desert beach roof rooftop cliff"),
    "sheep": word_set("desert roof rooftop cliff"),
    "horse": word_set("roof rooftop cliff"),
    "llama": word_set("roof rooftop desert milk"),
    "goat": word_set("desert"),
    "bus": word_set("farmer dirt"),
    "car": word_set("farmer"),
    "steam locomotive": word_set("street"),
    "train": word_set("street"),
    "freight train": word_set("street station"),
    "coffee": word_set("lemon"),
    "hot chocolate": word_set("lemon"),
    "wine": word_set("ice mint"),
    "orange juice": word_set("mint"),
    "fire hydrant": word_set("hallway room hall office shop"),
    "parking meter": word_set("hallway room hall park"),
    "phone booth": word_set("hallway room pole"),
    "mailbox": word_set("hallway room pole"),
    "beach": word_set("steep house grassy roof sheep goat"),
    "cliff": word_set("sheep herd walk run"),
    "castle": word_set("city street urban intersection airport taxi downtown sidewalk station small wooden"),
    "hotel": word_set("field farm country forest small"),
    "store": word_set("field farm country forest mountain hill tall"),
    "restaurant": word_set("field farm country forest mountain hill"),
    "lighthouse": word_set("field city park forest street town"),
    "windmill": word_set("city street town rocky"),
    "ship": word_set("lake pond river canal small"),
    "ferry": word_set("lake pond river canal small beach"),
    "giraffe": word_set("grass graze grazing pasture rock"),
    "buffalo": word_set("tree"),
    "rhinoceros": word_set("tree"),
    "elephant": word_set("small little rock bird"),
    "shelf": PLATED | word_set("sit man woman person people boy girl dog cat top child"),
    "bench": PLATED | word_set("desk kitchen room"),
    "spoon": word_set("pizza sandwich steak"),
    "desk": PLATED,
    "armchair": word_set("wooden metal plastic"),
    "stool": word_set("lay laying lie lying sleep sleeping dog two three"),
    "cutting board": word_set("salad soup spaghetti pasta rice omelet omelette fries fry egg stew bean blue food person"),
    "snow": word_set(
        """sit laptop book guitar cat lion tiger elephant giraffe zebra monkey bikini beach desert summer flower snake
        lizard"""
    ),
    "grass": word_set("beach desert road"),
    "sand": WINTER | word_set("field road park tractor"),
    "rabbit": word_set("leash skateboard car beach swim bark snow drink truck motorcycle large big chair"),
    "cat": word_set("beach snow lake swim branch"),
    "goose": word_set("fence"),
    "peacock": word_set("road"),
    "log": word_set("mountain zoo wire"),
    "snowboard": word_set("snowshoe"),
    "helicopter": word_set("passenger"),
    "motorcycle": word_set("sidewalk trick baby child"),
    "bicycle": word_set("dog stair"),
    "kite": word_set("snow indoor room chair"),
    "surfboard": word_set("chair child baby"),
    "drone": word_set("string tail"),
    "skirt": word_set("tie man boy guy"),
    "ambulance": word_set("field farm forest dirt row"),
    "fire truck": word_set("field farm forest dirt row"),
    "police car": word_set("field farm forest dirt row"),
    "taxi": word_set("field farm forest dirt country"),
    "dry": word_set("dog cat horse bird animal man woman"),
    "brown": word_set("flower rose tulip lily daisy carnation petal"),
    "green": word_set("flower rose tulip lily carnation"),
    "blue": word_set("rose tulip lily carnation"),
    "salad": word_set("stove pan pot oven"),
    "soup": word_set("fork chopstick pizza"),
    "milk": word_set("ice bar"),
    "beer": word_set("child boy girl baby breakfast ice"),
    "desert": word_set("tent flower tree rain"),
    "forest": word_set("stroller mower helicopter kite kites flying"),
    "piano": word_set("small"),
    "bed": word_set("table sill two three coffee cup vase"),
    "raft": word_set("row park parked harbor ocean sea dock pier ship"),
    "couch": word_set("around table dining vase coffee cup street wooden metal plastic"),
    "poster": word_set("square"),
    "basket": word_set("drink water soup"),
    "hat": word_set("rain"),
    "headband": word_set("beard man suit"),
    "new": word_set("museum antique vintage rusty abandoned"),
    "old": word_set("showroom modern"),
    "stormy": word_set("calm beach sunny"),
    "closed": word_set("rain fill filled full"),
    "taco": word_set("mustard onion ketchup"),
    "rainy": word_set("sunglasses snow sun"),
}
"""A thing → words beside which no edit brings it in."""


def clashes(word: str, present: AbstractSet[str]) -> bool:
    """Return whether a thing does not go with another word of the caption."""
    return not CLASHES.get(word, frozenset()).isdisjoint(present)
