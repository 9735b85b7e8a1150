"""Photographs as people take them: shaded, framed, of other ranges and formats; and file names as people choose."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pandas as pd
import predict
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from minigru.experiments import images
from minigru.experiments.images import ImageError, ImageWarning
from minigru.plots import digits as digit_plots
from minigru.plots import story as story_plots
from minigru.plots import training as plots
from minigru.plots.style import new_figure, plain
from minigru.training import data, history
from minigru.training.config import Config
from minigru.training.trainer import Trainer

DIGITS = load_digits().images[:12] / 16
ONE = np.ones((1, 1))
SEVEN = np.pad((255 * DIGITS[7]).astype(np.uint8).repeat(10, axis=0).repeat(10, axis=1), 5)  # light on dark


def photograph(digit, far=1.0, degrees=0, light=False, side=240):
    """Return a digit on paper, of which the far side gets the share `far` of the light; blurred, with grain."""
    stroke = Image.fromarray(digit.astype(np.float32)).resize((side // 2,) * 2, Image.Resampling.BICUBIC)
    ink = np.pad(np.clip(stroke, 0, 1), ((side // 3, side - side // 2 - side // 3), (side // 4,) * 2))
    ink = ndimage.gaussian_filter(ink, side / 240)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in ink.shape), indexing="ij")
    ramp = x * np.cos(np.radians(degrees)) + y * np.sin(np.radians(degrees))
    falls = 1 - (1 - far) * (ramp - ramp.min()) / np.ptp(ramp)
    reflected = 0.1 + 0.8 * ink if light else 0.9 - 0.8 * ink
    return np.clip(reflected * falls + np.random.default_rng(0).normal(0, 0.01, ink.shape), 0, 1)


def difference(picture, expected):
    return np.abs(images.as_digit(picture, 28) - images.as_digit(expected, 28)).mean()


EVEN = [photograph(digit) for digit in DIGITS]
EMPTY = photograph(np.zeros((8, 8)), 0.45)


@pytest.mark.parametrize(("far", "degrees"), [(0.8, 0), (0.6, 60), (0.6, 180), (0.45, 225), (0.3, 315)])
def test_dark_ink_in_falling_light_is_read_as_in_even_light(far, degrees):
    shaded = [photograph(digit, far, degrees) for digit in DIGITS]
    assert np.mean([difference(*pair) for pair in zip(shaded, EVEN, strict=True)]) < 0.02


@pytest.mark.parametrize("trouble", ["shadow", "grain"])
def test_a_soft_shadow_and_coarse_grain_leave_the_digit(trouble):
    rows = np.linspace(-1, 1, 240)[:, None]
    shade = 1 - 0.5 / (1 + np.exp(-rows / 0.06)) if trouble == "shadow" else 1
    grain = np.random.default_rng(1).normal(0, 0.1, (240, 240)) if trouble == "grain" else 0
    assert np.mean([difference(shade * even + grain, even) for even in EVEN]) < 0.05


@pytest.mark.parametrize("far", [1, 0.45])
def test_light_ink_in_falling_light_keeps_its_strokes(far):
    shaded = [photograph(digit, far, 30, light=True) for digit in DIGITS]
    assert np.mean([difference(*pair) for pair in zip(shaded, EVEN, strict=True)]) < 0.04


@pytest.mark.parametrize("side", [40, 80, 1000])
def test_the_size_of_a_shaded_photograph_does_not_matter(side):
    shaded = [photograph(digit, 0.6, 30, side=side) for digit in DIGITS[:8]]
    assert np.mean([difference(*pair) for pair in zip(shaded, EVEN, strict=False)]) < 0.04


@pytest.mark.parametrize(
    "empty", [0.2 * EMPTY, 0.95 * EMPTY, 0.6 + np.random.default_rng(1).normal(0, 0.05, EMPTY.shape)]
)
def test_an_empty_page_in_falling_light_is_blank(empty):
    with pytest.raises(ImageError, match="the picture is blank"):
        images.as_digit(empty, 28)


def framed(picture):
    picture = np.pad(picture, 20, mode="edge")
    picture[[5, -6], 5:-5] = picture[5:-5, [5, -6]] = 0.1
    return picture


def turned(page):
    return np.maximum(ndimage.rotate(np.pad(page, 20), 20, cval=0), 0.05)


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (lambda page: np.hstack([page, page]), "several marks"),
        (lambda page: np.vstack([page, page]), "several marks"),
        (framed, "rectangle"),
        (lambda page: np.pad(page, 8, constant_values=0.1), "rectangle"),
        (lambda page: np.pad(page, 70, constant_values=0.1), "rectangle"),
        (turned, "rectangle"),
        (lambda page: np.pad(page, ((0, 0), (60, 0)), constant_values=0.1), "reaches the edge"),
        (lambda page: np.hstack([page[:, :120], 0.5 * page[:, 120:]]), "reaches the edge"),
        (lambda page: page * np.where(np.arange(len(page)) % 30 < 2, 0.5, 1), "reaches the edge"),
    ],
    ids=["beside", "above", "frame", "border", "page on a table", "turned page", "table", "shadow", "lines"],
)
def test_what_may_not_be_one_digit_is_read_with_a_warning(change, doubt):
    with pytest.warns(ImageWarning) as warned:
        images.as_digit(change(photograph(DIGITS[7])), 28)
    assert any(doubt in str(warning.message) for warning in warned)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("transparent", [None, "ground"])
def test_grey_of_16_bits_has_the_range_that_it_uses(bits, transparent, tmp_path):
    picture = Image.fromarray((SEVEN / 255 * (2**bits - 1)).astype(np.uint16))
    picture.save(tmp_path / "a.png", **({"transparency": 0} if transparent else {}))
    brightness = images.read(tmp_path / "a.png")
    assert brightness == pytest.approx(SEVEN / 255, abs=0.01)
    assert difference(brightness, SEVEN / 255) < 0.01


@pytest.mark.parametrize("ink", [0, 4095])
def test_a_transparent_ground_of_16_bits_is_the_opposite_of_the_strokes(ink, tmp_path):
    array = np.where(SEVEN > 100, ink, 77).astype(np.uint16)
    Image.fromarray(array).save(tmp_path / "a.png", transparency=77)
    assert images.read(tmp_path / "a.png") == pytest.approx(1.0 * ((SEVEN > 100) == (ink > 0)), abs=0.01)


def png(shape, bits, kind, content):
    """Return a PNG of a kind that Pillow does not write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", *shape[::-1], bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "bands"), [(4, 2), (2, 3), (6, 4)], ids=["grey and opacity", "colour", "both"])
