"""Look into a trained GRU as it reads handwritten digits: its gates, its memory, and the row at which it is sure.

The answer after every row is measured in two ways: by the last layer of the model, which was trained on the memory
after the last row alone, and by a probe, a linear layer fitted to the memory after that row.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

import numpy as np

from minigru import BackendUnavailable, SequenceClassifier, cli
from minigru.experiments import trace
from minigru.experiments.trace import Trace
from minigru.plots import digits as digit_plots
from minigru.training import data
from minigru.training.checkpoint import CheckpointError, load_model
from minigru.training.config import Config
from minigru.training.data import Dataset, DataUnavailable

CHUNK, BINS, EXTREMES, DIGITS = 500, 50, 3, 5  # images at a time, histogram bins, units of either kind, digits drawn
SURE = 0.9  # probability
FITTED, RIDGE = 6000, 0.1  # training images to which the probe is fitted, and its penalty
EXAMPLES = """
examples:
  python scripts/train_mnist.py --data digits --epochs 20 --out runs/digits     a model, in a few seconds
  python scripts/story/gates.py runs/digits --index 5                           the sixth test image
"""


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "checkpoint", type=cli.path, metavar="CHECKPOINT", help="checkpoint.npz of a run, or its folder"
    )
    cli.figure_options(parser)
    parser.add_argument(
        "--index", type=cli.whole("--index", 0), default=0, metavar="N", help="test image to read (default: 0)"
    )
    return parser.parse_args()


def load(options: argparse.Namespace) -> tuple[SequenceClassifier, Config, Dataset]:
    """Return a trained GRU, the configuration of its run, and the images."""
    model, config = load_model(options.checkpoint, options.backend)
    if config.model != "gru":
        raise ValueError(
            f"{options.checkpoint} has the cell {config.model!r}; expected a run of a GRU, whose gates are drawn"
        )
    if config.pixels:
        raise ValueError(
            f"{options.checkpoint} reads pixel by pixel; expected a run without --pixels, whose rows are drawn"
        )
    dataset = data.load(config.data)
    if not 0 <= options.index < len(dataset.x_test):
        raise ValueError(f"--index is {options.index}; expected 0 to {len(dataset.x_test) - 1}, one of the test images")
    return model, config, dataset


def untrained(model: SequenceClassifier, config: Config) -> SequenceClassifier:
    """Return the model as it was before training."""
    D, K = model.cell.input_size, model.num_classes
    return SequenceClassifier(D, config.hidden_size, K, dtype=config.dtype, rng=config.seed)


def average(model: SequenceClassifier, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return averages over the test set, which is read in chunks.

    Returns
    -------
    mean : (T, H), the update gate
    accuracy : (T,), of the last layer after every row, from 0 to 1
    shares : for each gate (BINS,), the share of its values in equal bins from 0 to 1, in percent
    """
    x, y = dataset.x_test, dataset.y_test
    total, right, counts = 0.0, 0.0, {"gamma_u": 0, "gamma_r": 0}
    for first in range(0, len(x), CHUNK):
        some = slice(first, first + CHUNK)
        seen = trace.gates(model, x[some])
        total = total + seen.gamma_u.sum(axis=0)
        right = right + (trace.answers(model, seen.c).argmax(axis=2) == y[some, None]).sum(axis=0)
        for gate in counts:
            counts[gate] = counts[gate] + np.histogram(getattr(seen, gate), BINS, (0, 1))[0]
    shares = {gate: 100 * count / count.sum() for gate, count in counts.items()}
    return total / len(x), right / len(x), shares


