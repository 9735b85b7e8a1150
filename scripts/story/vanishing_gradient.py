"""Measure how far back a gradient reaches, and which models learn to recall the first symbol of a long sequence.

A sequence is one of 8 symbols to recall, then T - 1 symbols of another alphabet. For each T, four models of equal width
are trained from scratch on the same newly generated batches, by the same Adam:

- the plain RNN as minigru initialises it,
- the same RNN with orthogonal recurrent weights (Saxe et al. 2014),
- the GRU as minigru initialises it (b_u = -1),
- the same GRU with b_u drawn for sequences of T steps (Tallec & Ollivier 2018).

The gradient of the loss with respect to the memory after every step is measured before and after training. All lengths
take about 80 s.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator

import numpy as np

from minigru import BackendUnavailable, SequenceClassifier, cli, get_backend
from minigru.experiments import tasks, trace
from minigru.plots import story as story_plots
from minigru.training.config import add_option

EXAMPLES = """
examples:
  python scripts/story/vanishing_gradient.py --lengths 28 100       two lengths alone
  python scripts/story/vanishing_gradient.py --curriculum           begin each training with short sequences
"""
K, B, LEARNED = 8, 32, 98.0  # symbols, sequences per batch, accuracy in percent that counts as learned
LONGEST = 10_000  # steps; the test sequences then take 640 MB of RAM
NAMES = RNN, ORTHOGONAL, PLAIN, TIMED = "RNN", "RNN, orthogonal", "GRU, b_u = -1", "GRU, b_u for T"
DRAWN = (28, 100, 784)  # lengths whose gradients are drawn


def start(name: str, T: int, options: argparse.Namespace) -> SequenceClassifier:
    """Return the model of this name, initialised for sequences of T steps."""
    rng, H = np.random.default_rng(options.seed), options.hidden_size
    cell = "rnn" if name in (RNN, ORTHOGONAL) else "gru"
    model = SequenceClassifier(2 * K, H, K, cell, options.backend, rng=rng)
    if name == ORTHOGONAL:  # rows [:H] of W_a meet a_prev; rows [H:] meet x and stay
        orthogonal, _ = np.linalg.qr(rng.standard_normal((H, H)))
        model.params["rnn.W_a"][:H] = model.backend.to_device(orthogonal.astype(model.dtype))
    if name == TIMED:
        tasks.expect_length(model, T, rng)
    return model


def batches(T: int, options: argparse.Namespace) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Generate the training batches: sequences of T steps, or with --curriculum of a length that grows to T."""
    rng = np.random.default_rng([options.seed, T])
    for step in itertools.count(1):
        length = min(T, math.ceil(T * step / (0.7 * options.steps))) if options.curriculum else T
        yield tasks.recall(rng, B, length, K)


def measure(name: str, T: int, options: argparse.Namespace) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Train one model; return its accuracy in percent, and its gradient norms before and after training."""
    x, y = tasks.recall(np.random.default_rng([options.seed, T, 1]), 1000, T, K)
    model = start(name, T, options)
    before = trace.gradient_norms(model, x[:B], y[:B])
    tasks.fit(model, batches(T, options), options.steps, options.lr, f"{name}, T = {T}")
    accuracy = float((model.predict(x, 250) == y).mean() * 100)
    return accuracy, (before, trace.gradient_norms(model, x[:B], y[:B]))


def radius(model: SequenceClassifier) -> float:
    """Return the spectral radius of the recurrent weights of an RNN."""
    W = model.backend.to_host(model.params["rnn.W_a"])[: model.cell.hidden_size]
    return float(np.abs(np.linalg.eigvals(W)).max())


def reach(norms: np.ndarray) -> float:
    """Return the gradient norm at the first step relative to the last; norms (T + 1,)."""
    return float(norms[1] / norms[-1])


def learners(accuracy: dict[str, dict[int, float]], T: int) -> list[str]:
    """Return the names of the models that have learned to recall over T steps."""
    return [name for name, curve in accuracy.items() if curve[T] >= LEARNED]


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    cli.figure_options(parser)
    lengths = [5, 10, 20, 28, 50, 100, 200, 784]
    option = parser.add_argument
    steps = f"steps (default: {lengths})"
    option("--lengths", type=cli.whole("--lengths"), nargs="+", default=lengths, metavar="T", help=steps)
    option("--steps", type=cli.whole("--steps"), default=500, metavar="N", help="training batches of 32 (default: 500)")
    add_option(parser, "hidden_size", default=32)
    add_option(parser, "lr", default=5e-3)
    option("--curriculum", action="store_true", help="begin with short sequences, reach T after 70 %% of the batches")
    options = parser.parse_args()
    options.lengths = sorted(set(options.lengths))
    if options.lengths[0] < 2:
        parser.error("--lengths contains 1; expected 2 and more, so that there is something to remember")
    if options.lengths[-1] > LONGEST:
        parser.error(f"--lengths contains {options.lengths[-1]}; expected at most {LONGEST:,}, which fit in RAM")
    return options


def main() -> int:
    """Train, print what was measured, and draw it."""
    options = parse_args()
    cli.limit_blas(None, B, options.hidden_size)
    accuracy: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    norms: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    drawn = [T for T in options.lengths if T in DRAWN] or options.lengths[-1:]
    with cli.exit_on(2, BackendUnavailable):
        get_backend(options.backend)
    print("Accuracy (%) in recalling the first of T symbols; guessing gives 12.5 %")
    print(f"{'T':>5}" + "".join(f"{name:>17}" for name in NAMES), flush=True)
    for T in options.lengths:
        found = {}
        for name in NAMES:
            with cli.exit_on(1, FloatingPointError):
                accuracy[name][T], found[name] = measure(name, T, options)
        print(f"{T:5d}" + "".join(f"{accuracy[name][T]:17.1f}" for name in NAMES), flush=True)
        if T in drawn:
            norms[T] = found
    print("\nNorm of the gradient, da or dc, at the first step, relative to the last:")
    print(f"{'T':>5}  {'':16}{'before training':>16}{'after training':>16}")
    for T, models in norms.items():
        for name, pair in models.items():
            print(f"{T:5d}  {name:16}" + "".join(f"{reach(norm):16.1e}" for norm in pair))
    radii = (f"{name} {radius(start(name, options.lengths[0], options)):.2f}" for name in (RNN, ORTHOGONAL))
    print(f"\nSpectral radius of the recurrent weights before training: {'; '.join(radii)}")
    T = next((T for T in options.lengths if T >= 100), options.lengths[-1])
    print(f"At T = {T} these models learn (at least {LEARNED:g} %): {'; '.join(learners(accuracy, T)) or 'none'}")
    cli.write_figures(options.out, vanishing_gradient=lambda: story_plots.vanishing(norms, accuracy, 100 / K))
    return 0


if __name__ == "__main__":
    cli.run(main)
