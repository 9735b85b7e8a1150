"""Train with each recipe, and print every seed's test accuracy and the seconds until a test accuracy was reached.

The seconds are those of training, without the tests between epochs. A run that --out holds already
is read, not repeated.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report import table

from minigru import cli
from minigru.training import data
from minigru.training.data import DataUnavailable
from minigru.training.recipes import RECIPES

EXAMPLES = """
examples:
  python scripts/bench/recipes.py --recipes fast best --seeds 5         the table of docs/results.md, on one core
  python scripts/bench/recipes.py --recipes fast --seeds 5 --ranks 2    on two cores
  python scripts/bench/recipes.py --recipes article --with torch        also the article's recipe in PyTorch
  python scripts/bench/recipes.py --recipes best --epochs 20 --seeds 3  with more epochs than the recipe has
"""
TRAIN = Path(__file__).resolve().parents[1] / "train_mnist.py"
TORCH = "the article's loop, PyTorch"


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--recipes", nargs="+", choices=[*RECIPES], default=["fast", "best"], metavar="RECIPE")
    parser.add_argument("--seeds", type=cli.whole("--seeds"), default=1, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--ranks", type=cli.whole("--ranks"), default=1, metavar="N", help="processes of a run")
    parser.add_argument("--epochs", type=cli.whole("--epochs"), metavar="N", help="instead of the recipe's")
    parser.add_argument("--data", choices=("mnist", "digits"), default="mnist", help="data set (default: mnist)")
    target = "test accuracy in percent whose time is shown (default: %(default)s)"
    parser.add_argument("--target", type=float, default=98.75, metavar="PERCENT", help=target)
    other = "also train the article's recipe in PyTorch, on as many threads as ranks"
    parser.add_argument("--with", dest="other", choices=("torch",), help=other)
    parser.add_argument("--out", type=cli.path, default="runs/recipes", metavar="DIR", help="folder for the runs")
    return parser.parse_args()


def train(recipe: str, seed: int, options: argparse.Namespace) -> pd.DataFrame:
    """Return the history of a run: its own, or that of an earlier call."""
    out = options.out / f"{options.data}-{recipe}-{options.epochs or 'its'}-{options.ranks}-{seed}"
    command = [sys.executable, str(TRAIN), "--data", options.data, "--recipe", recipe, "--seed", str(seed)]
    command += ["--ranks", str(options.ranks), "--quiet", "--out", str(out)] + (
        ["--epochs", str(options.epochs)] if options.epochs else []
    )
    if not (out / "confusion.png").exists():  # the last file of a complete run
        resume = ["--resume"] if (out / "checkpoint.npz").exists() else []
        subprocess.run(
            [*command, *resume], check=True, stdout=sys.stderr, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        )
    return pd.read_csv(out / "history.csv")


def train_torch(seed: int, options: argparse.Namespace) -> pd.DataFrame:
    """Return the history of the article's recipe in PyTorch."""
    import baselines
    import torch
    from torch_baselines import ArticleLoop

    torch.set_num_threads(options.ranks)
    dataset = data.load(options.data)
    rng = np.random.default_rng(seed)
    model = ArticleLoop(baselines.initial(dataset.x_train.shape[2], 128, seed))
    rows: list[dict[str, Any]] = []
    for epoch in range(1, (options.epochs or 10) + 1):
        order = rng.permutation(len(dataset.x_train))
        start = time.perf_counter()
        for batch in np.split(order, range(32, len(order), 32)):
            model.step(*model.prepare(dataset.x_train[batch], dataset.y_train[batch]))
        seconds = time.perf_counter() - start
        accuracy = float((model.predict(dataset.x_test) == dataset.y_test).mean() * 100)
        rows.append({"epoch": epoch, "test_accuracy_percent": accuracy, "train_seconds": seconds})
    return pd.DataFrame(rows)


def row(name: str, seed: int, history: pd.DataFrame, options: argparse.Namespace) -> list[str]:
    """Return the cells of a run."""
    accuracy, seconds = history["test_accuracy_percent"], history["train_seconds"].cumsum()
    reached = seconds[accuracy >= options.target]
    until = f"{reached.iloc[0]:.1f}" if len(reached) else "never"
    cells = [name, str(options.ranks), str(seed), str(len(history)), f"{accuracy.iloc[-1]:.2f}"]
    return [*cells, f"{seconds.iloc[-1]:.1f}", until]


def main() -> int:
    """Train, and print the table."""
    options = parse_args()
    jobs: dict[str, Any] = {
        recipe: lambda seed, recipe=recipe: train(recipe, seed, options) for recipe in options.recipes
    }
    if options.other:
        jobs[TORCH] = lambda seed: train_torch(seed, options)
    rows, means = [], []
    with cli.exit_on(2, DataUnavailable, ImportError, subprocess.CalledProcessError):
        for name, job in jobs.items():
            found = [row(name, seed, job(seed), options) for seed in range(options.seeds)]
            rows += found
            accuracy, seconds = ([float(cells[column]) for cells in found] for column in (4, 5))
            means.append(
                [name, str(options.ranks), str(len(found)), f"{np.mean(accuracy):.3f}", f"{np.mean(seconds):.1f}"]
            )
    head = ["recipe", "ranks", "seed", "epochs", "test accuracy (%)", "training (s)", f"until {options.target:g} % (s)"]
    table(f"Every run, with one BLAS thread per rank, on {options.data}.", head, rows)
    table("Means.", ["recipe", "ranks", "seeds", "test accuracy (%)", "training (s)"], means)
    return 0


if __name__ == "__main__":
    cli.run(main)