@pytest.mark.parametrize("bits", [12, 16])
def test_colours_and_opacity_of_16_bits_too(kind, bands, bits, tmp_path):
    array = (SEVEN / 255 * (2**bits - 1)).astype(">u2")[..., None].repeat(bands, axis=2)
    if bands % 2 == 0:
        array[..., -1] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    (tmp_path / "a.png").write_bytes(png(SEVEN.shape, 16, kind, rows))
    assert images.read(tmp_path / "a.png") == pytest.approx(SEVEN / 255, abs=0.07)


@pytest.mark.parametrize("suffix", ["gif", "png", "tif"])
@pytest.mark.parametrize("blank", [0, 2])
def test_blank_first_frames_are_skipped_with_a_warning(suffix, blank, tmp_path):
    seven, path = Image.fromarray(SEVEN), tmp_path / f"a.{suffix}"
    frames = [Image.new("L", seven.size, 9 * k) for k in range(blank)] + [seven, Image.fromarray(255 - SEVEN)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert images.read(path) == pytest.approx(SEVEN / 255, abs=0.01)
    assert [str(warning.message) for warning in warned] == (
        ["the first frame of the picture is blank; frame 3 was read"] if blank else []
    )


def test_an_animation_of_blank_frames_is_blank(tmp_path):
    frames = [Image.new("L", (30, 30), 5 * k) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert not images.read(tmp_path / "a.gif").any()


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?><svg>', "SVG"),
    ],
)
def test_a_format_that_cannot_be_read_is_named_with_what_to_do(start, name, tmp_path):
    (tmp_path / "a.jpg").write_bytes(start + bytes(2000))
    with pytest.raises(ImageError, match=rf"a\.jpg is {name}, which cannot be read; save it as JPEG or PNG"):
        images.read(tmp_path / "a.jpg")


