"""Look into a trained GRU as it reads handwritten digits: its gates, its memory, and when it knows the answer.

The model is that of --checkpoint, a run of scripts/train_mnist.py; without it one is trained first, for a short time,
with --data, --epochs and --seed. The answer is asked for after every row in two ways: from the last layer of the model,
which was trained on the memory after the last row alone, and from a probe, a linear layer fitted to the memory after
that row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from minigru import BackendUnavailable, SequenceClassifier, cli
from minigru.experiments import trace
from minigru.experiments.trace import Trace
from minigru.plots import digits as digit_plots
from minigru.training import data
from minigru.training.checkpoint import CheckpointError, load_model
from minigru.training.config import Config
from minigru.training.data import Dataset, DataUnavailable
from minigru.training.trainer import Diverged, Trainer

EPOCHS = {"mnist": 2, "digits": 20}  # where there is no checkpoint
CHUNK, BINS, EXTREMES, DIGITS = 500, 50, 3, 5  # images at a time, of a histogram, units of either kind, digits drawn
SURE = 0.9  # probability
FITTED, RIDGE = 6000, 0.1  # training images that the probe is fitted to, and its penalty


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__)
    cli.figure_options(parser)
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", type=Path, metavar="PATH", help="checkpoint.npz of a run, or the run's folder")
    model.add_argument("--data", choices=data.DATA, default="auto", help="what to train on without one (default: auto)")
    parser.add_argument("--epochs", type=cli.positive, metavar="N", help=f"of that training (default: {EPOCHS})")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="test image to read (default: 0)")
    options = parser.parse_args()
    if options.checkpoint and options.epochs:
        parser.error("--epochs belongs to a training; with --checkpoint there is none")
    return options


def images(name: str, index: int) -> Dataset:
    """Load a data set that has this test image."""
    dataset = data.load(name)
    if not 0 <= index < len(dataset.x_test):
        raise ValueError(f"--index is {index}; expected 0 to {len(dataset.x_test) - 1}, one of the test images")
    return dataset


def obtain(options: argparse.Namespace) -> tuple[SequenceClassifier, Config, Dataset]:
    """Return a trained GRU, what it was trained with, and the images."""
    if options.checkpoint:
        model, config = load_model(options.checkpoint, options.backend)
        if config.model != "gru":
            raise ValueError(
                f"{options.checkpoint} is a plain RNN, which has no gates; expected a run with --model gru"
            )
        return model, config, images(config.data, options.index)
    dataset = images(options.data, options.index)
    epochs = options.epochs or EPOCHS[dataset.name]
    config = Config(backend=options.backend, data=dataset.name, epochs=epochs, seed=options.seed)
    print(f"There is no --checkpoint: training for {config.epochs} epochs.", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, dataset, Path(folder))
        if not trainer.run():
            raise KeyboardInterrupt
    return trainer.model, config, dataset


def untrained(model: SequenceClassifier, config: Config) -> SequenceClassifier:
    """Return the model as it was before its training."""
    D, K = model.cell.input_size, model.num_classes
    return SequenceClassifier(D, config.hidden_size, K, dtype=config.dtype, rng=config.seed)


def average(model: SequenceClassifier, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Read the test set, some images at a time.

    Returns
    -------
    mean : (T, H), the update gate
    accuracy : (T,), of the answer after every row, from 0 to 1
    shares : for each gate (BINS,), how its values spread over equal bins from 0 to 1, in percent
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
    """Read images, some at a time; yield which, and their memories with a 1 behind, (T, n, H + 1)."""
    for first in range(0, len(x), CHUNK):
        c = trace.gates(model, x[first : first + CHUNK]).c.swapaxes(0, 1)
        yield slice(first, first + CHUNK), np.concatenate([c, np.ones((*c.shape[:2], 1))], axis=2)


def probe(model: SequenceClassifier, dataset: Dataset) -> np.ndarray:
    """Return how well a linear layer reads the digit from the memory after each row, (T,) from 0 to 1.

    One layer a row, fitted to training images by ridge regression (Alain & Bengio 2016), and tried on the test images.
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
    """Return the row, from 1, since when the answer is right with at least `SURE`, to the end; None is never."""
    wrong = np.flatnonzero((probabilities.argmax(axis=1) != label) | (probabilities.max(axis=1) < SURE))
    since = int(wrong[-1]) + 2 if len(wrong) else 1
    return since if since <= len(probabilities) else None


