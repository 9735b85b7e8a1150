"""Distorted images: chosen source pixels, the same for every rank, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import minigru
from minigru.training import data, distort
from minigru.training.distort import DISTORTIONS

NUMPY = minigru.get_backend("numpy")


def sources(kind, T, D, rng):
    """Distort images whose pixels hold their own numbers, from 1, as the source of each pixel, or 0 for background."""
    x = np.broadcast_to(np.arange(1, T * D + 1, dtype="float64").reshape(T, D), (200, T, D))
    return x, distort.apply(NUMPY, x, *distort.draw(kind, rng, 200, T, D))


@pytest.mark.parametrize(("T", "D"), [(28, 28), (8, 8), (3, 40), (1, 1)])
@pytest.mark.parametrize("kind", DISTORTIONS)
def test_a_pixel_comes_from_a_pixel_near_by_or_is_background(kind, T, D, rng):
    x, found = sources(kind, T, D, rng)
    assert (found == x).all() == (kind == "none" or (T, D) == (1, 1))
    assert {*np.unique(found)} <= {*range(T * D + 1)}
    image, row, column = np.nonzero(found)
    source_row, source_column = np.divmod(found[image, row, column].astype(int) - 1, D)
    shift, slant, tilt, stretch = DISTORTIONS[kind]
    assert (abs(source_row - row) <= shift * T + stretch * T / 2 + tilt * D / 2 + 1.5).all()
    assert (abs(source_column - column) <= shift * D + stretch * D / 2 + slant * T / 2 + 1.5).all()


def test_shifts_reach_two_pixels_each_way_and_move_the_whole_image(rng):
    x, found = sources("shift", 28, 28, rng)
    moved = {tuple(np.divmod(int(image[14, 14]) - 1, 28)) for image in found}
    assert moved == {(14 + down, 14 + right) for down in range(-2, 3) for right in range(-2, 3)}
    for image in found:
        down, right = (number - 14 for number in np.divmod(int(image[14, 14]) - 1, 28))
        expected = np.zeros((32, 32))
        expected[2:-2, 2:-2] = x[0]
        np.testing.assert_array_equal(image, expected[2 + down : 30 + down, 2 + right : 30 + right])


def test_an_affine_distortion_slants_tilts_and_stretches_each_side_by_itself(rng):
    rows, tilts, columns, slants = distort.draw("affine", rng, 1000, 28, 28)
    for leaning in tilts, slants:
        assert {*leaning[:, 0]} == {*range(-3, 4)}
        assert (leaning[:, 0] == -leaning[:, -1]).all()
    for lengths in (rows[:, -1] - rows[:, 0], columns[:, -1] - columns[:, 0]):
        assert {*lengths} == {25, 27, 29}  # both ends move alike
    assert abs(np.corrcoef(rows[:, -1] - rows[:, 0], columns[:, -1] - columns[:, 0])[0, 1]) < 0.1
    _, tilts, _, slants = distort.draw("affine", rng, 1000, 100, 100)
    assert (tilts.max(), slants.max()) == (10, 12)  # 0.2 and 0.25 of 49.5


def test_a_pixel_comes_from_the_row_and_the_column_that_are_given(rng):
    x, image = rng.random((3, 4, 5)), np.arange(3)[:, None, None]
    rows, tilts, columns, slants = (rng.integers(-2, 7, (3, side)) for side in (4, 5, 5, 4))
    row, column = rows[:, :, None] + tilts[:, None, :], columns[:, None, :] + slants[:, :, None]
    expected = np.pad(x, ((0, 0), (20, 20), (20, 20)))[image, row + 20, column + 20]
    np.testing.assert_array_equal(distort.apply(NUMPY, x, rows, tilts, columns, slants), expected)


@pytest.mark.parametrize(
    ("holdout", "words"), [(10, ""), (1437, "holdout is 1437; expected less than the 1437 training")]
)
def test_images_held_out_are_the_last_ones_and_not_trained_on(holdout, words):
    dataset = data.load("digits")
    if words:
        with pytest.raises(ValueError, match=words):
            data.hold_out(dataset, holdout)
    else:
        kept = data.hold_out(dataset, holdout)
        np.testing.assert_array_equal(np.concatenate([kept.x_train, kept.x_test]), dataset.x_train)
        np.testing.assert_array_equal(np.concatenate([kept.y_train, kept.y_test]), dataset.y_train)
        assert len(kept.y_test) == holdout
