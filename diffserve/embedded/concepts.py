"""The closed world of the embedded models: styles, backgrounds and drawable concepts.

Growing the world means adding rows here, running ``scripts/build_atlas.py`` and training again;
nothing else in the package names a concept, a style or a background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Concept:
    """One thing the models can draw.

    Attributes:
        name: Canonical word; also the identifier used in scenes and the atlas index.
        slug: Unicode CLDR short name in the icon sets, e.g. ``cat-face``.
        plural: Canonical plural word.
        synonyms: Other words that training captions use, as (singular, plural) pairs.
        aliases: Words never trained on that a prompt may use; they are read as ``name``.
        takes_article: Whether ``name`` follows "a" or "an"; False for plural-like words.
    """

    name: str
    slug: str
    plural: str
    synonyms: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    takes_article: bool = True


@dataclass(frozen=True)
class Background:
    """A backdrop: a vertical gradient, with an optional flat ground below the horizon.

    Attributes:
        name: Canonical phrase, used before the word "background".
        synonyms: Other phrases that training captions use.
        top: RGB colour of the first row, each channel in 0..255.
        bottom: RGB colour of the last row, each channel in 0..255.
        ground: RGB colour below ``HORIZON``; None for a plain backdrop.
    """

    name: str
    synonyms: tuple[str, ...]
    top: tuple[int, int, int]
    bottom: tuple[int, int, int]
    ground: tuple[int, int, int] | None = None


#: Share of the image height above the ground of a backdrop that has one.
HORIZON = 0.62

#: Drawing styles. "flat" is the art of the atlas; ``styles.py`` derives the others from it.
STYLES: tuple[str, ...] = ("flat", "pixel", "sketch")

#: Other words for a style that training captions use before the word "style".
STYLE_SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"flat": ("vector",), "pixel": ("mosaic", "retro"), "sketch": ("ink", "pencil")}
)

BACKGROUNDS: tuple[Background, ...] = (
    Background("sky blue", ("light blue",), (128, 196, 245), (178, 222, 250)),
    Background("white", ("plain", "plain white"), (250, 250, 250), (238, 238, 240)),
    Background("pink", ("soft pink",), (255, 200, 215), (255, 170, 195)),
    Background("sunset", ("evening sky",), (255, 150, 70), (150, 70, 140)),
    Background("night", ("night sky", "dark blue"), (16, 20, 60), (48, 56, 120)),
    Background(
        "green meadow", ("meadow", "grass"), (150, 210, 250), (205, 235, 252), (96, 182, 84)
    ),
    Background("sandy beach", ("beach", "sand"), (90, 190, 230), (60, 160, 215), (238, 214, 160)),
    Background("lavender", ("violet", "purple"), (196, 176, 240), (160, 138, 220)),
)

CONCEPTS: tuple[Concept, ...] = (
    Concept("owl", "owl", "owls", (), ("bird",)),
    Concept("cat", "cat-face", "cats", (("kitten", "kittens"),), ("kitty", "pussycat", "tabby")),
    Concept("dog", "dog-face", "dogs", (("puppy", "puppies"),), ("hound", "pup", "doggy")),
    Concept("fox", "fox", "foxes", (), ("vixen",)),
    Concept("panda", "panda", "pandas"),
    Concept("frog", "frog", "frogs", (("toad", "toads"),)),
    Concept("penguin", "penguin", "penguins"),
    Concept("lion", "lion", "lions", (), ("lioness", "cub")),
    Concept("rabbit", "rabbit-face", "rabbits", (("bunny", "bunnies"),), ("hare",)),
    Concept("pig", "pig-face", "pigs", (("piglet", "piglets"),), ("hog", "swine")),
    Concept("monkey", "monkey-face", "monkeys", (), ("ape", "chimp")),
    Concept("elephant", "elephant", "elephants"),
    Concept("turtle", "turtle", "turtles", (("tortoise", "tortoises"),)),
    Concept("whale", "spouting-whale", "whales"),
    Concept("octopus", "octopus", "octopuses", (), ("squid",)),
    Concept("fish", "tropical-fish", "fish", (("tropical fish", "tropical fish"),)),
    Concept("butterfly", "butterfly", "butterflies", (), ("moth",)),
    Concept("bee", "honeybee", "bees", (("honeybee", "honeybees"),), ("bumblebee", "wasp")),
    Concept("apple", "red-apple", "apples", (("red apple", "red apples"),)),
    Concept("banana", "banana", "bananas"),
    Concept("strawberry", "strawberry", "strawberries", (), ("berry",)),
    Concept("watermelon", "watermelon", "watermelons", (), ("melon",)),
    Concept(
        "grapes",
        "grapes",
        "bunches of grapes",
        (("bunch of grapes", "bunches of grapes"),),
        ("grape",),
        takes_article=False,
    ),
    Concept("pineapple", "pineapple", "pineapples", (), ("ananas",)),
    Concept("carrot", "carrot", "carrots"),
    Concept("pizza", "pizza", "pizzas", (("slice of pizza", "slices of pizza"),)),
    Concept("burger", "hamburger", "burgers", (("hamburger", "hamburgers"),), ("cheeseburger",)),
    Concept("doughnut", "doughnut", "doughnuts", (("donut", "donuts"),)),
    Concept("cake", "birthday-cake", "cakes", (("birthday cake", "birthday cakes"),), ("gateau",)),
    Concept("mushroom", "mushroom", "mushrooms", (("toadstool", "toadstools"),), ("fungus",)),
    Concept("car", "automobile", "cars", (("red car", "red cars"),), ("automobile", "auto")),
    Concept("bus", "bus", "buses", (), ("coach", "minibus")),
    Concept("rocket", "rocket", "rockets", (("spaceship", "spaceships"),), ("spacecraft",)),
    Concept("bicycle", "bicycle", "bicycles", (("bike", "bikes"),), ("cycle",)),
    Concept("sailboat", "sailboat", "sailboats", (("boat", "boats"),), ("ship", "yacht")),
    Concept("airplane", "airplane", "airplanes", (("plane", "planes"),), ("aeroplane", "jet")),
    Concept("tractor", "tractor", "tractors"),
    Concept("house", "house", "houses", (("home", "homes"),), ("cottage", "hut", "building")),
    Concept("tree", "deciduous-tree", "trees", (), ("oak",)),
    Concept("cactus", "cactus", "cacti"),
    Concept("sunflower", "sunflower", "sunflowers", (("flower", "flowers"),), ("blossom",)),
    Concept("guitar", "guitar", "guitars"),
    Concept("umbrella", "umbrella", "umbrellas", (), ("parasol",)),
    Concept("balloon", "balloon", "balloons", (("red balloon", "red balloons"),)),
    Concept("book", "green-book", "books", (("green book", "green books"),), ("novel",)),
    Concept("crown", "crown", "crowns", (("golden crown", "golden crowns"),), ("tiara",)),
    Concept("gift", "wrapped-gift", "gifts", (("present", "presents"),), ("parcel",)),
    Concept("clock", "alarm-clock", "clocks", (("alarm clock", "alarm clocks"),), ("watch",)),
    Concept("bear", "bear", "bears", (), ("grizzly",)),
    Concept("koala", "koala", "koalas"),
    Concept("tiger", "tiger-face", "tigers", (), ("tigress",)),
    Concept("cow", "cow-face", "cows", (), ("cattle", "bull", "calf")),
    Concept("horse", "horse-face", "horses", (("pony", "ponies"),), ("stallion", "mare")),
    Concept("mouse", "mouse-face", "mice", (), ("rodent",)),
    Concept("chick", "baby-chick", "chicks", (("baby chick", "baby chicks"),), ("chicken",)),
    Concept("duck", "duck", "ducks", (), ("mallard",)),
    Concept("parrot", "parrot", "parrots", (), ("macaw",)),
    Concept("flamingo", "flamingo", "flamingos"),
    Concept("crab", "crab", "crabs"),
    Concept("snail", "snail", "snails", (), ("slug",)),
    Concept("ladybug", "lady-beetle", "ladybugs", (("ladybird", "ladybirds"),), ("beetle",)),
    Concept("dolphin", "dolphin", "dolphins", (), ("porpoise",)),
    Concept("shark", "shark", "sharks"),
    Concept("snake", "snake", "snakes", (("serpent", "serpents"),), ("viper", "cobra")),
    Concept("giraffe", "giraffe", "giraffes"),
    Concept("unicorn", "unicorn", "unicorns"),
    Concept("dinosaur", "sauropod", "dinosaurs", (), ("brontosaurus", "brachiosaurus")),
    Concept("lemon", "lemon", "lemons", (), ("citrus",)),
    Concept("pear", "pear", "pears"),
    Concept("peach", "peach", "peaches", (), ("nectarine",)),
    Concept("cherries", "cherries", "bunches of cherries", (), ("cherry",), takes_article=False),
    Concept("tomato", "tomato", "tomatoes"),
    Concept("eggplant", "eggplant", "eggplants", (("aubergine", "aubergines"),)),
    Concept("corn", "ear-of-corn", "ears of corn", (), ("maize",), takes_article=False),
    Concept("avocado", "avocado", "avocados"),
    Concept("broccoli", "broccoli", "heads of broccoli", takes_article=False),
    Concept("croissant", "croissant", "croissants"),
    Concept("cheese", "cheese-wedge", "wedges of cheese", (), ("cheddar",), takes_article=False),
    Concept("egg", "cooking", "eggs", (("fried egg", "fried eggs"),), ("omelette",)),
    Concept("ice cream", "soft-ice-cream", "ice creams", (), ("gelato", "sundae")),
    Concept("cupcake", "cupcake", "cupcakes", (("muffin", "muffins"),)),
    Concept("lollipop", "lollipop", "lollipops", (), ("candy", "sweet")),
    Concept("cookie", "cookie", "cookies", (("biscuit", "biscuits"),)),
    Concept("coffee", "hot-beverage", "cups of coffee", (), ("espresso",), takes_article=False),
    Concept("rose", "rose", "roses"),
    Concept("tulip", "tulip", "tulips"),
    Concept("snowman", "snowman", "snowmen"),
    Concept("star", "star", "stars", (("golden star", "golden stars"),)),
    Concept("moon", "crescent-moon", "moons", (("crescent moon", "crescent moons"),)),
    Concept("castle", "castle", "castles", (), ("palace", "fortress")),
    Concept("tent", "tent", "tents", (), ("camp",)),
    Concept("helicopter", "helicopter", "helicopters", (), ("chopper",)),
    Concept("train", "locomotive", "trains", (("locomotive", "locomotives"),)),
    Concept("truck", "delivery-truck", "trucks", (("lorry", "lorries"),), ("van",)),
    Concept("anchor", "anchor", "anchors"),
    Concept("drum", "drum", "drums"),
    Concept("trumpet", "trumpet", "trumpets", (), ("cornet", "bugle")),
    Concept("key", "key", "keys"),
    Concept("hammer", "hammer", "hammers", (), ("mallet",)),
    Concept("camera", "camera", "cameras"),
    Concept("trophy", "trophy", "trophies", (), ("prize",)),
    Concept("football", "soccer-ball", "footballs", (("soccer ball", "soccer balls"),)),
    Concept("teddy", "teddy-bear", "teddies", (("teddy bear", "teddy bears"),)),
    Concept("pumpkin", "jack-o-lantern", "pumpkins", (), ("squash",)),
    Concept("hat", "top-hat", "hats", (("top hat", "top hats"),)),
    Concept("robot", "robot", "robots", (), ("android",)),
    Concept("diamond", "gem-stone", "diamonds", (("gem", "gems"),), ("jewel", "gemstone")),
)

CONCEPT_NAMES: tuple[str, ...] = tuple(concept.name for concept in CONCEPTS)
BACKGROUND_NAMES: tuple[str, ...] = tuple(background.name for background in BACKGROUNDS)
