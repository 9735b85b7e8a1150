"""Write a trained model, and digits to read, as the scripts that the page ``docs/play`` loads.

weights.js has the GRU, rnn.js a plain RNN to compare it with, and digits.js test images: a right one of every class,
the mistakes that the GRU is surest of, and a 4 and a 9 between which the answer turns.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import gates
import numpy as np

from minigru import SequenceClassifier, cli
from minigru.training import data
from minigru.training.checkpoint import CheckpointError, load_model
from minigru.training.config import Config
from minigru.training.data import Dataset, DataUnavailable
from minigru.training.files import replace_file
from minigru.training.reading import evaluation_batch
from minigru.training.recipes import RECIPES

LARGEST = 350_000  # bytes of a file
CHANGED = 0.0005  # of the answers on the test images, which float16 may change
WORST = 6  # mistakes
FROM, TO = 4, 9  # the classes between which the answer turns
STEPS = 101  # mixtures of two images
EXAMPLES = """
examples:
  python scripts/story/export_page.py --run runs/best                 the GRU, and the digits
  python scripts/story/export_page.py --run runs/best --rnn runs/rnn  the plain RNN too
"""


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    run = "checkpoint.npz of a run of a GRU on MNIST's rows, or its folder"
    parser.add_argument("--run", type=cli.path, required=True, metavar="RUN", help=run)
    parser.add_argument("--rnn", type=cli.path, metavar="RUN", help="the same, of a plain RNN of the same size")
    parser.add_argument(
        "--out", type=cli.output_folder, default="docs/play", metavar="DIR", help="folder (default: %(default)s)"
    )
    return parser.parse_args()


def load(path: Path, cell: str) -> tuple[SequenceClassifier, Config]:
    """Return the model of a run, which must have this cell and read an image row by row."""
    model, config = load_model(path)
    if config.model != cell:
        raise ValueError(f"{path} has the cell {config.model!r}; expected {cell!r}")
    if config.pixels:
        raise ValueError(f"{path} reads pixel by pixel; expected a run without --pixels, whose rows are shown")
    return model, config


def in_numbers_of(model: SequenceClassifier, dtype: str) -> SequenceClassifier:
    """Return a copy of a model whose parameters are rounded to a type of floating point numbers."""
    rounded = copy.deepcopy(model)
    rounded.vector[...] = model.vector.astype(dtype)
    return rounded


def smallest(model: SequenceClassifier, x: np.ndarray) -> tuple[str, SequenceClassifier]:
    """Return float16 and the model in float16 if its answers on x (n, T, D) stay the same, and otherwise float32."""
    half, batch = in_numbers_of(model, "float16"), evaluation_batch(x.shape[1])
    changed = float(np.mean(half.predict(x, batch) != model.predict(x, batch)))
    print(f"float16 changes {100 * changed:.2f} % of {len(x):,} answers")
    return ("float16", half) if changed <= CHANGED else ("float32", in_numbers_of(model, "float32"))


def command(config: Config) -> str:
    """Return the command that trained a model."""
    recipe = Config(**{"recipe": config.recipe} | RECIPES[config.recipe])
    words = ["python", "scripts/train_mnist.py"] + ["--recipe", config.recipe] * (config.recipe != "article")
    for option in fields(Config):
        value = getattr(config, option.name)
        if value != getattr(recipe, option.name) and (option.name, value) != ("data", "mnist"):
            words += ["--" + option.name.replace("_", "-")] + [str(value)] * (value is not True)
    return cli.command_line(words)


def weights(model: SequenceClassifier, dtype: str, config: Config, dataset: Dataset) -> dict[str, Any]:
    """Return what the page needs of a model: sizes, parameters, the order of the units, accuracy and origin."""
    x, y = dataset.x_test, dataset.y_test
    D, H = model.cell.input_size, model.cell.hidden_size
    parameters = {name.partition(".")[2]: view for name, view in model.params.items()}
    numbers = b"".join(view.astype(f"<f{np.dtype(dtype).itemsize}").tobytes() for view in parameters.values())
    right = 100 * float(np.mean(model.predict(x, evaluation_batch(x.shape[1])) == y))
    return {
        "kind": config.model,
        "made": command(config),
        "accuracy": round(right, 2),  # in percent, of these numbers
        "images": len(x),
        "T": x.shape[1],
        "D": D,
        "H": H,
        "K": model.num_classes,
        "order": by_update_gate(model, dataset) if config.model == "gru" else list(range(H)),
        "dtype": dtype,
        "arrays": [[name, view.size] for name, view in parameters.items()],
        "base64": base64.b64encode(numbers).decode(),
    }


def by_update_gate(model: SequenceClassifier, dataset: Dataset) -> list[int]:
    """Return the units by their mean update gate over the test images, as in ``docs/figures/gates.png``."""
    mean, _, _ = gates.average(model, dataset)
    return [int(unit) for unit in np.argsort(mean.mean(axis=0), kind="stable")]


def digits(model: SequenceClassifier, dataset: Dataset) -> dict[str, Any]:
    """Return test images for the page: right ones, the surest mistakes, and a pair between which the answer turns."""
    x, y = dataset.x_test, dataset.y_test
    p = model.predict_proba(x, evaluation_batch(x.shape[1]))
    answers, sure = p.argmax(axis=1), p.max(axis=1)

    def shown(index: int) -> dict[str, Any]:
        pixels = base64.b64encode(np.rint(255 * x[index]).astype(np.uint8).tobytes()).decode()
        found = {"index": int(index), "label": int(y[index]), "answer": int(answers[index])}
        return found | {"sure": round(float(sure[index]), 4), "pixels": pixels}

    right = [np.flatnonzero((y == k) & (answers == k))[:1] for k in range(model.num_classes)]
    mistakes = np.argsort(np.where(answers != y, -sure, 0), kind="stable")[: min(WORST, np.count_nonzero(answers != y))]
    pair, turn = between(
        model, x, *(np.flatnonzero((y == k) & (answers == k) & (sure >= gates.SURE)) for k in (FROM, TO))
    )
    return {
        "right": [shown(index) for found in right for index in found],
        "mistakes": [shown(index) for index in mistakes],
        "between": [shown(index) for index in pair],
        "turn": turn,  # the share of the second image from which on the answer is its class
    }


def between(model: SequenceClassifier, x: np.ndarray, some: np.ndarray, others: np.ndarray) -> tuple[list[int], float]:
    """Return the two most similar images of two classes, and the share of the second at which the answer turns."""
    if not (len(some) and len(others)):
        return [], 0.0
    a, b = (x[index].reshape(len(index), -1) for index in (some, others))
    distance = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    pair, share = [int(some[i]), int(others[j])], np.linspace(0, 1, STEPS, dtype=x.dtype)[:, None, None]
    answers = model.predict((1 - share) * x[pair[0]] + share * x[pair[1]])
    return pair, round(float(share[np.argmax(answers == TO), 0, 0]), 2)


def write(path: Path, name: str, content: dict[str, Any]) -> None:
    """Write a script that defines ``window.NAME``, and print its size."""
    text = (
        f"// Written by scripts/story/export_page.py\nwindow.{name} = {json.dumps(content, separators=(',', ':'))};\n"
    )
    if len(text) > LARGEST:
        raise ValueError(f"{path.name} has {len(text):,} bytes; expected at most {LARGEST:,}: train a smaller model")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: file.write(text.encode()))
    print(f"File: {path} ({len(text):,} bytes)")


def main() -> int:
    """Read the runs and the test images, and write the scripts."""
    options = parse_args()
    with cli.exit_on(2, ValueError, CheckpointError, DataUnavailable, OSError):
        runs = {"gru": load(options.run, "gru")} | ({"rnn": load(options.rnn, "rnn")} if options.rnn else {})
        for cell, (model, config) in runs.items():
            dataset = data.load(config.data)
            dtype, model = smallest(model, dataset.x_test)
            content = weights(model, dtype, config, dataset)
            print(f"{cell}: {content['accuracy']:.2f} % of {content['images']:,} test images in {content['dtype']}")
            write(options.out / ("weights.js" if cell == "gru" else "rnn.js"), f"MINIGRU_{cell.upper()}", content)
            if cell == "gru":
                write(options.out / "digits.js", "MINIGRU_DIGITS", digits(model, dataset))
    return 0


if __name__ == "__main__":
    cli.run(main)
