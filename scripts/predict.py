"""Ask a trained model what it reads in a picture, and how sure it is.

The picture is a test image, a person's own (brought to the form of the training images: grey, light on dark, cropped,
scaled and centred), or the mistakes that the model is surest of.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from pathlib import Path

import numpy as np

from minigru import BackendUnavailable, cli
from minigru.experiments import images
from minigru.experiments.images import ImageError
from minigru.plots import digits as digit_plots
from minigru.training import data, trained
from minigru.training.checkpoint import CheckpointError
from minigru.training.data import DataUnavailable

WORST = 8
EXAMPLES = """
examples:
  python scripts/predict.py runs/a --index 8          the ninth test image
  python scripts/predict.py runs/a --image five.png   a picture of your own
  python scripts/predict.py runs/a -                  the worst mistakes in the test set
"""


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint.npz of a run, or its folder")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("worst", nargs="?", choices=("-",), metavar="-", help="the mistakes that the model is surest of")
    what.add_argument("--index", type=int, metavar="N", help="a test image (default: one drawn with --seed)")
    what.add_argument("--image", metavar="FILE", help="a PNG of any size with one digit on a plain ground; - as above")
    cli.figure_options(parser)
    options = parser.parse_args()
    if options.image == "":
        parser.error("--image is empty; expected the file of a picture, or - for the worst mistakes")
    if options.image == "-":
        options.image, options.worst = None, "-"
    return options


def report(probabilities: np.ndarray, labels: np.ndarray | None, names: list[str]) -> None:
    """Print what is read in each picture, what it is, and the probability of every class in percent."""
    K = probabilities.shape[1]
    print(f"{'':14}{'read':>5}{'is':>4}   probability (%) of {''.join(f'{k:6d}' for k in range(K))}")
    for place, (name, p) in enumerate(zip(names, probabilities, strict=True)):
        truth = "?" if labels is None else str(labels[place])
        print(f"{name:14}{p.argmax():5d}{truth:>4}{'':22}" + "".join(f"{100 * value:6.1f}" for value in p))


def main() -> int:
    """Read the picture, print the answer, and draw both."""
    options = parse_args()
    with cli.exit_on(2, ValueError, BackendUnavailable, CheckpointError, DataUnavailable, ImageError, OSError):
        model, config = trained.load(options.checkpoint, options.backend)
        if options.image is not None:
            path = Path(options.image)
            with warnings.catch_warnings(record=True) as doubts:
                warnings.simplefilter("always", images.ImageWarning)
                original = images.read(path)
                try:
                    x = images.as_digit(original, model.cell.input_size)[None]
                except ImageError as error:
                    raise ImageError(f"{path}: {error}") from None
            for doubt in doubts:
                print(f"predict.py: warning: {path}: {doubt.message}", file=sys.stderr)
            probabilities = model.predict_proba(x)
            report(probabilities, None, [path.name[:13]])
            figure = digit_plots.answers(x, probabilities, None, f"{path.name}, and what the model saw", original)
        else:
            dataset = data.load(config.data)
            x, y = dataset.x_test, dataset.y_test
            found = mistakes(model.predict_proba(x), y) if options.worst else np.array(one(options, len(x)))
            chosen = found[:WORST]
            summary = how_sure(model.predict_proba(x[found])) if options.worst else None
            x, y = x[chosen], y[chosen]
            probabilities = model.predict_proba(x)
            report(probabilities, y, [f"test {index:,}" for index in chosen])
            if summary:
                print(summary)
            title = f"The mistakes that the model is surest of, of {len(dataset.y_test):,} test images"
            if not options.worst:
                title = f"Test image {chosen[0]:,} of {dataset.name.replace('mnist', 'MNIST')}"
            figure = digit_plots.answers(x, probabilities, y, title)
        what = "image" if options.image is not None else "worst" if options.worst else "index"
        cli.write_figures(options.out, **{f"predict_{what}": figure})
    return 0


def one(options: argparse.Namespace, n: int) -> list[int]:
    """Return the index asked for, or one drawn by chance."""
    if options.index is None:
        return [int(np.random.default_rng(options.seed).integers(n))]
    if not 0 <= options.index < n:
        raise ValueError(f"--index is {options.index}; expected 0 to {n - 1}, one of the test images")
    return [options.index]


def mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return all test images that are read wrongly, from the surest mistake."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    if not len(wrong):
        raise ValueError(f"the model makes no mistake in {len(labels):,} test images; try --index or --image")
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def how_sure(probabilities: np.ndarray) -> str:
    """Say how sure the mistakes (n, K) are, given from the surest on."""
    sure, shown = 100 * probabilities.max(axis=1), min(WORST, len(probabilities))
    return (
        f"Of {len(sure)} mistakes these {shown} are the surest, each at {math.floor(10 * sure[shown - 1]) / 10:.1f} % "
        f"or more; half of the mistakes are at {np.median(sure):.1f} % or less."
    )


if __name__ == "__main__":
    cli.run(main)
