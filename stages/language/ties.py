"""Words that bind a thing to its caption, and words beside which no edit brings it in.

With a wave in the caption a surfboard stays; a fence that is wooden becomes no hedge.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from stages.language.contexts import word_set

INDOORS = word_set(
    """bed couch sofa chair armchair rug carpet sink laptop pillow suitcase kitchen bathroom bedroom sill drawer
    blanket"""
)
BALL_GAMES = word_set(
    """tennis baseball basketball soccer football volleyball hockey golf cricket rugby bat racket racquet game match court goal
    catcher batter umpire pitcher player goalie team polo"""
)
WINTER = word_set("snow snowy ski skier skiing snowboard snowboarder snowboarding slope sled ice icy winter")
PLATED = word_set(
    """plate food dish bowl tray pizza sandwich hamburger salad steak omelet omelette pie donut cake burrito soup cup
    glass"""
)

FAMILY_TIES: Mapping[str, frozenset[str]] = {
    "pet": word_set(
        """leash collar frisbee bone bark walking mouse yarn litter sheepdog paw polar guide police sled ball stick herd fetch
        breed surfboard skateboard scratch"""
    ),
    "farm": INDOORS | word_set("roof rooftop jockey carriage saddle wool shear bell milk drawn plow rodeo sheepdog herder"),
    "savanna": INDOORS | word_set("circus"),
    "woodland": INDOORS | word_set("antler sleigh"),
    "hunter": INDOORS | word_set("mane teddy cub circus fish honey bamboo branch tree polar trainer"),
    "mount": word_set("jockey race polo cowboy cowgirl rodeo saddle police officer carriage jump"),
    "small animal": INDOORS,
    "climber": word_set("nut banana feeder nest ball bed couch sofa cat dog"),
    "perching bird": word_set("feather wing beak nest feeder cage shoulder"),
    "swimming bird": word_set("rubber toy wing neck feather"),
    "wading bird": word_set("neck beak leg fish feather"),
    "shore bird": word_set("ice snow zoo"),
    "yard bird": word_set("plate table oven dinner platter comb chick egg feather carve kitchen roast stuff cook"),
    "reptile": word_set("shell hump charmer"),
    "insect": word_set("web hive pollen honey shell wing spot"),
    "trade": word_set(
        """fire hose truck kitchen food pan stove oven restaurant bar hospital patient x-ray stethoscope plane airplane
        cockpit ship boat tank gun rifle tractor field barn garden plant engine car tool uniform badge motorcycle horse
        stage circus tray drink ladder scaffold wall net space rocket letter camera bread meat pizza cake instrument
        guitar crane building site roof hair"""
    ),
    "player": BALL_GAMES | word_set("ball field base mound pitch hoop stick helmet uniform rink puck"),
    "main dish": word_set("bowl slice box oven crust topping soup"),
    "handheld food": word_set("salsa half cut bun"),
    "sweet": word_set("birthday wedding candle bride groom stack syrup bowl"),
    "cut food": word_set("birthday wedding candle bride groom"),
    "fruit": word_set("hang tree peel juice jam smoothie branch grow jar blender"),
    "vegetable": word_set("grow garden plant carve halloween soup"),
    "side dish": word_set("bowl soup"),
    "hat": BALL_GAMES | WINTER | word_set("santa christmas crown wig motorcycle"),
    "top": BALL_GAMES | WINTER | word_set("tie rain umbrella lab"),
    "dress": word_set(
        """bride groom wedding bridal pool swim swimming beach wave water ocean dive surfboard snow rain umbrella man
        boy"""
    ),
    "trousers": WINTER | BALL_GAMES,
    "shoe": WINTER | BALL_GAMES | word_set("horse cowboy rain"),
    "suit": word_set("wet bathing diving"),
    "tie": word_set("uniform"),
    "jewel": word_set("pendant strap hand dial band chain charm pocket"),
    "eyewear": word_set("book reading lens"),
    "bag": word_set("strap rain raincoat rainy ceiling airport shoulder trunk hang beach pool"),
    "reading": word_set("shelf library bookshelf bookcase page type typing screen glasses desk store bookstore"),
    "device": word_set("talk call text texting selfie photographer lens game video movie phone"),
    "small care": word_set("brush tooth teeth hair shave shaving beard dog comb"),
    "gripping tool": word_set("hedge trim sheep paper hair cut cutting food salad wire"),
    "storage": word_set("kitchen bathroom"),
    "container": word_set("lid handle pizza tool cereal litter tissue flower laundry lunch ice"),
    "cycle": word_set("race police officer pedal sidecar trick rail ramp"),
    "board": word_set("dog cat rail"),
    "field game": (BALL_GAMES - {"game", "match", "team"}) | word_set("ball disc disk frisbee net dog pitch mound glove"),
    "court game": (BALL_GAMES - {"game", "match", "team"}) | word_set("ball net table hoop"),
    "wave rider": word_set("surfer surf surfing paddle kite sail"),
    "beach thing": word_set("wave surf surfer surfing"),
    "way": word_set(
        """car bus truck taxi van vehicle motorcycle traffic drive park parked busy city crowded carriage train store shop
        building light sign crosswalk intersection parade flood lined side ski snowboard skateboard skateboarder slope"""
    ),
    "room": word_set(
        """couch sofa bed chair table desk lamp sink toilet stove oven refrigerator counter cabinet dishwasher microwave
        mirror bathtub tub shower television tv fireplace rug furniture appliance island window dish food cook prepare
        bake eat cut wash brush tooth plate pot pan knife pizza cake wii game video sleep sleeping lie laying office computer
        laptop bicycle car curtain wall floor tile door shelf christmas wine drink meal fridge bath toiletries chef
        teeth blanket pillow vase toothbrush hair cooking eating living cupboard countertop bottle chest drawer dresser piano
        bookshelf bookcase chandelier carpet"""
    ),
    "transport": word_set(
        """stop station platform street road track top roof luggage driver double decker parked painted graffiti
        dog runway airport water snow side"""
    ),
    "weather": word_set("raincoat boot puddle bikini flower car window road"),
    "day": word_set(
        "light lit dark moon star sun neon lights sky traffic firework headlight lamp cloud cloudy bright beautiful"
    ),
    "front": word_set(
        """look looking light curtain pane glass view sunlight sill stained car bus train store building house church tower
        brick blind wash open closed frame handle knob shower garage refrigerator oven cabinet sliding screen shave makeup
        selfie reflection brush brushing bathroom sink television tv see display truck van plane airplane outside
        street door plant sun sunny"""
    ),
    "racket": BALL_GAMES | {"ball", "swing"},
    "ball": BALL_GAMES | word_set("kick yarn pool swing bowl crystal"),
    "kite": word_set("party birthday hot bunch"),
    "instrument": word_set("bow string orchestra drumstick band room"),
    "road vehicle": word_set(
        """show race stop trash trailer log load carry tow haul firefighter fireman hospital officer museum camp plow wash
        ramp construction toy cart boat ice"""
    ),
    "rail vehicle": word_set("toy model subway"),
    "cart": word_set("pumpkin shopping hot baby"),
    "aircraft": word_set("cockpit wing propeller paper toy model passenger hangar pilot board"),
    "boat": word_set("oar row fish fishing anchor pole paddle tour engine"),
    "big boat": word_set("helicopter tour"),
    "lying": word_set("cow horse sheep goat baby hospital crib"),
    "seat": word_set("dining swing wheel barber dentist"),
    "surface": word_set("around chair dining pool tennis ping massage operating exam"),
    "desk surface": word_set("chair around"),
    "bath": word_set("dish kitchen"),
    "appliance": word_set("pot pan kettle cook bake tray cookie"),
    "screen": word_set("remote game video type typing keyboard mouse selfie"),
    "public building": word_set("book painting exhibit art child student bus train bed office"),
    "roof": word_set("tile chimney weather"),
    "floor cover": word_set("bathroom mouse welcome bath door"),
    "on a wall": word_set(
        """tower church steeple station roman numeral hand shave makeup selfie reflection bathroom alarm mount frame"""
    ),
    "lamp": word_set("street candle shade cake birthday"),
    "pot": word_set("stove boil cook soup flower plant fish stir"),
    "plate": word_set("license home soup satellite solar"),
    "cutlery": word_set("cut slice soup cereal ice cream block wall row"),
    "vessel": word_set("teapot tea coffee wine beer pen pencil toothbrush honey jam pickle spice"),
    "vase": word_set("honey jam lid pickle spice candle"),
    "bedding": word_set("rain picnic beach"),
    "shelter": word_set("camp camping circus wedding"),
    "hot drink": word_set("machine maker bean lemon"),
    "cold drink": word_set("ice mint barrel vineyard grape bar child"),
    "hand tool": word_set("nail board screw log chop"),
    "long tool": word_set("leaf hay"),
    "street furniture": word_set("swing water spray letter coin raccoon"),
    "outdoor seat": word_set("dining table umbrella"),
    "building": word_set("eat eating table menu train sand tree bird toy"),
    "tower": word_set("clock bell city water cell control sand tulip"),
    "barrier": word_set("barb barbed tennis trim prune"),
    "crossing": word_set("river train car bus truck stream canyon"),
    "tree": word_set(
        """leaf branch bark trunk fruit hang eat eating forest decorate christmas climb apple palm monkey koala bird
        owl house"""
    ),
    "palm": word_set("coconut desert"),
    "conifer": word_set("christmas snow"),
    "flower": word_set("pollen petal water"),
    "rock": word_set("climb climber wall concert"),
    "post": word_set("fishing ski tent flag sign light totem barber fire lamp"),
    "land": BALL_GAMES
    | word_set(
        """lush grassy green grass graze grazing ball play playing cow sheep horse zebra giraffe elephant lion
        goat cattle bison buffalo llama herd tractor crop plow hay waterfall trail camel cactus sand dune skate bench
        amusement swing"""
    ),
    "height": WINTER
    | word_set(
        """dolphin whale shark surfboard wave ocean sea water sand palm umbrella chair surfer surfing surf shore sandy
        rock bikini swimsuit anchor boat seagull bird crab castle flag top lake shell ship waterfall"""
    ),
    "water": word_set(
        """wave surf surfer surfing surfboard shark whale dolphin beach shore island coast ship cruise bridge swan pool water
        harbor seagull pelican cliff lighthouse cow sheep sailboat fall flow"""
    ),
    "ground": WINTER - {"snow"}
    | word_set(
        """eat tall green lush cut long graze grazing field castle shell crab ocean beach cover covered desert tree background
        track surface penguin polar mountain"""
    ),
}
"""A family → words that bind its things: where one of them stands in the caption, nothing can take their place."""

TIES: Mapping[str, frozenset[str]] = {
    "elephant": word_set("trunk tusk"),
    "zebra": word_set("stripe striped"),
    "giraffe": word_set("neck leaf"),
    "bird": word_set("wing beak nest feather feeder fly stand beach water swim wire"),
    "peacock": word_set("feather tail"),
    "camel": word_set("hump"),
    "chair": word_set("dining"),
    "bed": word_set("bedroom hotel bunk hospital room"),
    "toothbrush": word_set("brush tooth teeth"),
    "ski": word_set("ride riding skier"),
    "snowboard": word_set("snowboarder snowboarding"),
    "skateboard": word_set("skateboarder skateboarding"),
    "umbrella": word_set("rain chair"),
    "clock": word_set("building"),
    "subway train": word_set("station subway platform"),
    "desk": word_set("office"),
    "store": word_set("front"),
    "train station": word_set("train"),
    "field": word_set("farm barn flower"),
    "turtle": word_set("shell"),
    "house": word_set("dog bird tree"),
    "pizza": word_set("cheese pepperoni mushroom tomato olive onion pepper basil ketchup spinach"),
    "television": word_set("watch watching remote"),
}
"""A thing → words that bind it."""

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
        lizard zebra"""
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
    "closed": word_set("rain"),
    "rainy": word_set("sunglasses snow sun"),
}
"""A thing → words beside which no edit brings it in."""


def is_tied(name: str, family: str, present: AbstractSet[str]) -> bool:
    """Return whether another word of the caption binds a thing.

    Args:
        name: a noun in the singular.
        family: of families.txt.
        present: the other words of the caption.
    """
    return not present.isdisjoint(TIES.get(name, frozenset()) | FAMILY_TIES.get(family, frozenset()))


def clashes(word: str, present: AbstractSet[str]) -> bool:
    """Return whether a thing does not go with another word of the caption."""
    return not CLASHES.get(word, frozenset()).isdisjoint(present)
