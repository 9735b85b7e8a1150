"""Train a GRU, row by row, to read handwritten digits."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from minigru import BackendUnavailable, __version__, checkpoint, cli, data
from minigru.adam import SCHEDULES
from minigru.backend import BACKENDS, get_backend
from minigru.checkpoint import CheckpointError
from minigru.data import DataUnavailable
from minigru.files import replace_file
from minigru.model import CELLS
from minigru.training import Config, Diverged, Trainer

EXAMPLES = """
examples:
  python scripts/train_mnist.py                                   the article's recipe: about 98.5 % in ten epochs
  python scripts/train_mnist.py --lr 2e-3 --schedule cosine       a better recipe: about 99.2 %
  python scripts/train_mnist.py --data digits --epochs 30         small images that need no download
  python scripts/train_mnist.py --limit 6000 --epochs 1           a first look
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
    option("--seed", int, "of the initial weights and of the order of the images", metavar="N")
    option("--dtype", str, "floating point numbers of the engine", choices=("float32", "float64"))
    option("--limit", int, "use this many training images, from the first", metavar="N")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: runs/DATE_TIME)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from DIR/checkpoint.npz, with the options it was made with"
    )
    parser.add_argument("--quiet", action="store_true", help="print the last lines only")
    given = vars(parser.parse_args())
    if given["resume"] and given["out"] is None:
        parser.error("--resume needs --out DIR, the folder of the run to go on with")
    names = {field.name for field in fields(Config)}
    config = {name: value for name, value in given.items() if name in names and value is not None}
    return config, {name: value for name, value in given.items() if name not in names}


def resumed(path: Path, given: dict[str, Any]) -> Config:
    """Return the configuration in a checkpoint, with the options given where they may differ."""
    _, meta = checkpoint.read(path)
    try:
        saved = Config(**meta["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has no usable configuration ({error})") from error
    free = {"backend"} | ({"epochs"} if saved.schedule == "constant" else set())
    for name, value in given.items():
        had = getattr(saved, name)
        if name not in free and value != had and (name, value) != ("data", "auto"):
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} is {value}, but {path} was made with {had}: leave {flag} out, or start a new run")
    return replace(saved, **{name: value for name, value in given.items() if name in free})


def prepare(given: dict[str, Any], out: Path, resume: bool, data_home: str | None) -> tuple[Trainer, data.Dataset]:
    """Return the run that the options ask for, ready to go; only then is a folder made and a file written."""
    path = out / "checkpoint.npz"
    if path.exists() and not resume:
        raise ValueError(f"{out} already holds a run: add --resume to go on with it, or choose another --out")
    config = resumed(path, given) if resume else Config(**given)
    get_backend(config.backend)
    dataset = data.load(config.data, data_home, config.dtype)
    config = replace(config, data=dataset.name)
    trainer = Trainer(config, dataset, out)
    if resume:
        trainer.resume()
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"minigru": __version__, **asdict(config)}, indent=2) + "\n"
    replace_file(out / "config.json", lambda file: file.write(text.encode()))
    return trainer, dataset


def main() -> int:
    """Train, and leave the results in a folder."""
    given, other = parse_args()
    out: Path = other["out"] or Path("runs", time.strftime("%Y-%m-%d_%H-%M-%S"))
    with cli.exit_on(2, ValueError, BackendUnavailable, CheckpointError, DataUnavailable, OSError):
        trainer, dataset = prepare(given, out, other["resume"], other["data_home"])
    with cli.exit_on(1, Diverged, OSError):
        completed = trainer.run(quiet=other["quiet"])
        if not completed:
            home = f" --data-home {other['data_home']}" if other["data_home"] else ""
            print(f"Stopped and saved. Go on: python {sys.argv[0]} --out {out} --resume{home}", file=sys.stderr)
            return 130
        _, accuracy, predictions = trainer.evaluate()
        write_figures(trainer, dataset, predictions, out)
    print(f"Test accuracy: {accuracy:.2f} % of {len(dataset.y_test):,} {dataset.name} images")
    print(f"Results: {out} (checkpoint.npz, history.csv, config.json, curves.png, digits.png, confusion.png)")
    return 0


def write_figures(trainer: Trainer, dataset: data.Dataset, predictions: Any, out: Path) -> None:
    """Write the three figures of a run."""
    from minigru import plots

    name = f"{trainer.config.model.upper()}, {trainer.config.hidden_size} units, on {dataset.name}"
    shown = slice(0, 40)
    figures = {
        "curves.png": plots.training_curves(trainer.history, name),
        "digits.png": plots.digit_grid(
            dataset.x_test[shown], predictions[shown], dataset.y_test[shown], f"{name}: the first test images as read"
        ),
        "confusion.png": plots.confusion_matrix(predictions, dataset.y_test, f"{name}: test images"),
    }
    for file_name, figure in figures.items():
        replace_file(out / file_name, lambda file, figure=figure: figure.savefig(file, format="png"))


if __name__ == "__main__":
    with cli.exit_on(130, KeyboardInterrupt):
        sys.exit(main())
