"""Draw a mini-batch of training images with their labels, and print its shape, type and range.

With --distort, a second figure shows the same images as a training run sees them in one of its epochs.
"""

from __future__ import annotations

import numpy as np

from minigru import BackendUnavailable, cli, get_backend
from minigru.plots import digits as digit_plots
from minigru.training import data, distort
from minigru.training.config import add_option
from minigru.training.data import DataUnavailable

EXAMPLES = """
examples:
  python scripts/story/show_batch.py                              16 images, of MNIST where it can be had
  python scripts/story/show_batch.py --data digits --seed 1       others, that need no download
  python scripts/story/show_batch.py --distort affine             also distorted, as --recipe best sees them
"""
LARGEST = 100  # images; more take long to draw and are too small to see


def main() -> int:
    """Draw a batch, print its labels, and write the figure."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    cli.figure_options(parser)
    add_option(parser, "data")
    add_option(parser, "batch_size", default=16, help="images")
    add_option(parser, "distort")
    options = parser.parse_args()
    if options.batch_size > LARGEST:
        parser.error(f"--batch-size is {options.batch_size}; expected at most {LARGEST}, so that each image is visible")
    with cli.exit_on(2, ValueError, BackendUnavailable, DataUnavailable, OSError):
        backend = get_backend(options.backend)
        dataset = data.load(options.data)
        rng = np.random.default_rng(options.seed)
        chosen = rng.permutation(len(dataset.x_train))[: options.batch_size]
        x, y = backend.to_device(dataset.x_train[chosen]), dataset.y_train[chosen]
        (B, T, D), dtype = x.shape, x.dtype
        title = f"A mini-batch of {dataset.name.replace('mnist', 'MNIST')}: x ({B}, {T}, {D})"
        print(f"{title} {dtype} from {float(x.min()):g} to {float(x.max()):g}, y ({B},)")
        print("labels: " + " ".join(map(str, y)))
        drawn = map(backend.to_device, distort.draw(options.distort, rng, *x.shape))
        distorted = distort.apply(backend, x, *drawn)
    figures = {"batch": lambda: digit_plots.digit_grid(backend.to_host(x), y, title)}
    if options.distort != "none":
        after = f"The same images, distorted ({options.distort})"
        figures["batch_distorted"] = lambda: digit_plots.digit_grid(backend.to_host(distorted), y, after)
    cli.write_figures(options.out, **figures)
    return 0


if __name__ == "__main__":
    cli.run(main)