def test_100_megapixels_are_refused_before_they_are_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(png((10_000, 10_000), 8, 0, b"no pixels"))
    with pytest.raises(ImageError, match="100 megapixels; expected at most 30"):
        images.read(tmp_path / "a.png")


def test_a_large_jpeg_is_decoded_smaller(tmp_path):
    Image.fromarray(255 - SEVEN).resize((6400, 6400)).save(tmp_path / "a.jpg", quality=30)
    brightness = images.read(tmp_path / "a.jpg")
    assert max(brightness.shape) <= 1000
    assert difference(brightness, SEVEN / 255) < 0.02


@pytest.mark.parametrize(
    "draw",
    [
        lambda title: digit_plots.answers(DIGITS[:1], np.eye(10)[:1], None, title, DIGITS[0]),
        lambda title: digit_plots.digit_grid(DIGITS[:2], np.arange(2), title),
        lambda title: digit_plots.confusion_matrix(np.arange(2), np.arange(2), title),
        lambda title: plots.training_curves(
            pd.DataFrame(np.ones((1, len(history.COLUMNS))), columns=history.COLUMNS), title
        ),
        lambda title: plots.step_times({1: [{"name": "a", "threads": 1, "ms": 1, "low": 1, "high": 1}]}, title),
        lambda title: digit_plots.reading(*np.ones((5, 8, 8)), *np.ones((2, 8)), title),
        lambda title: story_plots.sentence(
            ["a"], *np.ones((1, 1, 1)), dict.fromkeys("ab", np.ones((1, 1))), np.arange(1), title
        ),
    ],
    ids=["answers", "grid", "confusion", "curves", "times", "reading", "sentence"],
)
def test_any_text_can_be_a_title(draw, tmp_path):
    draw("a$\\nosuch$ 七\udcff\n").savefig(tmp_path / "a.png", dpi=20)  # where a warning is an error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$", "$"),
        ("Ba$$in.png", "Ba$$in.png"),
        (r"a $\nosuch$ $x^2$", r"a $\nosuch$ $x^2$"),
        (r"a\$b\\$", r"a\$b\\$"),
        ("Größe é", "Größe é"),
        ("七\udcff\n.png", "???.png"),
    ],
)
def test_a_text_is_shown_as_it_is_but_for_what_the_font_lacks(text, shown):
    def drawn(title, **how):
        figure = new_figure(4, 1)
        figure.suptitle(title, **how)
        figure.savefig(drawing := io.BytesIO(), format="png")
        return drawing.getvalue()

    assert drawn(plain(text)) == drawn(shown, parse_math=False)


def test_predict_says_its_doubts_and_takes_any_file_name(tmp_path, monkeypatch, capsys):
    config = Config(data="digits", hidden_size=4, epochs=1, limit=64)
    Trainer(config, data.load("digits"), tmp_path).run(quiet=True)
    page, path = photograph(DIGITS[7]), tmp_path / "$^$ 七.png"
    Image.fromarray((255 * np.hstack([page, page])).astype(np.uint8)).save(path)
    monkeypatch.setattr("sys.argv", ["predict.py", str(tmp_path), "--image", str(path), "--out", str(tmp_path)])
    assert predict.main() == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("$^$ 七.png")
    assert re.fullmatch(r"predict.py: warning: .*七\.png: the picture seems to show several marks; .*\n", err)
    assert (tmp_path / "predict_image.png").exists()
