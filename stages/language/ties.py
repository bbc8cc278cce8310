"""Words that bind a thing to its caption: on a pizza with cheese, the pizza stays."""

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
    "fruit": word_set("hang vine tree peel juice jam smoothie branch grow jar blender"),
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
    "ball": BALL_GAMES | word_set("kick yarn pool swing bowl crystal hoop net"),
    "kite": word_set("party birthday hot bunch"),
    "instrument": word_set("bow string orchestra drumstick band room"),
    "road vehicle": word_set(
        """show race stop trash trailer log load carry tow haul firefighter fireman hospital officer museum camp plow wash
        ramp construction toy cart boat ice ladder"""
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
    "appliance": word_set("pot pan kettle cook bake tray cookie laundry"),
    "screen": word_set("remote game video type typing keyboard mouse selfie"),
    "public building": word_set("book painting exhibit art child student bus train bed office"),
    "roof": word_set("tile chimney weather"),
    "floor cover": word_set("bathroom mouse welcome bath door hallway hall stair staircase"),
    "on a wall": word_set(
        """tower church steeple station roman numeral hand lipstick shave makeup selfie reflection bathroom alarm mount frame"""
    ),
    "lamp": word_set("street candle shade cake birthday"),
    "pot": word_set("stove boil cook soup flower plant fish stir"),
    "plate": word_set("license home soup satellite solar"),
    "cutlery": word_set("cut slice soup cereal ice cream block wall row"),
    "vessel": word_set("teapot tea coffee wine beer pen pencil toothbrush honey jam pickle spice"),
    "vase": word_set("honey jam lid pickle spice candle"),
    "bedding": word_set("rain picnic beach covered cover"),
    "shelter": word_set("camp camping circus wedding"),
    "hot drink": word_set("machine maker bean lemon"),
    "cold drink": word_set("ice mint barrel vineyard grape bar child"),
    "hand tool": word_set("nail board screw log chop"),
    "long tool": word_set("leaf hay"),
    "street furniture": word_set("swing water spray letter coin raccoon"),
    "outdoor seat": word_set("dining table umbrella"),
    "building": word_set("eat eating table menu train sand tree bird toy"),
    "tower": word_set("clock bell city water cell control sand tulip church"),
    "barrier": word_set("barb barbed tennis trim prune"),
    "crossing": word_set("river train car bus truck stream canyon"),
    "tree": word_set(
        """leaf branch bark trunk fruit hang eat eating forest decorate christmas climb apple palm monkey koala bird
        owl house"""
    ),
    "palm": word_set("coconut desert beach sandy island tropical"),
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


def is_tied(name: str, family: str, present: AbstractSet[str]) -> bool:
    """Return whether another word of the caption binds a thing.

    Args:
        name: a noun in the singular.
        family: of families.txt.
        present: the other words of the caption.
    """
    return not present.isdisjoint(TIES.get(name, frozenset()) | FAMILY_TIES.get(family, frozenset()))
