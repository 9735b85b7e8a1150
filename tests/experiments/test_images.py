"""A person's own picture becomes what MNIST describes, and what is no picture of a digit is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from minigru.experiments import images
from minigru.experiments.images import ImageError
from minigru.experiments.ink import LEAST_CONTRAST, PAPER


def seven(height=60, width=90):
    """A 7, light (1) on dark (0), away from the middle, three times as far from the right as from the left."""
    picture = np.zeros((height, width))
    picture[10:15, 12:40] = 1
    for row in range(15, 50):
        column = 36 - (row - 15) // 2
        picture[row, column : column + 5] = 1
    return picture


def save(path, array):
    Image.fromarray(array).save(path)
    return images.read(path)


def centre(field):
    rows, columns = np.indices(field.shape) + 0.5
    return (rows * field).sum() / field.sum(), (columns * field).sum() / field.sum()


def test_the_form_is_that_of_mnist():
    field = images.as_digit(seven(), 28)
    rows, columns = np.flatnonzero(field.any(axis=1)), np.flatnonzero(field.any(axis=0))
    assert field.shape == (28, 28)
    assert field.dtype == np.float32
    assert (field.min(), field.max()) == (0, 1)
    assert np.ptp(rows) + 1 == 20  # the longer side fills the box of 20
    assert np.ptp(columns) + 1 == round(20 * 29 / 40)  # and the shape is kept
    assert np.abs(np.array(centre(field)) - 14).max() <= 0.5


def test_dark_on_light_is_the_same_as_light_on_dark():
    assert images.as_digit(1 - seven(), 28) == pytest.approx(images.as_digit(seven(), 28), abs=1e-6)


def test_faint_ink_on_grey_paper_with_grain_is_the_same():
    grain = np.random.default_rng(0).normal(0, 0.01, seven().shape)
    photographed = 0.7 - 0.4 * seven() + grain
    assert np.abs(images.as_digit(photographed, 28) - images.as_digit(seven(), 28)).mean() < 0.02


def test_size_and_place_do_not_matter():
    larger = np.kron(np.pad(seven(), ((31, 2), (0, 77))), np.ones((3, 3)))
    assert np.abs(images.as_digit(larger, 28) - images.as_digit(seven(), 28)).mean() < 0.01


def test_a_digit_that_touches_the_edges_and_one_that_is_all_height():
    assert images.as_digit(seven()[10:50, 12:41], 28) == pytest.approx(images.as_digit(seven(), 28), abs=1e-6)
    stroke = np.zeros((100, 30))
    stroke[5:95, 14] = 1
    field = images.as_digit(stroke, 28)
    assert np.array_equal(np.argwhere(field)[:, 0], range(4, 24))
    assert set(np.argwhere(field)[:, 1]) <= {13, 14}


def test_the_small_digits_fill_their_field():
    field = images.as_digit(seven(), 8)
    assert field.shape == (8, 8)
    assert field.any(axis=1).all()
    assert np.abs(centre(field)[1] - 4) <= 0.5


def test_heavy_feet_do_not_push_the_digit_out_of_the_field():
    picture = np.zeros((40, 40))
    picture[0:40, 20] = 0.3
    picture[36:40, 5:35] = 1
    field = images.as_digit(np.pad(picture, 2), 28)
    assert np.ptp(np.flatnonzero(field.any(axis=1))) == 19


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "I;16"])
def test_every_mode_is_read_as_brightness(mode, tmp_path):
    array = (255 * seven()).astype(np.uint8)
    if mode == "I;16":
        brightness = save(tmp_path / "a.png", array.astype(np.uint16) * 257)
    else:
        Image.fromarray(array).convert(mode).save(tmp_path / "a.png")
        brightness = images.read(tmp_path / "a.png")
    assert brightness == pytest.approx(seven(), abs=0.01)


def test_16_bits_keep_their_greys(tmp_path):
    array = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    assert save(tmp_path / "a.png", array) == pytest.approx(array / 65535, abs=1e-4)


@pytest.mark.parametrize("ink", [0, 255])
def test_a_transparent_ground_is_the_opposite_of_the_strokes(ink, tmp_path):
    array = np.zeros((60, 90, 4), np.uint8)
    array[..., :3] = ink
    array[..., 3] = 255 * seven()
    brightness = save(tmp_path / "a.png", array)
    assert brightness == pytest.approx(seven() if ink else 1 - seven())
    assert images.as_digit(brightness, 28) == pytest.approx(images.as_digit(seven(), 28), abs=1e-6)


def test_a_camera_s_turn_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: turn it clockwise to see it
    array = (255 * seven()).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    assert images.read(tmp_path / "a.png") == pytest.approx(np.rot90(seven(), -1), abs=0.01)


def test_the_faintest_strokes_and_the_faintest_picture():
    picture = seven()
    picture[49, 24:70] = PAPER + 0.05  # from the foot of the 7 to the right
    assert np.ptp(np.flatnonzero(images.as_digit(picture, 28).any(axis=0))) + 1 == 20  # 58 columns now, and 40 rows
    picture[49, 24:70] = PAPER - 0.05
    assert images.as_digit(picture, 28) == pytest.approx(images.as_digit(seven(), 28), abs=0.01)
    assert (PAPER, LEAST_CONTRAST) == (0.15, 0.1)
    faint = images.as_digit(0.5 + 0.12 * seven(), 28)
    assert faint == pytest.approx(images.as_digit(seven(), 28), abs=1e-5)
    with pytest.raises(ImageError, match="the picture is blank"):
        images.as_digit(0.5 + 0.08 * seven(), 28)


def test_scaling_down_takes_the_mean_of_what_a_pixel_covers():
    picture = np.zeros((120, 120))
    picture[10:110:2, 10:110] = 1  # every second row, and 5 rows a pixel: 2 or 3 of them are ink
    assert images.as_digit(picture, 28)[4:24, 4:24].min() > 0.6


def test_the_ground_is_the_median_of_the_frame_not_its_corner():
    picture = 1 - seven()
    picture[0, 0] = 0
    field = images.as_digit(picture, 28)
    assert (field < 0.5).mean() > 0.6  # the ground is not taken for ink


def test_a_large_picture_is_made_smaller_first(tmp_path):
    large = np.kron(255 * seven(), np.ones((30, 30))).astype(np.uint8)
    brightness = save(tmp_path / "a.png", large)
    assert brightness.shape == (667, 1000)
    rows, columns = (np.arange(n) * 90 // 1000 for n in brightness.shape)
    assert np.abs(brightness - seven()[np.ix_(rows, columns)]).mean() < 0.01
    assert save(tmp_path / "b.png", large.astype(np.uint16) * 257).shape == (667, 1000)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_32_bits_are_refused(kind, tmp_path):
    with pytest.raises(ImageError, match="pixels of 32 bits; expected 8 or 16 bits"):
        save(tmp_path / "a.tif", seven().astype(kind))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_blank_picture_is_refused(level):
    grain = np.random.default_rng(0).uniform(-0.04, 0.04, (20, 20))
    for picture in (np.full((20, 20), level), np.clip(level + grain, 0, 1), np.full((1, 1), level)):
        with pytest.raises(ImageError, match="the picture is blank"):
            images.as_digit(picture, 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no image"),
        (b"", "is not an image; expected a PNG"),
        (b"GIF89a", "is not an image|cannot be read"),
        (b"some text", "is not an image"),
        ("half", "cannot be read"),
        ("folder", "is a folder; expected an image"),
        ("bomb", "too many pixels"),
    ],
)
def test_what_is_no_image_is_refused(content, message, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        noise = np.random.default_rng(0).integers(256, size=(60, 90), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        if content == "half":
            path.write_bytes(path.read_bytes()[:3000])
        else:
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=message):
        images.read(path)
