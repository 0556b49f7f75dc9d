"""Rebuild the sprite atlas of the embedded models (developers only; needs npm and resvg-py).

Fetches the pinned icon packages with ``npm pack``, checks their SHA-512, renders one sprite for
every (concept, style) of :mod:`diffserve.embedded.concepts` and writes ``atlas.webp`` (lossless)
and ``atlas.json`` into ``diffserve/embedded/assets``. The art's licences are in ``NOTICE`` there.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from PIL import Image

from diffserve.embedded.concepts import CONCEPTS, STYLES

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
FLUENT_3D = Package(
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
)
NOTO = Package(
    "@iconify-json/noto",
    "1.2.9",
    "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
)


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


def hexcodes(cache: Path) -> dict[str, str]:
    """Map CLDR slugs to lower-case code points without the variation selector."""
    with fetch(EMOJIBASE, cache) as archive:
        entries = json.loads(read_member(archive, "en/data.json"))
    codes = {}
    for entry in entries:
        label = entry["label"].lower().replace("\u2019", "")
        slug = re.sub(r"[^a-z0-9]+", "-", label).strip("-")
        codes[slug] = entry["hexcode"].lower().replace("-fe0f", "")
    return codes


def iconify_sprites(package: Package) -> Callable[[Path], dict[str, Image.Image]]:
    """Return a loader that renders the concepts' SVGs of an Iconify package."""

    def load(cache: Path) -> dict[str, Image.Image]:
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

    return load


def fluent_3d_sprites(cache: Path) -> dict[str, Image.Image]:
    """Load the concepts' WebP renders of the Fluent 3D package, found by code point."""
    codes = hexcodes(cache)
    sprites = {}
    with fetch(FLUENT_3D, cache) as archive:
        files = {
            Path(name).stem.replace("-fe0f", ""): name.removeprefix("package/")
            for name in archive.getnames()
            if name.endswith(".webp")
        }
        for concept in CONCEPTS:
            content = read_member(archive, files[codes[concept.slug]])
            sprites[concept.name] = Image.open(io.BytesIO(content)).convert("RGBA")
    return sprites


SOURCES: dict[str, Callable[[Path], dict[str, Image.Image]]] = {
    "flat": iconify_sprites(FLUENT_FLAT),
    "3d": fluent_3d_sprites,
    "noto": iconify_sprites(NOTO),
}


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
    """Write the atlas: one row per concept, one column per style."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(".work/npm"), help="tarball folder")
    cache = parser.parse_args().cache

    atlas = Image.new("RGBA", (CELL_PX * len(STYLES), CELL_PX * len(CONCEPTS)))
    for column, style in enumerate(STYLES):
        sprites = SOURCES[style](cache)
        for row, concept in enumerate(CONCEPTS):
            atlas.paste(fit_cell(sprites[concept.name]), (column * CELL_PX, row * CELL_PX))
    atlas.save(ASSETS / "atlas.webp", lossless=True, quality=100, method=6, exact=True)
    index = {
        "cell_px": CELL_PX,
        "styles": list(STYLES),
        "concepts": [concept.name for concept in CONCEPTS],
    }
    (ASSETS / "atlas.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
