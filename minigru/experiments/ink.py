"""The ink in a photograph: what differs from the paper around it, however the light falls on the paper."""

from __future__ import annotations

import numpy as np

LEAST_CONTRAST = 0.1  # of the range from black to white, below which a picture shows nothing
PAPER = 0.15  # of the darkest ink: what is fainter is paper
NOISE = 4  # standard deviations of the grain of the paper, which ink exceeds somewhere
SPECK = 0.01  # of the largest mark's ink: what has less is dirt
FINE, COARSE = 400, 100  # pixels of the longer side: of the picture that is searched, and of the light on it
GAP = 0.1  # of the height of all ink, from which on two marks stand apart
WIDE = 1.6  # width over height, from which on a digit is several
TIGHT = 0.95  # of both sides of a picture, from which on it is cropped to the ink, which may then reach the edge
MEETINGS = 6  # in so many places
RECTANGLE = 0.9  # of the smallest rectangle around a mark, from which on the mark is a rectangle itself
SLENDER = 0.4  # width over length, below which a rectangle is a stroke


def find(brightness: np.ndarray) -> np.ndarray:
    """Return how much ink there is in each pixel of a photograph.

    Assumptions: most of the picture's edge shows the ground; the brightness of the ground changes slowly, about as a
    quadratic does over the picture and otherwise over distances longer than a stroke is wide; all ink is darker than
    the ground, or all is lighter. Dark ink reflects a share of the light on the paper, so it is compared with the
    paper around it by division; light ink, whose ground may be black, by subtraction.

    Parameters
    ----------
    brightness : (height, width) floats from 0 (black) to 1 (white)

    Returns
    -------
    ink : (at most 400, at most 400) floats from 0 (ground) to 1 (ink); 0 everywhere if the photograph is blank
    """
    from scipy import ndimage

    brightness = _shrink(brightness, FINE)
    if np.ptp(brightness) < LEAST_CONTRAST:
        return np.zeros(brightness.shape)
    ground, dark = _ground(_shrink(brightness, COARSE))
    ground = _resize(ground, *brightness.shape)
    ink = (ground - brightness) / np.maximum(ground, LEAST_CONTRAST) if dark else brightness - ground
    few = 1 + ink.size // 2000  # not the strongest pixel itself, which may be dirt
    strongest = np.partition(ink, -few, axis=None)[-few]
    grain = 1.5 * np.median(-ink[ink < 0]) if (ink < 0).any() else 0.0  # whatever is fainter than paper is grain
    if strongest < max(LEAST_CONTRAST, NOISE * grain):
        return np.zeros(brightness.shape)
    ink = np.minimum(ink / strongest, 1)
    ink[ink < PAPER] = 0
    marks, n = ndimage.label(ink, np.ones((3, 3)))
    mass = ndimage.sum_labels(ink, marks, range(n + 1))
    return np.where((mass >= SPECK * mass.max())[marks], ink, 0)


def crop(ink: np.ndarray) -> np.ndarray:
    """Return the smallest part of a picture (height, width) that holds all its ink; there must be some."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _ground(brightness: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the brightness (height, width) that a picture would have without its ink, and whether the ink is dark."""
    from scipy import ndimage

    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in brightness.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), y, x, y * y, x * y, x * x], axis=-1)
    frame = np.ones(brightness.shape, bool)
    frame[1:-1, 1:-1] = False
    plane, edge, weights = terms[..., :3], brightness[frame], np.ones(frame.sum())
    for _ in range(20):  # least absolute deviations, by reweighting: ink that touches the edge counts little
        solution = np.linalg.lstsq(plane[frame] * weights[:, None], edge * weights, rcond=None)[0]
        weights = np.maximum(np.abs(edge - plane[frame] @ solution), 1e-3) ** -0.5
    ground = plane @ solution
    dark = (ground - brightness).max() > (brightness - ground).max()
    reach = max(brightness.shape) / 15
    for _ in range(5):  # the ground tells which pixels are ink, and the others tell the ground
        ink = ground - brightness if dark else brightness - ground
        paper = ndimage.binary_erosion(ink < max(PAPER * ink.max(), 0.02), border_value=1)
        if not paper.any():
            break
        surface = terms @ np.linalg.lstsq(terms[paper], brightness[paper], rcond=None)[0]
        rest, near = (
            ndimage.gaussian_filter(array, reach, mode="constant")
            for array in (np.where(paper, brightness - surface, 0), paper.astype(float))
        )
        ground = surface + rest / (near + 1e-3)
    return ground, bool(dark)


def doubts(ink: np.ndarray) -> list[str]:
    """Return why the ink (height, width) of a picture may not be one digit, one sentence per reason."""
    from scipy import ndimage

    found = []
    edge = np.concatenate([ink[0], ink[1:, -1], ink[-1, -2::-1], ink[-2:0:-1, 0]]) > 0  # once around the picture
    edge = ndimage.binary_closing(edge, np.ones(1 + len(edge) // 100))  # frayed ink meets it once
    meetings = np.count_nonzero(edge != np.roll(edge, 1)) / 2
    whole, ink = ink.shape, crop(ink)
    tight = ink.shape[0] >= TIGHT * whole[0] and ink.shape[1] >= TIGHT * whole[1]
    if meetings > (MEETINGS if tight else 0):
        found.append("ink or shadow reaches the edge of the picture; photograph one whole digit with paper around it")
    ink = _shrink(ink, COARSE)
    height, width = ink.shape
    apart = ndimage.label(ndimage.distance_transform_edt(ink == 0) <= GAP / 2 * height)[1] > 1
    if apart or width > WIDE * height:
        found.append("the picture seems to show several marks; the answer counts only if they are one digit")
    if _is_rectangle(ndimage.binary_fill_holes(ink)):
        found.append("the picture shows a rectangle, such as a frame or a page on a table; crop it to what is inside")
    return found


def _is_rectangle(shape: np.ndarray) -> bool:
    """Return whether a shape (height, width) fills the smallest rectangle around it, and is no stroke."""
    points, sides = np.argwhere(shape), list[np.ndarray]()
    for angle in np.linspace(0, np.pi / 2, 30, endpoint=False):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        sides.append(np.ptp(points @ turn, axis=0) + 1)
    width, length = np.sort(min(sides, key=lambda side: float(np.prod(side))))
    return bool(width >= SLENDER * length and len(points) >= RECTANGLE * width * length)


def _shrink(picture: np.ndarray, longest: int) -> np.ndarray:
    """Return a picture of the same shape whose longer side has at most `longest` pixels."""
    scale = min(1, longest / max(picture.shape))
    return picture if scale == 1 else _resize(picture, *(max(1, round(scale * n)) for n in picture.shape))


def _resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture of another size: the mean of the pixels where it becomes smaller, between them where larger."""
    from PIL import Image

    method = Image.Resampling.BOX if (height, width) < picture.shape else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(picture.astype(np.float32)).resize((width, height), method), np.float64)
