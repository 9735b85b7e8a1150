"""A person's own picture of a digit, brought to the form of the images that a model was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .ink import LEAST_CONTRAST, PAPER, doubts, find

LARGEST = (1000, 1000)  # pixels that are read; a larger picture is made smaller first
BOX = {28: 20}  # an MNIST digit fills 20 of 28 pixels; scikit-learn's small digits fill all of theirs


class ImageError(RuntimeError):
    """A file is not an image, or shows nothing; the message says which."""


class ImageWarning(UserWarning):
    """A picture was read, and the answer may mean nothing; the message says why."""


def read(path: Path) -> np.ndarray:
    """Return a picture as brightness, (height, width) floats from 0 (black) to 1 (white).

    Colours become grey. What is transparent becomes white under dark strokes and black under light ones.

    Raises
    ------
    ImageError
        There is no such file, it is not an image that Pillow reads whole, or its pixels have more than 16 bits.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected an image")
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if file.mode == "F" or (file.mode == "I" and file.format != "PNG"):  # of no stated range
                raise ImageError(f"{path} has pixels of 32 bits; expected 8 or 16 bits, as in a PNG or JPEG")
            return _brightness(ImageOps.exif_transpose(file))
    except FileNotFoundError:
        raise ImageError(f"there is no image {path}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image; expected a PNG, or another format that Pillow reads") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError(f"{path} has too many pixels; expected a picture of one digit") from None
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError is Pillow's word for a broken PNG
        raise ImageError(f"{path} cannot be read ({error})") from error


def _brightness(picture: Any) -> np.ndarray:
    wide = picture.mode.startswith("I")  # 16 bits, which Pillow would cut off at 255
    picture = picture.convert("I" if wide else "RGBA")
    picture.thumbnail(LARGEST)
    if wide:
        return np.clip(np.asarray(picture, np.float64) / 65535, 0, 1)
    grey, alpha = np.asarray(picture.convert("LA"), np.float64).transpose(2, 0, 1) / 255
    strokes_are_dark = (grey * alpha).sum() <= 0.5 * alpha.sum()
    return alpha * grey + (1 - alpha) * strokes_are_dark


def as_digit(brightness: np.ndarray, side: int) -> np.ndarray:
    """Bring a picture to the form of MNIST (LeCun et al. 1998), or of scikit-learn's digits.

    Light ink on a dark ground, cropped, scaled to fill a box of 20x20 pixels without changing its shape, and moved so
    that its centre of mass is that of the 28x28 field. With another `side` the box is the whole field.

    Parameters
    ----------
    brightness : (height, width) floats from 0 (black) to 1 (white)
    side : of the result, in pixels

    Returns
    -------
    ink : (side, side) float32 from 0 (background) to 1 (ink)

    Raises
    ------
    ImageError
        The picture is blank.
    """
    from PIL import Image

    ink = find(brightness)
    if not ink.size:
        raise ImageError("the picture is blank: it has no strokes that stand out from its background")
    for doubt in doubts(ink):
        warnings.warn(doubt, ImageWarning, stacklevel=2)
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