def ends(share: np.ndarray) -> tuple[float, float, float]:
    """Return how much of a spread (BINS,) lies below 0.1, in between, and above 0.9."""
    tenth = BINS // 10
    return float(share[:tenth].sum()), float(share[tenth:-tenth].sum()), float(share[-tenth:].sum())


def print_digit(probabilities: np.ndarray, label: int, gamma_u: np.ndarray) -> None:
    """Print the answer after every row of one digit, since when it is sure, and the range of its update gates."""
    print(f"\nThe answer after every row of a {label}: class and probability")
    for first in range(0, len(probabilities), 7):
        rows = enumerate(probabilities[first : first + 7], start=first + 1)
        print("  ".join(f"{row:2d}: {p.argmax()} {p.max():.2f}" for row, p in rows))
    since = sure_since(probabilities, label)
    print(f"sure of the {label} to at least {SURE:g}, and to the end: {f'since row {since}' if since else 'never'}")
    for name, gates in (("least", gamma_u.min(axis=1)), ("most", gamma_u.max(axis=1))):
        print(f"{name:8}" + "".join(f"{100 * gate:4.0f}" for gate in gates) + "   update gate, by row (hundredths)")


def print_averages(
    mean: np.ndarray, accuracy: np.ndarray, probed: np.ndarray, spreads: dict[str, dict[str, np.ndarray]]
) -> None:
    """Print the mean gate and the accuracies by row, and how many gates are near either end."""
    print("\nOver the test set, after every row: mean update gate, and accuracy (%) if it had to answer then")
    print("row     " + "".join(f"{row:4d}" for row in range(1, len(mean) + 1)))
    print("gate    " + "".join(f"{100 * gate:4.0f}" for gate in mean.mean(axis=1)) + "   (hundredths)")
    print("accuracy" + "".join(f"{100 * share:4.0f}" for share in accuracy) + "   of the last layer")
    print("probe   " + "".join(f"{100 * share:4.0f}" for share in probed) + "   of a layer fitted to this row")
    print(f"\nShare of gate values (%):{'below 0.1':>32}{'in between':>12}{'above 0.9':>12}")
    for gate, spread in spreads.items():
        for when, share in spread.items():
            low, between, high = ends(share)
            print(f"{gate:10}{when:16}{low:30.1f}{between:12.1f}{high:12.1f}")


def main() -> int:
    """Read the test set, print what was measured, and draw it."""
    options = parse_args()
    refused = (ValueError, BackendUnavailable, CheckpointError, DataUnavailable, OSError)
    with cli.exit_on(2, *refused), cli.exit_on(1, Diverged):
        model, config, dataset = obtain(options)
    before, after = (average(m, dataset) for m in (untrained(model, config), model))
    mean, accuracy, _ = after
    probed = probe(model, dataset)
    spreads = {
        gate: {"before training": before[2][gate], "after training": after[2][gate]} for gate in ("gamma_u", "gamma_r")
    }
    order = np.argsort(mean.mean(axis=0), kind="stable")  # from the units that keep most to those that replace most
    image, label = dataset.x_test[options.index], int(dataset.y_test[options.index])
    seen = Trace(*(array[0] for array in trace.gates(model, image[None])))
    probabilities = trace.answers(model, seen.c)
    print_digit(probabilities, label, seen.gamma_u)
    print_averages(mean, accuracy, probed, spreads)
    reading = digit_plots.reading(
        image,
        *(array[:, order] for array in (seen.gamma_u, seen.gamma_r, seen.c)),
        probabilities,
        mean.mean(axis=1),
        accuracy,
        f"A GRU of {len(order)} units reads a {label}; units from keeping (left) to replacing",
        probed,
    )
    units = [*order[:EXTREMES], *order[-EXTREMES:]]
    _, firsts = np.unique(dataset.y_test, return_index=True)
    shown = np.sort(firsts)[:DIGITS]
    said = {int(unit): f"$\\Gamma_u$ {mean[:, unit].mean():.2f} on average" for unit in units}
    print("\nUnits drawn: " + ", ".join(f"{unit} (mean gate {mean[:, unit].mean():.2f})" for unit in units))
    c = trace.gates(model, dataset.x_test[shown]).c[:, :, units]
    memory = digit_plots.memory(c, dataset.y_test[shown], said, spreads)
    with cli.exit_on(2, OSError):
        cli.write_figures(options.out, gates=reading, memory=memory)
    return 0


if __name__ == "__main__":
    cli.run(main)
