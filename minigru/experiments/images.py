"""A person's own picture of a digit, brought to the form of the images that a model was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import checks
from ..engine.backend import get_backend
from .ink import LEAST_CONTRAST, crop, doubts, find

LARGEST = (1000, 1000)  # a larger picture is scaled down first, which bounds time and RAM
MOST = 30_000_000  # pixels that are decoded, at about 13 bytes each
FRAMES = 20  # of an animation that are searched for one that is not blank
BOX = {28: 20}  # an MNIST digit fills 20 of 28 pixels; scikit-learn's small digits fill all of theirs
FOREIGN = {b"ftyphei": "HEIC", b"ftyphev": "HEIC", b"ftypm": "HEIC", b"ftypavi": "AVIF", b"%PDF": "PDF", b"<svg": "SVG"}


class ImageError(RuntimeError):
    """A file is not an image, or the image is blank; the message says which."""


class ImageWarning(UserWarning):
    """A picture was read, and the answer may be meaningless; the message says why."""


def read(path: Path) -> np.ndarray:
    """Return a picture as brightness, (height, width) floats from 0 (black) to 1 (white).

    Colours become grey. Transparent pixels become white if the strokes are dark, and black if the strokes are light. A
    picture of 10 or 12 bits in a file of 16 bits is scaled by its own range. The size is read from the file's header; a
    large JPEG is decoded at a fraction of its size. Of an animation, the first frame that is not blank is read.

    Raises
    ------
    ImageError
        The file does not exist, Pillow cannot read it to the end, its pixels have more than 16 bits, or there are more
        than 30 million of them.

    Warns
    -----
    ImageWarning
        The first frame is blank, and another one was read.
    """
    from PIL import Image, UnidentifiedImageError

    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit of pixels is checked below
            with Image.open(path) as file:
                _check(file, path)
                brightness, frame = _first_that_shows_something(file)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; expected an image") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is {_kind(path)}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} has too many pixels; expected a picture of one digit") from None
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise ImageError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if frame:
        warnings.warn(
            f"the first frame of the picture is blank; frame {frame + 1} was read", ImageWarning, stacklevel=2
        )
    return brightness


def _kind(path: Path) -> str:
    """Say what a file is that Pillow does not know."""
    with path.open("rb") as file:
        start = file.read(1000)
    for mark, name in FOREIGN.items():
        if mark in start:
            return f"{name}, which cannot be read; save it as JPEG or PNG"
    return "not an image; expected a PNG or another format that Pillow reads"


def _check(file: Any, path: Path) -> None:
    """Refuse a file by its header, before its pixels are decoded."""
    if file.mode == "F" or (file.mode == "I" and file.format not in ("PNG", "PPM")):  # without a defined white
        raise ImageError(f"{path} has pixels of 32 bits; expected 8 or 16 bits, as in a PNG or JPEG")
    size = file.size
    if not file.info.get("progressive"):  # a progressive JPEG is held whole, whatever is made of it
        file.draft(None, LARGEST)  # a JPEG is decoded at down to an eighth of its size
    if file.width * file.height > MOST:
        raise ImageError(
            f"{path} has {size[0] * size[1] / 1e6:.0f} megapixels; expected at most {MOST / 1e6:.0f}: make it smaller"
        )


def _first_that_shows_something(file: Any) -> tuple[np.ndarray, int]:
    """Return the brightness of the first frame that is not blank, or else of the first, and its number from 0."""
    first = _brightness(file)
    brightness, frame = first, 0
    while np.ptp(brightness) < LEAST_CONTRAST and frame < FRAMES:
        frame += 1
        try:
            file.seek(frame)
        except EOFError:
            break
        brightness = _brightness(file)
    return (first, 0) if np.ptp(brightness) < LEAST_CONTRAST else (brightness, frame)


def _brightness(file: Any) -> np.ndarray:
    from PIL import ImageOps

    if file.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        grey, alpha = _sixteen_bits(file)
    else:
        cut = ";16" in str(file.tile)  # Pillow keeps the upper 8 of 16 bits, and of these a scan may use 4
        picture = file.convert("RGBA")
        picture.thumbnail(LARGEST)
        grey, alpha = np.asarray(ImageOps.exif_transpose(picture).convert("LA"), np.float64).transpose(2, 0, 1) / 255
        top = (255 * grey * (alpha > 0)).max()
        if cut and 2 <= top < 16:
            grey = np.minimum(grey * 255 / _range(top), 1)
    strokes_are_dark = (grey * alpha).sum() <= 0.5 * alpha.sum()
    return alpha * grey + (1 - alpha) * strokes_are_dark


def _sixteen_bits(file: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return grey and opacity, both (height, width) from 0 to 1, of a picture of one band."""
    from PIL import Image, ImageOps

    picture = file.convert("I")
    values = np.asarray(picture)
    opaque = values != file.info.get("transparency", -1)
    top = _range(max(255, values.max(where=opaque, initial=0)))
    both = [picture, Image.fromarray(opaque.astype(np.uint8) * 255)]
    both[1].info = picture.info
    for band in both:
        band.thumbnail(LARGEST)
    grey, alpha = (np.asarray(ImageOps.exif_transpose(band), np.float64) for band in both)
    return np.clip(grey / top, 0, 1), alpha / 255


def _range(top: float) -> int:
    """Return the largest value of so many bits as `top` needs."""
    return 2 ** int(top).bit_length() - 1


def as_digit(brightness: np.ndarray, side: int) -> np.ndarray:
    """Convert a picture to the form of MNIST (LeCun et al. 1998), or of scikit-learn's digits.

    The result is light ink on a dark ground, cropped, scaled to a box of 20 x 20 pixels with its aspect ratio kept, and
    placed with its centre of mass in the centre of the 28 x 28 field. For another `side` the box is the whole field.
    The light may fall off across the picture; `minigru.experiments.ink.find` states the assumptions.

    Parameters
    ----------
    brightness : (height, width) from 0 (black) to 1 (white); what lies beyond is cut off
    side : of the result, in pixels

    Returns
    -------
    ink : (side, side) float32 from 0 (background) to 1 (ink)

    Raises
    ------
    ImageError
        The picture is blank.
    ValueError
        brightness is not (height, width) finite real numbers, or side is not a whole number from 1 up.

    Warns
    -----
    ImageWarning
        The picture shows several marks, or a frame or page: the answer may be meaningless.
    """
    from PIL import Image

    side, shape = checks.whole("side", side), ("height", "width")
    brightness = checks.reals("brightness", brightness, shape, get_backend("numpy"), np.dtype(np.float64))
    brightness = np.clip(brightness.astype(np.float64), 0, 1)

    ink = find(brightness)
    if not ink.any():
        raise ImageError("the picture is blank; expected strokes that stand out from the background")
    for doubt in doubts(ink):
        warnings.warn(doubt, ImageWarning, stacklevel=2)
    ink = crop(ink)
    box = BOX.get(side, side)
    height, width = (max(1, round(box * length / max(ink.shape))) for length in ink.shape)
    picture = Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    ink = np.asarray(picture)
    ink = ink / ink.max()

    top, left = (_offset(ink.sum(axis=1 - axis), side) for axis in (0, 1))
    field = np.zeros((side, side), np.float32)
    field[top : top + height, left : left + width] = ink
    return field


def _offset(mass: np.ndarray, side: int) -> int:
    """Return where a profile (n,) has to start so that its centre of mass is the middle of `side`, and it fits."""
    centre = (mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum()
    return int(np.clip(round(side / 2 - centre), 0, side - len(mass)))
