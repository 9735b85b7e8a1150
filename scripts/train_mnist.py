"""Train a GRU, row by row, to read handwritten digits."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import sys
import tempfile
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from minigru import BackendUnavailable, __version__, cli
from minigru.engine.adam import SCHEDULES
from minigru.engine.backend import BACKENDS, get_backend
from minigru.engine.model import CELLS
from minigru.training import data
from minigru.training.checkpoint import CheckpointError
from minigru.training.config import Config, resumed
from minigru.training.data import DataUnavailable
from minigru.training.files import replace_file
from minigru.training.parallel import EndedElsewhere, MPIUnavailable, Ranks, connect
from minigru.training.trainer import Diverged, Trainer

FILES = ("checkpoint.npz", "history.csv", "config.json", "curves.png", "digits.png", "confusion.png")
NAMES = {"mnist": "MNIST", "digits": "digits"}
EXAMPLES = """
examples:
  python scripts/train_mnist.py                                   the article's recipe: 98.6 to 99.0 % in ten epochs
  python scripts/train_mnist.py --lr 2e-3 --schedule cosine       a better recipe: about 99.1 %
  python scripts/train_mnist.py --data digits --epochs 30         small images that need no download
  python scripts/train_mnist.py --limit 6000 --epochs 1           a first look
  mpiexec -n 2 python scripts/train_mnist.py                      on two cores, each with half of every batch
  python scripts/train_mnist.py --out runs/a                      Ctrl-C saves …
  python scripts/train_mnist.py --out runs/a --resume             … and this goes on, to the very same numbers

exit status: 0 done, 1 the training failed, 2 an option or a file is wrong, 130 stopped with Ctrl-C
"""


def parse_args() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options given that belong to the configuration, and the others."""
    default = Config()
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)

    def option(name: str, kind: Any, help: str, **kwargs: Any) -> None:
        value = getattr(default, name[2:].replace("-", "_"))
        parser.add_argument(name, type=kind, default=None, help=f"{help} (default: {value})", **kwargs)

    option("--backend", str, "array library; cupy needs an NVIDIA GPU", choices=BACKENDS)
    option("--data", str, "mnist, scikit-learn's bundled digits, or auto: mnist where it can be had", choices=data.DATA)
    parser.add_argument(
        "--data-home",
        metavar="DIR",
        help="scikit-learn's data folder (default: $SCIKIT_LEARN_DATA or ~/scikit_learn_data)",
    )
    option("--model", str, "recurrent layer", choices=tuple(CELLS))
    option("--hidden-size", int, "length of the memory", metavar="H")
    option("--epochs", int, "passes over the training images", metavar="N")
    option("--batch-size", int, "images a step", metavar="B")
    option("--lr", float, "learning rate of Adam", metavar="RATE")
    option("--schedule", str, "course of the learning rate", choices=tuple(SCHEDULES))
    option("--clip-norm", float, "scale gradients down to this norm where they are longer", metavar="NORM")
    option("--seed", cli.seed, "of the initial weights and of the order of the images", metavar="N")
    option("--dtype", str, "floating point numbers of the engine", choices=("float32", "float64"))
    option("--limit", int, "use this many training images, from the first", metavar="N")
    parser.add_argument(
        "--threads",
        type=cli.positive,
        metavar="N",
        help="BLAS threads of a process (default: 1 for small products and under mpiexec; else as BLAS likes)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results (default: runs/DATE_TIME)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from DIR/checkpoint.npz, with the options it was made with"
    )
    parser.add_argument("--quiet", action="store_true", help="print the last lines only")
    given = vars(parser.parse_args())
    if given["out"] == "":
        parser.error("--out is empty; expected a folder")
    if given["resume"] and given["out"] is None:
        parser.error("--resume needs --out DIR, the folder of the run to go on with")
    given["out"] = given["out"] and Path(given["out"])
    names = {field.name for field in fields(Config)}
    config = {name: value for name, value in given.items() if name in names and value is not None}
    return config, {name: value for name, value in given.items() if name not in names}


def claim(out: Path | None, resume: bool) -> Path:
    """Return the folder for the results, made and proved writable; refuse one that holds results already."""
    if out is None:
        first = Path("runs", time.strftime("%Y-%m-%d_%H-%M-%S"))
        for number in itertools.count(1):
            out = first if number == 1 else Path(f"{first}-{number}")
            with contextlib.suppress(FileExistsError):
                out.mkdir(parents=True)
                return out
    there = [name for name in FILES if (out / name).exists()]
    if there and not resume:
        raise ValueError(f"{out} already holds {there[0]}: add --resume to go on with a run, or choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written to: {error.strerror}") from error
    return out


