"""Undo the rearrangements of docs/engine.md one at a time, and say what each of them saves and costs.

ablation.diff says how each (F…) is undone, in a copy of the package. The copies must still compute the same
gradients and take the same step of Adam; then they take turns with minigru as it is. The price is the number of
statements that the package would be shorter by. Anything else that runs on the machine spoils the figures.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from baselines import K, initial, make_batch
from bench import Rows, calls, in_words, machine, table, take_turns, with_threads

import minigru
from minigru import cli
from minigru.training.files import replace_file

PACKAGE = Path(minigru.__file__).parent
LONG = 392  # steps, after which a gradient has vanished


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--batch", type=cli.positive, nargs="+", default=[32, 128, 512], metavar="B", help="batch sizes (32 128 512)"
    )
    parser.add_argument("--rounds", type=cli.positive, default=15, metavar="N", help="turns of each copy (15)")
    parser.add_argument("--threads", type=cli.positive, default=1, metavar="N", help="BLAS threads (1)")
    parser.add_argument("--json", type=cli.output_file, metavar="FILE", help="write all figures there")
    return parser.parse_args()


def read_hunks() -> dict[str, list[tuple[str, str, str]]]:
    """Return for each tag its hunks: a file of the package, what stands there, and what would without the tag."""
    hunks: dict[str, list[tuple[str, str, str]]] = {}
    for part in Path(__file__).with_suffix(".diff").read_text("utf-8").split("\n= ")[1:]:
        head, *lines = part.splitlines()
        tag, file = head.split()
        old, new = ("".join(line[1:] + "\n" for line in lines if line.startswith(sign)) for sign in "-+")
        hunks.setdefault(tag, []).append((file, old, new))
    return hunks


def statements(package: Path) -> int:
    """Count the statements of a package, docstrings left out."""
    nodes = [node for path in package.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    docstrings = [node for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return sum(isinstance(node, ast.stmt) for node in nodes) - len(docstrings)


def without(tag: str, hunks: list[tuple[str, str, str]], folder: Path) -> tuple[ModuleType, int]:
    """Return a copy of the package without a rearrangement, and by how many statements it is shorter.

    Raises
    ------
    ValueError
        The package does not hold what a hunk is to replace, or not once.
    """
    name = f"minigru_without_{tag}".replace("-", "_")
    copy = folder / name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in hunks:
        text = (copy / file).read_text("utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{tag}: {file} holds these lines {text.count(old)} times, expected once:\n{old}")
        (copy / file).write_text(text.replace(old, new), "utf-8")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name), statements(PACKAGE) - statements(copy)
    finally:
        sys.path.remove(str(folder))


def stepper(
    package: ModuleType, T: int, B: int, lr: float = 1e-3, D: int = 28, H: int = 128
) -> tuple[Callable[[], None], Any]:
    """Return a function that takes one training step with a copy of the package, and its model."""
    model = package.SequenceClassifier(D, H, K)
    for name, value in initial(D, H, 0).items():
        model.params[name][...] = value
    adam, (x, y) = package.Adam(model, lr), make_batch(T, B, D, 0)

    def step() -> None:
        model.loss(x, y)
        model.backward()
        adam.step()

    return step, model


def prove_agreement(copies: dict[str, ModuleType]) -> None:
    """Raise ValueError unless every copy has the gradients and, after a step, the parameters of minigru."""
    step, expected = stepper(minigru, 5, 3)
    step()
    for tag, package in copies.items():
        step, model = stepper(package, 5, 3)
        step()
        for name in expected.params:
            for ours, theirs in ((expected.grads, model.grads), (expected.params, model.params)):
                error = np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(ours[name])
                if not error < 1e-4:
                    raise ValueError(f"without {tag}, {name} differs by {error:.1e}; nothing was timed")


def prices(copies: dict[str, ModuleType], T: int, B: int, options: argparse.Namespace, lr: float = 1e-3) -> Rows:
    """Return what each rearrangement saves, in milliseconds a step and as a share of the step without it."""
    packages = {"": minigru, **copies}
    runs = {
        tag: with_threads(options.threads, calls(stepper(package, T, B, lr)[0])) for tag, package in packages.items()
    }
    times = take_turns(runs, options.rounds)
    ours = times.pop("")
    return [
        {
            "tag": tag,
            "T": T,
            "B": B,
            "ms": float(np.median(ours)),
            "saved_ms": float(np.median(undone - ours)),
            "saved_share": float(np.median(1 - ours / undone)),
        }
        for tag, undone in times.items()
    ]


def main() -> int:
    """Measure, and print the prices."""
    options = parse_args()
    about = machine()
    print(f"{about['processor']}, {about['cores']} cores, {about['blas']}, {in_words(options.threads)}")
    with tempfile.TemporaryDirectory() as folder, cli.exit_on(1, ValueError, OSError):
        copies, spent = {}, {}
        for tag, hunks in read_hunks().items():
            copies[tag], spent[tag] = without(tag, hunks, Path(folder))
        prove_agreement(copies)
        rows = [row for B in options.batch for row in prices(copies, 28, B, options)]
        rows += prices({"F9": copies["F9"]}, LONG, 32, options, lr=0)  # it vanishes at initialisation only
    cells = []
    for tag in copies:
        mine = [row for row in rows if row["tag"] == tag]
        saved = [f"{row['saved_ms']:.2f} ({row['saved_share']:.0%})" for row in mine]
        cells.append([tag, *saved, *[""] * (len(options.batch) + 1 - len(saved)), str(spent[tag])])
    head = ["", *(f"B={B}" for B in options.batch), f"B=32 T={LONG}, untrained", "statements"]
    table("Saved: milliseconds of a training step (share of the step without it). T=28 D=28 H=128.", head, cells)
    whole = ", ".join(f"{ms:.2f}" for ms in {row["B"]: row["ms"] for row in rows if row["T"] == 28}.values())
    print(f"\nA step of minigru as it is: {whole} ms.")
    if options.json:
        found = {"machine": about, "threads": options.threads, "prices": rows, "statements": spent}
        with cli.exit_on(1, OSError):
            replace_file(options.json, lambda file: file.write((json.dumps(found, indent=1) + "\n").encode()))
    return 0


if __name__ == "__main__":
    cli.run(main)
