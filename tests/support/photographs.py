"""Captions of photographs as BLIP writes them, by a seeded grammar: what people photograph, in BLIP's turns of phrase."""

import random
import re

GRAMMAR = {
    "caption": """{person} {sport} | {person} {holding} {handheld} | {person} {worn} | {person} {worn} {placed_person}
        | {animals} | {animals} | {vehicles} | {vehicles} | {room} | {room} | {food} | {food} | {street} |
        {street} | {objects} | {objects} | {scene} | {people} | {worker} | {close}""",
    "person": """a man | a woman | a boy | a girl | a person | a young man | a little girl | an older woman""",
    "sport": """riding a wave on top of a {color} surfboard | riding a wave on a surfboard | riding skis down a snow
        covered slope | standing on skis in the snow | riding a snowboard down a snow covered slope |
        jumping a snowboard in the air | swinging a tennis racket at a ball | holding a tennis racket on a
        tennis court | holding a racket | swinging a bat at a baseball game | holding a baseball bat in a
        field | throwing a frisbee in a {ground} | catching a frisbee in the air | riding a skateboard up
        the side of a ramp | doing a trick on a skateboard | kicking a soccer ball in a field | flying a
        kite in a {ground} | flying a {color} kite on a beach | riding a horse on a beach | riding a bike
        down a {way} | riding a motorcycle down a {way} | playing a guitar on a stage | carrying a surfboard
        on a beach | paddling a {boat} on a lake""",
    "holding": """holding | holding | carrying | standing with | sitting with""",
    "handheld": """an umbrella in the rain | a {color} umbrella | a cell phone | a cell phone in his hand | a teddy
        bear | a banana | a slice of pizza | a hot dog in a bun | a laptop on his lap | a glass of wine | a
        cup of coffee | a book | a camera | a suitcase | a {color} balloon | a video game controller | a
        {fruit} | a baseball glove | a toothbrush | a hair dryer | a box of doughnuts | a bouquet of flowers
        | a pair of scissors | a bag | a guitar | a basket of {fruits}""",
    "worn": """wearing a {color} {garment} | wearing a {pattern} {garment} | wearing a {garment} and a hat |
        wearing sunglasses | in a {color} {garment} | wearing a tie | wearing a helmet | wearing a suit and
        tie | with a backpack | in a {pattern} dress | wearing glasses and a {garment} | wearing jeans and a
        {color} shirt | wearing a {color} hat""",
    "placed_person": """standing in front of a {building} | sitting on a {seat} | walking down a {way} | standing in a
        {ground} | standing next to a {color} {vehicle} | sitting at a table with a {dish} | talking on a
        cell phone""",
    "animals": """a {pet} sitting on a {seat} | a {color2} {pet} laying on a {bedding} | a {pet} standing in the grass
        | a {pet} in a {box} | a {color2} {pet} looking out of a window | a dog with a frisbee in its mouth
        | a dog running through the snow | a {pet} sleeping on top of a {seat} | a herd of {herd} walking
        across a field | a herd of {herd} standing in a {ground} | a {wild} standing in a {ground} | a
        {wild} walking through tall grass | two {wilds} standing next to each other | a {bird} perched on a
        branch | a {bird} perched on top of a {fence} | a flock of {birds} flying over the ocean | a flock
        of birds | a flock of sheep grazing in a field | a bird flying in the sky | two birds sitting on a
        wire | a {farm} standing in a {ground} | two {farms} grazing in a pasture | a giraffe eating leaves
        from a tree | a polar bear swimming in the water | a brown bear walking in the woods | a duck
        swimming in a pond | a cat laying on a laptop | three {birds} standing on a beach | an elephant with
        its trunk in the air | a {insect} sitting on a {flower} | a dog wearing a {color} hat | a beagle
        sitting on a sofa | a {pet} in the back of a truck""",
    "vehicles": """a {color} {vehicle} parked on the side of a {way} | a {color} {vehicle} driving down a {way} | a
        train traveling down tracks | a {color} train traveling down tracks next to a forest | a train at a
        train station | a double decker bus on a city street | a taxi cab driving down a street | an
        airplane flying in a {color} sky | a large airplane sitting on a runway | a jet flying | a {boat}
        floating on a lake | two {boats} in the water | a row of {rows} parked on a street | a motorcycle
        parked in a lot | a bicycle leaning against a {material} wall | an old {vehicle} parked in front of
        a {building} | a fire truck on a street | a police car parked next to a {fence} | a horse drawn
        carriage on a street | a helicopter flying over a mountain | a cruise ship docked at a pier | a
        school bus in a parking lot | a {color} scooter parked on a sidewalk""",
    "room": """a bathroom with a toilet and a sink | a {color} toilet in a bathroom | a bathroom with a bathtub | a
        toilet | a kitchen with a stove top oven | a kitchen with a {appliance} and a {appliance} | a
        stainless steel refrigerator in a kitchen | a living room with a couch and a television | a living
        room with a {color} couch and a fireplace | a bedroom with a bed and a {furniture} | a bed with a
        {color} blanket and pillows | a {material2} table with a {dishware} on it | a vase of {flowers}
        sitting on a table | a {color} {seat} in a living room | a desk with a computer and a {desk} | a
        laptop computer sitting on top of a desk | a lamp on a nightstand next to a bed | a dining room with
        a table and chairs | a clock hanging on a wall | a cat sitting on a bathroom sink | a {furniture} in
        a room | a rug on a wooden floor | a bunch of books on a shelf | a mirror above a {furniture}""",
    "food": """a pizza sitting on top of a {material2} table | a plate of food with a {cutlery} and a knife | a
        slice of {slice} on a plate | a {dish} on a {color} plate | a bowl of {bowl} on a table | a bowl of
        {fruits} | a cup of coffee and a {pastry} | a glass of {drink} on a table | a sandwich and french
        fries on a plate | a {fruit} sitting on a table | a {fruit} and a {fruit} on a plate | a bunch of
        bananas hanging from a tree | a {vegetable} on a cutting board | a chocolate cake with strawberries
        on top | a hot dog with mustard on a bun | a plate with a {dish} and a salad | a table topped with
        plates of food | a basket of {fruits} on a table | a box of doughnuts on a counter | a bottle of
        wine and two glasses | a plate of {platefuls} | a {pastry} on a napkin | broccoli and carrots in a
        bowl""",
    "street": """a stop sign on the side of a {way} | a {color} stop sign | a stop sign at an intersection | a
        traffic light above a street | a fire hydrant on a sidewalk | a {color} fire hydrant on the side of
        the road | a parking meter on a city street | a bench in a park | a wooden bench in front of a
        {building} | a street sign on a pole | a clock tower in a city | a {building} with a {color} roof |
        a {material} building with a clock on it | a bridge over a river | a lighthouse on a cliff | a
        statue of a man in a park | a street filled with cars at night | a {building} on a {color} hill | a
        mailbox by a fence | a {building} in the snow | a fountain in front of a {building} | a {material}
        house with a {color} door | a tall {building} next to a tree | a short tree next to a {material}
        wall | people walking down a street in the rain""",
    "objects": """a {color} {vase} on a table | a {vase} with {flowers} in it | a pair of scissors on a table | a pair
        of skis in the snow | a pair of {color} shoes | a suitcase sitting on a bed | a {material2}
        {furniture} against a wall | a {tool} on a workbench | a teddy bear sitting on a chair | a
        {instrument} leaning against a wall | a cell phone sitting on a table | a {color} umbrella on a
        beach | a {desk} and a keyboard on a desk | a remote control on a couch | a {cutlery} on a napkin |
        a {color} backpack on a bench | a {color} and white {vase} | a surfboard leaning against a {fence} |
        a snowboard in the snow | a tennis racket and a tennis ball on a court | a baseball bat and a glove
        | a kite in the sky | a {kitchen} on a kitchen counter | a stack of {stack} on a table | a {pattern}
        {soft} on a chair | a toothbrush in a cup | a hat on a hook | a basket full of {fruits} | a stuffed
        animal on a bed""",
    "scene": """a sunny day at the beach | a cloudy sky over a field | a mountain with a lake in front of it | a
        {way} lined with trees | a field of {fields} with a {building} in the background | a forest with
        tall trees | a {color} sunset over the ocean | a beach with umbrellas and chairs | a rocky beach
        with waves | a rainbow over a field | a boat on a river at sunset | a park bench under a tree | a
        snowy mountain with skiers | a foggy day in a city | palm trees on a beach at sunset | a dirt road
        going through a desert | a river running through a forest | a city skyline at night""",
    "people": """a group of people standing around a table | a group of people flying kites in a park | a couple
        sitting on a bench | a group of people riding horses on a beach | people sitting at tables under
        umbrellas | a crowd of people watching a game | a family sitting around a table eating pizza | two
        women sitting on a couch | two men playing a video game | a group of children playing soccer | a
        group of people riding bikes down a {way} | people walking in a {ground} | a group of people posing
        for a picture | a bride and groom cutting a cake | a group of skiers on a mountain | two boys
        holding {color} balloons | a baby sitting in a high chair | three people in a {boat}""",
    "worker": """a fireman standing next to a {vehicle} | a police officer on a {way} | a chef in a kitchen | a chef
        holding a {dish} | a doctor holding a clipboard | a farmer in a field | a baseball player swinging a
        bat | a tennis player holding a racket | a surfer riding a wave | a skier going down a hill | a
        skateboarder doing a trick on a ramp | a clown holding balloons | a construction worker wearing a
        helmet | a waiter carrying a tray of glasses | a cyclist riding down a {way}""",
    "close": """a close up of a {pet} on a {bedding} | a close up of a {flower} | a close up of a {dish} on a plate
        | a picture of a {building} | a black and white photo of a {vehicle} | a black and white photo of a
        clock tower | a close up of a {bird} on a branch | a close up of a plate of food | a painting of a
        {boat} on the wall | a view of a city from a plane | a close up of a {fruit} | a photo of a {wild}
        in a zoo""",
    "color": """red | blue | green | yellow | white | black | pink | orange | purple | brown""",
    "color2": """black | white | brown | small | large | black and white | gray""",
    "ground": """field | park | forest | grassy field | desert | meadow""",
    "way": """street | road | dirt road | city street | path | country road | highway""",
    "vehicle": """car | truck | bus | van | pickup truck | motorcycle | jeep | tractor""",
    "boat": """boat | canoe | kayak | sailboat""",
    "boats": """boats | canoes | sailboats | kayaks""",
    "rows": """cars | motorcycles | bicycles | buses""",
    "building": """house | barn | church | building | castle | store | restaurant | hotel | cabin""",
    "seat": """couch | chair | bench | bed | sofa | stool | rocking chair""",
    "bedding": """bed | blanket | couch | rug | pillow""",
    "box": """box | basket | suitcase | bathtub | cardboard box""",
    "pet": """dog | cat | kitten | puppy | rabbit | golden retriever | poodle""",
    "herd": """elephants | cows | zebras | horses | sheep | giraffes | cattle""",
    "wild": """giraffe | zebra | elephant | bear | deer | lion | rhino | moose | tiger""",
    "wilds": """giraffes | zebras | elephants | bears | lions""",
    "farm": """cow | horse | sheep | goat | donkey""",
    "farms": """cows | horses | sheep | goats""",
    "bird": """bird | owl | parrot | pigeon | seagull | robin | hawk""",
    "birds": """birds | seagulls | geese | pigeons""",
    "insect": """butterfly | bee | dragonfly""",
    "flower": """flower | rose | sunflower | daisy""",
    "flowers": """flowers | roses | tulips | sunflowers""",
    "fields": """sunflowers | tulips | wheat""",
    "fence": """fence | pole | wall | post""",
    "material": """brick | stone | wooden | concrete""",
    "material2": """wooden | metal | glass | marble""",
    "appliance": """stove | refrigerator | dishwasher | microwave | sink | toaster""",
    "furniture": """dresser | lamp | bookcase | desk | cabinet | chair""",
    "desk": """mouse | monitor | lamp | printer | phone""",
    "dishware": """bowl | plate | cup | vase | pot""",
    "dish": """pizza | sandwich | hamburger | salad | steak | hot dog | cake""",
    "cutlery": """fork | spoon | knife""",
    "slice": """pizza | cake | pie | bread""",
    "bowl": """soup | salad | rice | cereal""",
    "fruit": """banana | apple | orange | pear | lemon | pineapple""",
    "fruits": """apples | oranges | bananas | strawberries""",
    "drink": """wine | beer | water | orange juice | milk""",
    "pastry": """doughnut | muffin | croissant | cookie | cupcake""",
    "vegetable": """carrot | tomato | cucumber | potato""",
    "platefuls": """pasta | cookies | pancakes | salad""",
    "garment": """shirt | jacket | sweater | coat | dress | hoodie""",
    "pattern": """striped | plaid | polka dot | floral | checkered""",
    "vase": """vase | teapot | mug | bowl | lamp""",
    "tool": """hammer | saw | drill | wrench""",
    "instrument": """guitar | violin | cello""",
    "kitchen": """toaster | blender | coffee maker | microwave""",
    "stack": """books | plates | pancakes | suitcases""",
    "soft": """blanket | pillow | towel""",
}
"""Symbol → its productions, each as likely as the others."""
PRODUCTIONS = {symbol: [" ".join(text.split()) for text in texts.split("|")] for symbol, texts in GRAMMAR.items()}


def photograph_captions(count: int, seed: int) -> list[str]:
    """Return ``count`` captions, some of them alike."""
    draw = random.Random(seed)
    return [_expand("{caption}", draw) for _ in range(count)]


def _expand(text: str, draw: random.Random) -> str:
    while found := re.search(r"\{(\w+)\}", text):
        text = text[: found.start()] + draw.choice(PRODUCTIONS[found[1]]) + text[found.end() :]
    return re.sub(r"\ba (?=[aeiou](?!ni))", "an ", text)
