"""A picture of your own is converted to the form of MNIST, and a file without a digit is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from minigru.experiments import images
from minigru.experiments.images import ImageError


def draw_seven():
    """Draw a 7, light (1) on dark (0), three times as far from the right edge as from the left edge."""
    picture = np.zeros((60, 90))
    picture[10:15, 12:40] = 1
    for row in range(15, 50):
        column = 36 - (row - 15) // 2
        picture[row, column : column + 5] = 1
    return picture


SEVEN = draw_seven()
BYTES = (255 * SEVEN).astype(np.uint8)
GRAIN = np.random.default_rng(0).normal(0, 0.01, SEVEN.shape)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return images.read(path)


def extent(field):
    """Return the rows and the columns from the first to the last with ink."""
    return tuple(np.ptp(np.flatnonzero(field.any(axis=axis))) + 1 for axis in (1, 0))


def test_the_form_is_that_of_mnist():
    field = images.as_digit(SEVEN, 28)
    assert (field.shape, field.dtype, field.min(), field.max()) == ((28, 28), np.float32, 0, 1)
    assert extent(field) == (20, round(20 * 29 / 40))  # the longer side fills the box, and the aspect ratio is kept
    centre = [(place * field).sum() / field.sum() for place in np.indices(field.shape) + 0.5]
    assert np.abs(np.array(centre) - 14).max() <= 0.5
    assert extent(images.as_digit(SEVEN, 8))[0] == 8  # the small digits fill their field


@pytest.mark.parametrize(
    ("picture", "error"),
    [
        (1 - SEVEN, 1e-6),
        (0.5 + 0.12 * SEVEN, 1e-5),  # faint
        (SEVEN[10:50, 12:41], 1e-6),  # it touches the edges
        (0.7 - 0.4 * SEVEN + GRAIN, 0.02),  # dark ink on grey paper with grain
        (np.kron(np.pad(SEVEN, ((31, 2), (0, 77))), np.ones((3, 3))), 0.01),  # larger, and elsewhere
    ],
)
def test_colours_size_and_place_do_not_matter(picture, error):
    assert np.abs(images.as_digit(picture, 28) - images.as_digit(SEVEN, 28)).mean() < error


def test_one_dark_corner_is_not_the_ground():
    picture = 1 - SEVEN
    picture[0, 0] = 0
    assert (images.as_digit(picture, 28) < 0.5).mean() > 0.6


def test_a_stroke_of_one_pixel_and_heavy_feet_stay_in_the_field():
    stroke, feet = np.zeros((100, 30)), np.zeros((40, 40))
    stroke[5:95, 14] = 1
    feet[:, 20], feet[36:, 5:35] = 0.3, 1
    rows, columns = np.nonzero(images.as_digit(stroke, 28))
    assert np.array_equal(rows, range(4, 24))
    assert set(columns) <= {13, 14}
    assert extent(images.as_digit(np.pad(feet, 2), 28))[0] == 20


def test_the_faintest_stroke_and_the_faintest_picture():
    picture = SEVEN.copy()
    picture[49, 24:70] = 0.2  # from the foot of the 7 to the right
    assert extent(images.as_digit(picture, 28))[1] == 20  # ink: 58 columns now, and 40 rows
    picture[49, 24:70] = 0.1
    assert images.as_digit(picture, 28) == pytest.approx(images.as_digit(SEVEN, 28), abs=0.01)  # paper
    with pytest.raises(ImageError, match="the picture is blank"):
        images.as_digit(0.5 + 0.08 * SEVEN, 28)


@pytest.mark.parametrize("shape", [(20, 20), (1, 1)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_blank_picture_is_refused(level, shape, rng):
    for grain in (0, 0.04):
        with pytest.raises(ImageError, match="the picture is blank"):
            images.as_digit(np.clip(level + rng.uniform(-grain, grain, shape), 0, 1), 28)


def test_scaling_down_takes_the_mean_of_the_pixels_covered():
    picture = np.zeros((120, 120))
    picture[10:110:2, 10:110] = 1  # every second row, and 5 rows per pixel: 2 or 3 of them are ink
    assert images.as_digit(picture, 28)[4:24, 4:24].min() > 0.6


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
def test_every_mode_is_read_as_brightness(mode, tmp_path):
    Image.fromarray(BYTES).convert(mode).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png") == pytest.approx(SEVEN, abs=0.01)


def test_16_bits_keep_their_greys(tmp_path):
    array = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    assert save(tmp_path / "a.png", array) == pytest.approx(array / 65535, abs=1e-4)


@pytest.mark.parametrize("ink", [0, 255])
def test_a_transparent_ground_is_the_opposite_of_the_strokes(ink, tmp_path):
    brightness = save(tmp_path / "a.png", np.dstack([np.full((60, 90, 3), ink, np.uint8), BYTES]))
    assert brightness == pytest.approx(SEVEN if ink else 1 - SEVEN)


def test_the_rotation_of_a_camera_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees clockwise to display
    assert save(tmp_path / "a.png", BYTES, exif=exif) == pytest.approx(np.rot90(SEVEN, -1), abs=0.01)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_large_picture_is_scaled_down_first(kind, tmp_path):
    large = np.kron(SEVEN, np.ones((30, 30))) * np.iinfo(kind).max
    brightness = save(tmp_path / "a.png", large.astype(kind))
    assert brightness.shape == (667, 1000)
    rows, columns = (np.arange(n) * 90 // 1000 for n in brightness.shape)
    assert np.abs(brightness - SEVEN[np.ix_(rows, columns)]).mean() < 0.01


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_32_bits_are_refused(kind, tmp_path):
    with pytest.raises(ImageError, match="pixels of 32 bits; expected 8 or 16 bits"):
        save(tmp_path / "a.tif", SEVEN.astype(kind))


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="too many pixels"):
        save(tmp_path / "a.png", BYTES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; expected an image"),
        (b"", "is not an image; expected a PNG"),
        (b"GIF89a", "is not an image|cannot be read"),
        ("half", "cannot be read"),
        ("folder", "is a folder; expected an image"),
    ],
)
def test_what_is_not_an_image_is_refused(content, message, tmp_path, rng):
    path = tmp_path / "a.png"
    if content == "folder":
        path.mkdir()
    elif content == "half":
        Image.fromarray(rng.integers(256, size=(60, 90), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        images.read(path)