def memories(model: SequenceClassifier, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield a slice of the images, and their memories with a 1 appended for the bias, (T, n, H + 1)."""
    for first in range(0, len(x), CHUNK):
        c = trace.gates(model, x[first : first + CHUNK]).c.swapaxes(0, 1)
        yield slice(first, first + CHUNK), np.concatenate([c, np.ones((*c.shape[:2], 1))], axis=2)


def probe(model: SequenceClassifier, dataset: Dataset) -> np.ndarray:
    """Return the test accuracy of a linear layer fitted to the memory after each row, (T,) from 0 to 1.

    There is one layer per row, fitted to training images by ridge regression (Alain & Bengio 2016).
    """
    wanted = np.eye(model.num_classes)[dataset.y_train[:FITTED]]
    gram, cross, right = np.float64(0), np.float64(0), np.float64(0)
    for some, c in memories(model, dataset.x_train[:FITTED]):
        gram = gram + c.swapaxes(1, 2) @ c
        cross = cross + c.swapaxes(1, 2) @ wanted[some]
    W = np.linalg.solve(gram + RIDGE * np.eye(gram.shape[1]), cross)  # (T, H + 1, K)
    for some, c in memories(model, dataset.x_test):
        right = right + ((c @ W).argmax(axis=2) == dataset.y_test[some]).sum(axis=1)
    return right / len(dataset.x_test)


def sure_since(probabilities: np.ndarray, label: int) -> int | None:
    """Return the row, from 1, from which on the answer is right with at least `SURE`, or None if there is none."""
    wrong = np.flatnonzero((probabilities.argmax(axis=1) != label) | (probabilities.max(axis=1) < SURE))
    since = int(wrong[-1]) + 2 if len(wrong) else 1
    return since if since <= len(probabilities) else None


def ends(share: np.ndarray) -> tuple[float, float, float]:
    """Return how much of a histogram (BINS,) lies below 0.1, in between, and above 0.9."""
    tenth = BINS // 10
    return float(share[:tenth].sum()), float(share[tenth:-tenth].sum()), float(share[-tenth:].sum())


def print_digit(probabilities: np.ndarray, label: int, gamma_u: np.ndarray) -> None:
    """Print the answer after every row of one digit, when it is sure, and the range of its update gates."""
    print(f"\nThe answer after every row of a {label}: row, class and probability")
    for first in range(0, len(probabilities), 7):
        rows = enumerate(probabilities[first : first + 7], start=first + 1)
        print("  ".join(f"{row:2d}: {p.argmax()} {p.max():.2f}" for row, p in rows))
    since = sure_since(probabilities, label)
    print(f"sure of the {label}, with at least {SURE:g} to the end: {f'from row {since} on' if since else 'never'}")
    for name, gates in (("smallest", gamma_u.min(axis=1)), ("largest", gamma_u.max(axis=1))):
        print(f"{name:8}" + "".join(f"{100 * gate:4.0f}" for gate in gates) + "   update gate by row (hundredths)")


def print_averages(
    mean: np.ndarray, accuracy: np.ndarray, probed: np.ndarray, histograms: dict[str, dict[str, np.ndarray]]
) -> None:
    """Print the mean gate and the accuracies after every row, and the share of gates near either end."""
    print("\nMean update gate, and accuracy (%) if the answer were given after this row, over the test set")
    print("row     " + "".join(f"{row:4d}" for row in range(1, len(mean) + 1)))
    print("gate    " + "".join(f"{100 * gate:4.0f}" for gate in mean.mean(axis=1)) + "   (hundredths)")
    print("accuracy" + "".join(f"{100 * share:4.0f}" for share in accuracy) + "   by the last layer")
    print("probe   " + "".join(f"{100 * share:4.0f}" for share in probed) + "   by a layer fitted to this row")
    print(f"\nShare of gate values (%):{'below 0.1':>32}{'in between':>12}{'above 0.9':>12}")
    for gate, histogram in histograms.items():
        for when, share in histogram.items():
            low, between, high = ends(share)
            print(f"{gate:10}{when:16}{low:30.1f}{between:12.1f}{high:12.1f}")


def main() -> int:
    """Read the test set, print what was measured, and draw it."""
    options = parse_args()
    with cli.exit_on(2, ValueError, BackendUnavailable, CheckpointError, DataUnavailable, OSError):
        model, config, dataset = load(options)
    (_, _, before), (mean, accuracy, after) = (average(m, dataset) for m in (untrained(model, config), model))
    probed = probe(model, dataset)
    histograms = {gate: {"before training": before[gate], "after training": after[gate]} for gate in after}
    order = np.argsort(mean.mean(axis=0), kind="stable")  # from the units that keep most to those that replace most
    image, label = dataset.x_test[options.index], int(dataset.y_test[options.index])
    seen = Trace(*(array[0] for array in trace.gates(model, image[None])))
    probabilities = trace.answers(model, seen.c)
    print_digit(probabilities, label, seen.gamma_u)
    print_averages(mean, accuracy, probed, histograms)
    reading = partial(
        digit_plots.reading,
        image,
        *(array[:, order] for array in (seen.gamma_u, seen.gamma_r, seen.c)),
        probabilities,
        mean.mean(axis=1),
        accuracy,
        f"A GRU of {len(order)} units reads a {label}; units sorted by mean update gate, smallest left",
        probed,
    )
    units = [int(unit) for unit in (*order[:EXTREMES], *order[-EXTREMES:])]
    means = {unit: f"{mean[:, unit].mean():.2f}" for unit in units}
    print("\nUnits drawn: " + ", ".join(f"{unit} (mean gate {mean})" for unit, mean in means.items()))
    _, firsts = np.unique(dataset.y_test, return_index=True)
    shown = np.sort(firsts)[:DIGITS]
    c = trace.gates(model, dataset.x_test[shown]).c[:, :, units]
    remarks = {unit: f"mean $\\Gamma_u$ {mean}" for unit, mean in means.items()}
    memory = partial(digit_plots.memory, c, dataset.y_test[shown], remarks, histograms)
    cli.write_figures(options.out, gates=reading, memory=memory)
    return 0


if __name__ == "__main__":
    cli.run(main)
