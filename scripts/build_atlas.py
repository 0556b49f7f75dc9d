"""Rebuild the assets of the embedded models (developers only; needs npm and resvg-py).

Fetches the pinned packages with ``npm pack``, checks their SHA-512, renders one sprite for every
concept of :mod:`diffserve.embedded.concepts` and writes ``atlas.webp`` (lossless) and
``atlas.json`` into ``diffserve/embedded/assets``, with ``related.json``: which concept comes
nearest to a thing that cannot be drawn. The licences are in ``NOTICE`` there.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import math
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from PIL import Image

from diffserve.embedded.captions import vocabulary
from diffserve.embedded.concepts import CONCEPTS

ASSETS = Path(__file__).resolve().parent.parent / "diffserve" / "embedded" / "assets"
CELL_PX = 64
RENDER_PX = 256


@dataclass(frozen=True)
class Package:
    """A pinned npm tarball; ``sha512`` is base64, as in npm's integrity field."""

    name: str
    version: str
    sha512: str


EMOJIBASE = Package(
    "emojibase-data",
    "17.0.0",
    "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)
FLUENT_FLAT = Package(
    "@iconify-json/fluent-emoji-flat",
    "1.2.6",
    "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
)
#: Groups of emojibase with things: animals and nature, food, places, activities, objects.
THING_GROUPS = (3, 4, 5, 6, 7)
#: What a shared group of emojibase ("animal-mammal") adds to the likeness of two emoji.
SUBGROUP_BONUS = 0.3
LIKENESS_MIN = 0.08
#: Names of emoji that are no names of things.
# fmt: off
NOT_THINGS = frozenset({
    "bar", "box", "brick", "camping", "chains", "city", "cityscape", "coat", "construction",
    "cooking", "desert", "done", "drink", "face", "fire", "fly", "foggy", "food", "fog", "fruit",
    "glass", "hook", "joker", "label", "leg", "liquid", "link", "locked", "lotus", "mate",
    "microbe", "nose", "open", "package", "pick", "pod", "pot", "prints", "ring", "rock", "root",
    "salt", "satellite", "seat", "shell", "socks", "station", "sunrise", "toolbox", "unlocked",
    "web", "wedding", "wedge", "wing", "wood", "yarn",
})
# fmt: on
#: Where the tags mislead.
BETTER = {
    "badger": "panda",
    "bat": "mouse",
    "beaver": "mouse",
    "beverage": "coffee",
    "bison": "cow",
    "blueberries": "grapes",
    "boar": "pig",
    "bottle": "coffee",
    "buffalo": "cow",
    "camel": "horse",
    "candle": "cake",
    "chipmunk": "mouse",
    "comet": "star",
    "crocodile": "turtle",
    "deer": "horse",
    "donkey": "horse",
    "dragon": "dinosaur",
    "eagle": "owl",
    "fireworks": "rocket",
    "flower": "sunflower",
    "fruit": "apple",
    "gorilla": "monkey",
    "hamster": "mouse",
    "hedgehog": "mouse",
    "lime": "lemon",
    "lizard": "dinosaur",
    "lobster": "crab",
    "mango": "peach",
    "moose": "cow",
    "motorcycle": "bicycle",
    "onion": "pumpkin",
    "otter": "dolphin",
    "peacock": "parrot",
    "plant": "cactus",
    "plum": "peach",
    "pie": "pizza",
    "raccoon": "panda",
    "ram": "cow",
    "rat": "mouse",
    "seal": "dolphin",
    "sheep": "cow",
    "shoe": "hat",
    "shrimp": "crab",
    "skunk": "panda",
    "sloth": "koala",
    "spider": "ladybug",
    "squirrel": "mouse",
    "sun": "star",
    "tram": "train",
    "vehicle": "car",
    "volcano": "tent",
    "zebra": "horse",
}


def fetch(package: Package, cache: Path) -> tarfile.TarFile:
    """Return the opened tarball of ``package``, downloaded into ``cache`` when missing.

    Raises:
        SystemExit: The tarball does not have the pinned SHA-512.
    """
    stem = package.name.removeprefix("@").replace("/", "-")
    tarball = cache / f"{stem}-{package.version}.tgz"
    if not tarball.exists():
        cache.mkdir(parents=True, exist_ok=True)
        spec = f"{package.name}@{package.version}"
        subprocess.run(["npm", "pack", spec], cwd=cache, check=True, capture_output=True)
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if digest != package.sha512:
        raise SystemExit(f"{tarball}: sha512 is {digest}, expected {package.sha512}")
    return tarfile.open(tarball)


def read_member(archive: tarfile.TarFile, name: str) -> bytes:
    """Return the bytes of one member of an npm tarball."""
    member = archive.extractfile(f"package/{name}")
    if member is None:
        raise SystemExit(f"{archive.name!r} has no file {name}")
    return member.read()


@dataclass(frozen=True)
class Emoji:
    """What emojibase says about one emoji: its name's words, what it reminds of, its kind."""

    slug: str
    tags: frozenset[str]
    subgroup: int

    def likeness(self, other: Emoji) -> float:
        """Return the cosine of the tags, plus a bonus for the same kind."""
        shared = len(self.tags & other.tags) / math.sqrt(len(self.tags) * len(other.tags))
        return shared + SUBGROUP_BONUS * (self.subgroup == other.subgroup)


def read_emoji(cache: Path) -> list[Emoji]:
    """Return the things of emojibase, with slugs as in the icon sets."""
    with fetch(EMOJIBASE, cache) as archive:
        entries = json.loads(read_member(archive, "en/data.json"))
    things = []
    for entry in entries:
        if entry.get("group") not in THING_GROUPS:
            continue
        label = entry["label"].lower().replace("\u2019", "")
        slug = re.sub(r"[^a-z0-9]+", "-", label).strip("-")
        things.append(Emoji(slug, frozenset([*entry["tags"], *label.split()]), entry["subgroup"]))
    return things


def find_related(things: list[Emoji]) -> dict[str, str]:
    """Map one-word names of things that are not drawn to the concept that is most like them."""
    names = {concept.slug: concept.name for concept in CONCEPTS}
    drawn = [thing for thing in things if thing.slug in names]
    known = {*vocabulary(), *(alias for concept in CONCEPTS for alias in concept.aliases)}
    related = {}
    for thing in things:
        if not re.fullmatch("[a-z]{3,}", thing.slug) or thing.slug in NOT_THINGS:
            continue
        nearest = max(drawn, key=thing.likeness)
        if thing.likeness(nearest) >= LIKENESS_MIN:
            related[thing.slug] = names[nearest.slug]
    related |= BETTER
    return {word: related[word] for word in sorted(related) if word not in known}


def render_sprites(package: Package, cache: Path) -> dict[str, Image.Image]:
    """Render the concepts' SVGs of an Iconify package, by concept name."""
    with fetch(package, cache) as archive:
        data = json.loads(read_member(archive, "icons.json"))
    sprites = {}
    for concept in CONCEPTS:
        icon = data["icons"][concept.slug]
        width, height = icon.get("width", data["width"]), icon.get("height", data["height"])
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}">{icon["body"]}</svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_PX, height=RENDER_PX)
        sprites[concept.name] = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return sprites