def open_run(given: dict[str, Any], other: dict[str, Any]) -> tuple[Config, data.Dataset, Path, bool]:
    """Return what the options ask for: configuration, data, the folder for the results, and whether it was made."""
    out, resume = other["out"], other["resume"]
    config = resumed(out / "checkpoint.npz", given) if resume else Config(**given)
    get_backend(config.backend)
    existed = out is not None and out.exists()
    out = claim(out, resume)
    try:
        dataset = data.load(config.data, other["data_home"], config.dtype)
    except BaseException:
        if not existed:
            out.rmdir()
        raise
    return replace(config, data=dataset.name), dataset, out, not existed


def prepare(given: dict[str, Any], other: dict[str, Any], ranks: Ranks) -> tuple[Trainer, data.Dataset]:
    """Return the run that the options ask for, ready to go on every rank."""
    config, dataset, out, made = ranks.first(lambda: open_run(given, other))
    cli.limit_blas(other["threads"], config.batch_size, config.hidden_size, ranks.size)

    def start() -> Trainer:
        trainer = Trainer(config, dataset, out, ranks)
        if other["resume"]:
            trainer.resume()
        if ranks.rank == 0:
            text = json.dumps({"minigru": __version__, **asdict(config)}, indent=2) + "\n"
            replace_file(out / "config.json", lambda file: file.write(text.encode()))
        return trainer

    try:
        return ranks.each(start), dataset
    except BaseException:
        if made and ranks.rank == 0:
            (out / "config.json").unlink(missing_ok=True)
            out.rmdir()
        raise


def main() -> int:
    """Train, and leave the results in a folder."""
    with cli.exit_on(2, MPIUnavailable):
        ranks = connect()
    with ranks.first_alone_speaks():
        given, other = parse_args()
    refused = (ValueError, MemoryError, BackendUnavailable, CheckpointError, DataUnavailable, OSError)
    with cli.exit_on(2, *refused), ranks.together(*refused, EndedElsewhere), cli.exit_on(130, KeyboardInterrupt):
        trainer, dataset = prepare(given, other, ranks)
    with (
        cli.exit_on(1, Diverged, silent=ranks.rank > 0),
        ranks.together(Diverged),
        cli.exit_on(1, MemoryError, OSError),
        cli.exit_on(130, KeyboardInterrupt),
    ):
        return train(trainer, dataset, other)


def train(trainer: Trainer, dataset: data.Dataset, other: dict[str, Any]) -> int:
    """Run to the end or to Ctrl-C, and say where the results are."""
    ranks = trainer.ranks
    mpiexec = ["mpiexec", "-n", str(ranks.size)] if ranks.size > 1 else []
    home = ["--data-home", other["data_home"]] if other["data_home"] else []
    go_on = shlex.join([*mpiexec, "python", sys.argv[0], "--out", str(trainer.out), "--resume", *home])
    if not trainer.run(quiet=other["quiet"]):
        if ranks.rank == 0:
            print(f"Stopped and saved. Go on: {go_on}", file=sys.stderr)
        return 130
    try:
        _, accuracy, predictions = trainer.evaluate()
        if ranks.rank > 0:
            return 0
        write_figures(trainer, dataset, predictions)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the run is complete and saved, without its figures; to draw them: {go_on}") from None
    print(f"Test accuracy: {accuracy:.2f} % of {len(dataset.y_test):,} {NAMES[dataset.name]} images")
    print(f"Results: {trainer.out} ({', '.join(FILES)})")
    return 0


def write_figures(trainer: Trainer, dataset: data.Dataset, predictions: Any) -> None:
    """Write the three figures of a run."""
    from minigru.plots import digits, training

    name = f"{trainer.config.model.upper()}, {trainer.config.hidden_size} units, on {NAMES[dataset.name]}"
    shown = slice(0, 40)
    figures = {
        "curves.png": training.training_curves(trainer.history, name),
        "digits.png": digits.digit_grid(
            dataset.x_test[shown], dataset.y_test[shown], f"{name}: the first test images", predictions[shown]
        ),
        "confusion.png": digits.confusion_matrix(predictions, dataset.y_test, f"{name}: test images"),
    }
    for file_name, figure in figures.items():
        replace_file(trainer.out / file_name, lambda file, figure=figure: figure.savefig(file, format="png"))


if __name__ == "__main__":
    cli.run(main)
