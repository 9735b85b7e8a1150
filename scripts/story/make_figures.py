"""Make every figure of docs/story.md, by running one script after the other.

The first command trains the article's GRU on MNIST, which takes about a minute and a half. If --run holds a checkpoint,
the training goes on from there, and a completed run is only evaluated.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from minigru import cli
from minigru.training.interrupt import Stopped

EXAMPLES = """
examples:
  python scripts/story/make_figures.py --dry-run     print the commands
  python scripts/story/make_figures.py --data digits --run runs/digits --out runs/figures     without a download
"""
SCRIPTS = Path(__file__).resolve().parents[1]
FIVE = SCRIPTS.parent / "docs" / "figures" / "five.png"


def commands(run: Path, out: Path, data: str) -> list[list[str]]:
    """Return the scripts to run, each with its arguments."""
    training = ["train_mnist.py", "--data", data, "--model", "gru", "--out", str(run)]
    if any((run / name).exists() for name in ("checkpoint.npz", "config.json")):
        training.append("--resume")  # which refuses a run with other data or another model
    drawing = [
        ["story/show_batch.py", "--data", data],
        ["story/vanishing_gradient.py"],
        ["story/agreement.py"],
        ["story/gates.py", str(run)],
        ["predict.py", str(run), "--index", "0"],
        ["predict.py", str(run), "--image", str(FIVE)],
        ["predict.py", str(run), "-"],
    ]
    return [training, *([*command, "--out", str(out)] for command in drawing)]


def wait(process: subprocess.Popen) -> int:
    """Return the exit status of a script; stopped by a signal, let the script save before this one ends."""
    try:
        return process.wait()
    except KeyboardInterrupt as stop:
        if isinstance(stop, Stopped):  # Ctrl-C has reached the script already
            process.terminate()
        process.wait()
        raise


def main() -> int:
    """Run the scripts, and stop at the first one that fails, with its exit status."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "--run", type=cli.path, default="runs/story", metavar="DIR", help="the trained model (default: %(default)s)"
    )
    parser.add_argument(
        "--data", choices=("mnist", "digits"), default="mnist", help="data set to train on (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=cli.output_folder,
        default="docs/figures",
        metavar="DIR",
        help="folder for the figures (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands without running them")
    options = parser.parse_args()
    for script, *arguments in commands(options.run, options.out, options.data):
        print(f"\n$ python scripts/{' '.join([script, *arguments])}", flush=True)
        if not options.dry_run:
            status = wait(subprocess.Popen([sys.executable, str(SCRIPTS / script), *arguments]))
            if status:
                return status
    return 0


if __name__ == "__main__":
    cli.run(main)
