"""Make every figure of docs/story.md, by running the scripts that stand beside it.

It trains the article's GRU on MNIST first, for about a minute and a half, unless --run holds that already; a training
that was stopped goes on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from minigru import cli
from minigru.training import checkpoint
from minigru.training.checkpoint import CheckpointError

HERE = Path(__file__).resolve().parent
FIVE = HERE.parent / "docs" / "figures" / "five.png"


def training(run: Path, data: str) -> list[list[str]]:
    """Return what is to be run so that `run` holds a trained GRU: a training, the rest of one, or nothing."""
    path = run / "checkpoint.npz"
    if not path.exists():
        return [["train_mnist.py", "--data", data, "--out", str(run)]]
    saved = checkpoint.read(path)
    config = saved.config
    if (config.model, config.data) != ("gru", data):
        raise ValueError(f"{run} holds a {config.model} trained on {config.data}; expected a gru on {data}, in --run")
    return [["train_mnist.py", "--out", str(run), "--resume"]] if saved.epoch < config.epochs else []


def commands(run: Path, out: Path, data: str) -> list[list[str]]:
    """Return the scripts to run, each with its arguments."""
    drawing = [
        ["show_batch.py", "--data", data],
        ["vanishing_gradient.py"],
        ["agreement.py"],
        ["gates.py", "--checkpoint", str(run)],
        ["predict.py", str(run), "--index", "0"],
        ["predict.py", str(run), "--image", str(FIVE)],
        ["predict.py", str(run), "-"],
    ]
    return training(run, data) + [[*command, "--out", str(out)] for command in drawing]


def main() -> int:
    """Run one script after the other, and stop at the first that fails."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, default="runs/story", metavar="DIR", help="the trained model (default: %(default)s)"
    )
    parser.add_argument("--data", choices=("mnist", "digits"), default="mnist", help="to train on (default: mnist)")
    parser.add_argument(
        "--out", type=cli.output_folder, default="docs/figures", metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    options = parser.parse_args()
    with cli.exit_on(2, ValueError, CheckpointError):
        todo = commands(options.run, options.out, options.data)
    for command in todo:
        print(f"\n$ python scripts/{' '.join(command)}", flush=True)
        if not options.dry_run:
            status = subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]]).returncode
            if status:
                return status
    return 0


if __name__ == "__main__":
    cli.run(main)
