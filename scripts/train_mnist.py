"""Train a GRU to read handwritten digits, one row of pixels per step, or one pixel (--pixels)."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import numpy as np

from minigru import cli
from minigru.training import checkpoint, config
from minigru.training.run import FIGURES, FILES, open_run
from minigru.training.trainer import Trainer

EXAMPLES = """
examples:
  python scripts/train_mnist.py                                   the article's recipe: 98.6 to 99.0 % in ten epochs
  python scripts/train_mnist.py --recipe fast                     the same accuracy in two epochs
  python scripts/train_mnist.py --recipe best --epochs 20         distorted images, and an option of one's own
  python scripts/train_mnist.py --recipe best --holdout 10000     to choose options without a look at the test images
  python scripts/train_mnist.py --data digits --epochs 30         small images that need no download
  python scripts/train_mnist.py --limit 6000 --epochs 1           a first look
  python scripts/train_mnist.py --pixels                          784 steps of one pixel: slow, a test of long memory
  python scripts/train_mnist.py --ranks 2                         on two cores, each with half of every batch
  python scripts/train_mnist.py --out runs/a                      Ctrl-C saves …
  python scripts/train_mnist.py --out runs/a --resume             … and this goes on, to the very same numbers

exit status: 0 done, 1 the training failed, 2 an option or a file is wrong, 128 + N stopped by signal N (Ctrl-C: 130)
"""


def parse_args() -> argparse.Namespace:
    """Return the options; `given` holds those that belong to the configuration of the run."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    config.add_options(parser)
    home = "scikit-learn's data folder (default: $SCIKIT_LEARN_DATA or ~/scikit_learn_data)"
    parser.add_argument("--data-home", type=cli.path, metavar="DIR", help=home)
    threads = "BLAS threads per process (default: 1 for small products and with several ranks; else BLAS decides)"
    shared = "processes that share every batch, or auto: one per physical core (default: 1; more need the extra mpi)"
    parser.add_argument("--ranks", type=cli.rank_count, metavar="N", help=shared)
    parser.add_argument("--threads", type=cli.whole("--threads"), metavar="N", help=threads)
    parser.add_argument("--out", type=cli.path, metavar="DIR", help="folder for the results (default: runs/DATE_TIME)")
    resume = "go on from DIR/checkpoint.npz, with the options it was made with, or start a run that has none yet again"
    parser.add_argument("--resume", action="store_true", help=resume)
    parser.add_argument("--quiet", action="store_true", help="print the last lines only")
    options = parser.parse_args()
    if options.resume and options.out is None:
        parser.error("--resume needs --out DIR, the folder of the run to go on with")
    options.given = config.given_options(options)
    return options


def main() -> int:
    """Train, and leave the results in a folder."""
    ranks, options = cli.start(parse_args)
    cli.spawn_ranks(options.ranks, ranks)
    run = open_run(options.given, options.out, ranks, resume=options.resume, data_home=options.data_home)
    with cli.opened(run, ranks) as trainer:
        cli.limit_blas(options.threads, trainer.config.batch_size, trainer.config.hidden_size, ranks.size)
        command = go_on(trainer, options.data_home, options.ranks is not None)
        with cli.training(ranks, lambda: kept(trainer, command)):
            completed = trainer.run(quiet=options.quiet)
            with ranks.first_alone_speaks():
                return report(trainer, completed, command)


def go_on(trainer: Trainer, data_home: Path | None, spawned: bool = False) -> str:
    """Return the command that resumes this run, on as many ranks; `spawned` says that --ranks has started them."""
    ranks = trainer.ranks.size
    mpiexec = ["mpiexec", "-n", str(ranks)] if ranks > 1 and not spawned else []
    flag = ["--ranks", str(ranks)] if ranks > 1 and spawned else []
    home = ["--data-home", str(data_home)] if data_home else []
    return cli.command_line([*mpiexec, "python", sys.argv[0], *flag, "--out", str(trainer.out), "--resume", *home])


def kept(trainer: Trainer, command: str) -> str:
    """Return in words what is left of a run that could not write a file, and the `command` that goes on."""
    path = trainer.out / checkpoint.NAME
    if not path.exists():
        return "no checkpoint had been written yet"
    return f"the checkpoint {path} is kept; when this is mended, go on: {command}"


def report(trainer: Trainer, completed: bool, command: str) -> int:
    """Draw and print the results, or print the `command` that goes on after a signal; return the exit status."""
    if not completed:
        with contextlib.suppress(OSError):  # SIGHUP says that the terminal is gone
            print(f"Stopped and saved. Go on: {command}", file=sys.stderr)
        return 128 + trainer.stopped_by
    files = [name for name in FILES if name not in FIGURES]
    try:
        _, accuracy, predictions = trainer.evaluate()
        held_out = " held out of training" if trainer.config.holdout else ""
        name = printed(trainer.dataset.name)
        print(f"Test accuracy: {accuracy:.2f} % of {len(predictions):,} {name} images{held_out}")
        if trainer.ranks.rank == 0 and cli.drawn(lambda: draw(trainer, predictions)):
            files += FIGURES
    except KeyboardInterrupt as stop:
        stop.args = (f"the run is complete and saved, but not its figures; draw them: {command}",)
        raise
    print(f"Results: {trainer.out} ({', '.join(files)})")
    return 0


def draw(trainer: Trainer, predictions: np.ndarray) -> None:
    """Write the figures of a run into its folder."""
    from minigru.plots import digits, training  # matplotlib, which --help and errors do not need

    dataset, shown = trainer.dataset, slice(0, 40)
    name = f"{trainer.config.model.upper()}, {trainer.config.hidden_size} units, on {printed(dataset.name)}"
    images, labels = dataset.x_test, dataset.y_test
    grid = f"{name}: the first test images"
    figures = (
        training.training_curves(trainer.history, name),
        digits.digit_grid(images[shown], labels[shown], grid, predictions[shown]),
        digits.confusion_matrix(predictions, labels, f"{name}: test images"),
    )
    for file_name, figure in zip(FIGURES, figures, strict=True):
        cli.write_figure(trainer.out / file_name, figure)


def printed(data: str) -> str:
    """Return the name of a data set as it is written in a sentence."""
    return data.replace("mnist", "MNIST")


if __name__ == "__main__":
    cli.run(main)