def fit_cell(sprite: Image.Image) -> Image.Image:
    """Crop to the visible part, scale its longer side to the cell and centre it."""
    box = sprite.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    # Premultiplied alpha, so that the resampling never mixes in the colour of invisible pixels.
    visible = sprite.crop(box).convert("RGBa")
    scale = CELL_PX / max(visible.size)
    size = (max(1, round(visible.width * scale)), max(1, round(visible.height * scale)))
    visible = visible.resize(size, Image.Resampling.LANCZOS)
    cell = Image.new("RGBa", (CELL_PX, CELL_PX))
    cell.paste(visible, ((CELL_PX - size[0]) // 2, (CELL_PX - size[1]) // 2))
    return cell.convert("RGBA")


def main() -> None:
    """Write the atlas, one row per concept, and the table of related things."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(".work/npm"), help="tarball folder")
    cache = parser.parse_args().cache

    atlas = Image.new("RGBA", (CELL_PX, CELL_PX * len(CONCEPTS)))
    sprites = render_sprites(FLUENT_FLAT, cache)
    for row, concept in enumerate(CONCEPTS):
        atlas.paste(fit_cell(sprites[concept.name]), (0, row * CELL_PX))
    atlas.save(ASSETS / "atlas.webp", lossless=True, quality=100, method=6, exact=True)
    index = {
        "cell_px": CELL_PX,
        "concepts": [concept.name for concept in CONCEPTS],
    }
    (ASSETS / "atlas.json").write_text(json.dumps(index, indent=1) + "\n")
    related = find_related(read_emoji(cache))
    (ASSETS / "related.json").write_text(json.dumps(related, indent=1) + "\n")


if __name__ == "__main__":
    main()
