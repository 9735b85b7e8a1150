"""Classify a picture with a trained model, and show how sure the model is.

The picture is a test image, a picture of your own (turned into the form of the training images: grey, light on dark,
cropped, scaled and centred), or one of the mistakes that the model is surest of.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from minigru import BackendUnavailable, SequenceClassifier, cli
from minigru.experiments import images
from minigru.experiments.images import ImageError
from minigru.plots import digits as digit_plots
from minigru.training import data
from minigru.training.checkpoint import CheckpointError, load_model
from minigru.training.config import Config
from minigru.training.data import Dataset, DataUnavailable
from minigru.training.reading import evaluation_batch, sequences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw: TypeAlias = "Callable[[], Figure]"
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
    parser.add_argument(
        "checkpoint", type=cli.path, metavar="CHECKPOINT", help="checkpoint.npz of a run, or its folder"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("worst", nargs="?", choices=("-",), metavar="-", help="the mistakes that the model is surest of")
    index = "a test image (default: one drawn with --seed)"
    what.add_argument("--index", type=cli.whole("--index", 0), metavar="N", help=index)
    what.add_argument(
        "--image", type=cli.path, metavar="FILE", help="a PNG of any size with one digit on a plain background"
    )
    cli.figure_options(parser)
    return parser.parse_args()


def main() -> int:
    """Classify the picture, print the answer, and draw both."""
    options = parse_args()
    with cli.exit_on(2, ValueError, BackendUnavailable, CheckpointError, DataUnavailable, ImageError, OSError):
        model, config = load_model(options.checkpoint, options.backend)
        if options.image is not None:
            figures = {"predict_image": classify_picture(model, config, options.image)}
        elif options.worst:
            figures = {"predict_worst": classify_worst(model, config, data.load(config.data))}
        else:
            dataset = data.load(config.data)
            figures = {"predict_index": classify_one(model, config, dataset, options.index, options.seed)}
    cli.write_figures(options.out, **figures)
    return 0


def probabilities_of(model: SequenceClassifier, config: Config, images: np.ndarray) -> np.ndarray:
    """Return the probability of every class, (n, K), for images (n, rows, columns), read as in training."""
    x = sequences(images, config)
    return model.predict_proba(x, evaluation_batch(x.shape[1]))


def classify_picture(model: SequenceClassifier, config: Config, path: Path) -> Draw:
    """Classify the picture in a file, print the answer, and return what draws it."""
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", images.ImageWarning)
        original = images.read(path)
        try:
            side = data.SIDES[config.data] if config.pixels else model.cell.input_size
            x = images.as_digit(original, side)[None]
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    for doubt in doubts:
        print(f"predict.py: warning: {path}: {doubt.message}", file=sys.stderr)
    probabilities = probabilities_of(model, config, x)
    report(probabilities, None, [path.name[:13]])
    return partial(digit_plots.answers, x, probabilities, None, f"{path.name}, and what the model saw", original)


def classify_one(model: SequenceClassifier, config: Config, dataset: Dataset, index: int | None, seed: int) -> Draw:
    """Classify the test image `index`, or one drawn with `seed`, print the answer, and return what draws it."""
    n = len(dataset.x_test)
    if index is None:
        index = int(np.random.default_rng(seed).integers(n))
    if not 0 <= index < n:
        raise ValueError(f"--index is {index}; expected 0 to {n - 1}, one of the test images")
    return classify(
        model, config, dataset, [index], f"Test image {index:,} of {dataset.name.replace('mnist', 'MNIST')}"
    )


def classify_worst(model: SequenceClassifier, config: Config, dataset: Dataset) -> Draw:
    """Print the mistakes that the model is surest of, and how sure it is, and return what draws them."""
    probabilities, labels = probabilities_of(model, config, dataset.x_test), dataset.y_test
    sure = np.where(probabilities.argmax(axis=1) != labels, probabilities.max(axis=1), 0)
    mistakes = np.argsort(-sure, kind="stable")[: np.count_nonzero(sure)]
    if not len(mistakes):
        raise ValueError(f"the model makes no mistake in {len(labels):,} test images; try --index or --image")
    title = f"The mistakes that the model is surest of, of {len(labels):,} test images"
    draw = classify(model, config, dataset, mistakes[:WORST], title)
    print(how_sure(100 * sure[mistakes]))
    return draw


def classify(
    model: SequenceClassifier, config: Config, dataset: Dataset, chosen: np.ndarray | list[int], title: str
) -> Draw:
    """Classify the chosen test images, print the answers, and return what draws them."""
    x, y = dataset.x_test[chosen], dataset.y_test[chosen]
    probabilities = probabilities_of(model, config, x)
    report(probabilities, y, [f"test {index:,}" for index in chosen])
    return partial(digit_plots.answers, x, probabilities, y, title)


def report(probabilities: np.ndarray, labels: np.ndarray | None, names: list[str]) -> None:
    """Print for each picture its predicted class, its label, and the probability of every class in percent."""
    K = probabilities.shape[1]
    print(f"{'':14}{'read':>5}{'is':>4}   probability (%) of {''.join(f'{k:6d}' for k in range(K))}")
    for place, (name, p) in enumerate(zip(names, probabilities, strict=True)):
        truth = "?" if labels is None else str(labels[place])
        print(f"{name:14}{p.argmax():5d}{truth:>4}{'':22}" + "".join(f"{100 * value:6.1f}" for value in p))


def how_sure(sure: np.ndarray) -> str:
    """Describe the probabilities (n,) of n mistakes, in percent, from the surest on."""
    shown = min(WORST, len(sure))
    return (
        f"Of {len(sure)} mistakes these {shown} are the surest, each at {math.floor(10 * sure[shown - 1]) / 10:.1f} % "
        f"or more; half of the mistakes are at {np.median(sure):.1f} % or less."
    )


if __name__ == "__main__":
    cli.run(main)
