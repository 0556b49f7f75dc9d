import numpy as np
import pytest
from PIL import Image, ImageDraw

from diffserve.embedded.concepts import STYLES
from diffserve.embedded.styles import draw_sprite


@pytest.fixture(scope="module")
def disc():
    """A red disc on nothing."""
    art = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(art).ellipse((4, 4, 60, 60), fill=(220, 30, 40, 255))
    return art


def draw(art, style, side=28):
    return np.asarray(draw_sprite(art, style, side).convert("RGBA"))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("side", [28, 44])
def test_every_style_keeps_size_and_shape(disc, style, side):
    sprite = draw_sprite(disc, style, side)
    assert (sprite.size, sprite.mode) == ((side, side), "RGBa")
    cover = np.asarray(sprite.convert("RGBA"))[..., 3]
    assert cover[side // 2, side // 2] > 250
    assert cover[0, 0] == 0


def test_pixel_art_is_made_of_squares(disc):
    pixels = draw(disc, "pixel")
    for row in range(2):
        for column in range(2):
            assert np.array_equal(pixels[row::2, column::2], pixels[::2, ::2])
    assert set(np.unique(pixels[..., 3])) == {0, 255}


def test_a_sketch_has_no_colour_and_dark_outlines(disc):
    pixels = draw(disc, "sketch").astype(int)
    solid = pixels[pixels[..., 3] > 250][:, :3]
    assert (solid.max(axis=1) - solid.min(axis=1)).max() < 60
    assert solid.mean(axis=1).min() < 120
