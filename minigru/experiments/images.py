"""Convert your own picture of a digit to the form of the images that a model was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LEAST_CONTRAST = 0.1  # a picture with less, of the range from black to white, counts as blank
PAPER = 0.15  # brightness below this share of the strongest ink counts as paper
LARGEST = (1000, 1000)  # a larger picture is scaled down first, which bounds time and RAM
BOX = {28: 20}  # an MNIST digit fills 20 of 28 pixels; scikit-learn's small digits fill all of theirs


class ImageError(RuntimeError):
    """A file is not an image, or the image is blank; the message says which."""


def read(path: Path) -> np.ndarray:
    """Return a picture as brightness, (height, width) floats from 0 (black) to 1 (white).

    Colours become grey. Transparent pixels become white if the strokes are dark, and black if the strokes are light.

    Raises
    ------
    ImageError
        The file does not exist, Pillow cannot read it to the end, or its pixels have more than 16 bits.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path.is_dir():
        raise ImageError(f"{path} is a folder; expected an image")
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if file.mode == "F" or (file.mode == "I" and file.format != "PNG"):  # without a defined white
                raise ImageError(f"{path} has pixels of 32 bits; expected 8 or 16 bits, as in a PNG or JPEG")
            return _brightness(ImageOps.exif_transpose(file))
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; expected an image") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image; expected a PNG or another format that Pillow reads") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError(f"{path} has too many pixels; expected a picture of one digit") from None
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise ImageError(f"{path} cannot be read ({error})") from error


def _brightness(picture: Image.Image) -> np.ndarray:
    wide = picture.mode.startswith("I")  # 16 bits, which a conversion to RGBA would clip at 255
    picture = picture.convert("I" if wide else "RGBA")
    picture.thumbnail(LARGEST)
    if wide:
        return np.clip(np.asarray(picture, np.float64) / 65535, 0, 1)
    grey, alpha = np.asarray(picture.convert("LA"), np.float64).transpose(2, 0, 1) / 255
    strokes_are_dark = (grey * alpha).sum() <= 0.5 * alpha.sum()
    return alpha * grey + (1 - alpha) * strokes_are_dark


def as_digit(brightness: np.ndarray, side: int) -> np.ndarray:
    """Convert a picture to the form of MNIST (LeCun et al. 1998), or of scikit-learn's digits.

    The result is light ink on a dark ground, cropped, scaled to a box of 20 x 20 pixels with its aspect ratio kept, and
    placed with its centre of mass in the centre of the 28 x 28 field. For another `side` the box is the whole field.

    Parameters
    ----------
    brightness : (height, width) floats from 0 (black) to 1 (white)
    side : width and height of the result, in pixels

    Returns
    -------
    ink : (side, side) float32 from 0 (background) to 1 (ink)

    Raises
    ------
    ImageError
        The picture is blank.
    """
    from PIL import Image

    low, high = brightness.min(), brightness.max()
    if high - low < LEAST_CONTRAST:
        raise ImageError("the picture is blank; expected strokes that stand out from the background")
    frame = np.concatenate([brightness[0], brightness[-1], brightness[1:-1, 0], brightness[1:-1, -1]])
    ground = float(np.median(frame))
    ink = ground - brightness if ground - low > high - ground else brightness - ground
    ink = ink / ink.max()
    ink[ink < PAPER] = 0
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

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
    """Return the start of a profile (n,) that puts its centre of mass at the middle of `side`, as far as it fits."""
    centre = (mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum()
    return int(np.clip(round(side / 2 - centre), 0, side - len(mass)))
