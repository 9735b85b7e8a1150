"""Run all that only a real GPU can show, and write one file to send back.

A part that fails is reported, and the next one runs. The file is written anew after every command, so Ctrl-C loses only
the command that it interrupts. The file ends with the figures as JSON. Other programs that use the GPU or the host
spoil the times.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from machine import gpu, machine

from minigru import cli
from minigru.engine.backend import BackendUnavailable, get_backend
from minigru.training.files import replace_file

ROOT = Path(__file__).resolve().parents[2]
CLOCKS = "nvidia-smi --query-gpu=name,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current --format=csv"
TESTS = "python -m pytest -q -ra --tb=short --color=no -m gpu"
SANITIZER = f"compute-sanitizer --error-exitcode 1 --tool {{}} {TESTS} tests/gpu -k every_layer_and_model"
COMMANDS = {  # FOLDER is a temporary one
    "machine": ["nvidia-smi", CLOCKS, "git describe --always --dirty", "python -c 'import cupy; cupy.show_config()'"],
    "tests": [TESTS],
    "race": ["python scripts/bench/bench.py --backend cupy --batch 32 128 512 4096 --json FOLDER/race.json"],
    "mnist": [
        "python scripts/train_mnist.py --backend cupy --data mnist --epochs 10 --batch-size 32 --out FOLDER/mnist"
    ],
    "cost": ["python scripts/bench/step_cost.py --json FOLDER/cost.json"],
    "sanitizer": [SANITIZER.format(tool) for tool in ("racecheck", "memcheck")],
}
SIZES = "--batch 2 --length 3 --inputs 2 --hidden-size 8 --rounds 1"
SMALL = {  # added by --small; the last word on an option counts
    "machine": "",
    "tests": "tests/gpu -k 'every_layer_and_model and linear'",
    "race": f"--only steps {SIZES}",
    "mnist": "--data digits --limit 64 --epochs 1 --hidden-size 8",
    "cost": f"--product 32 {SIZES}",
    "sanitizer": "-k 'every_layer_and_model and linear'",
}
LIBRARIES = ("cupy", "nvidia", "torch")  # what the names of packages that belong to the GPU begin with
MISSING, INTERRUPTED = "not installed", "interrupted"
EPILOG = """
parts, in this order:
  machine    the GPU, its driver, CUDA, CuPy, NVRTC, Python and the commit
  tests      pytest -m gpu
  race       minigru beside torch.nn.GRU with cuDNN, where PyTorch is installed (bench.py --backend cupy)
  mnist      ten epochs of MNIST with batches of 32; MNIST is downloaded if need be
  cost       what a training step costs the host and the GPU (step_cost.py)
  sanitizer  some of the tests under compute-sanitizer, where it is installed

examples:
  python scripts/bench/on_gpu.py                               everything, into on_gpu.txt
  python scripts/bench/on_gpu.py --only race cost --out b.txt  two parts
  python scripts/bench/on_gpu.py --small                       does it run at all? The times mean nothing

exit status: 0 done, 1 a command has failed, 2 no GPU or a wrong option, 130 stopped by Ctrl-C
"""


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EPILOG)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=[*COMMANDS], metavar="PART", help="parts (all)")
    out = "file to write (default: %(default)s)"
    parser.add_argument("--out", type=cli.output_file, default="on_gpu.txt", metavar="FILE", help=out)
    parser.add_argument("--small", action="store_true", help="run every part in a small size")
    return parser.parse_args()


def run(command: list[str], text: list[str]) -> int | str:
    """Run a command in the repository, show and keep what it prints, and return its exit status, or `MISSING`."""
    if not shutil.which(command[0]):
        return MISSING
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    how: dict[str, Any] = {"cwd": ROOT, "env": environment, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, **streams, **how) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                keep(line, text)
        except BaseException:  # Ctrl-C, or a signal that the command has not had
            process.terminate()
            text.append(process.stdout.read())
            raise
    return process.returncode


def keep(line: str, text: list[str]) -> None:
    """Show a line, and add it to `text`."""
    text.append(line)
    print(line, end="", flush=True)


def figures(folder: Path) -> dict[str, Any]:
    """Return what the commands have written into the folder so far."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
    history = folder / "mnist" / "history.csv"
    return found | ({"mnist": pd.read_csv(history).to_dict("list")} if history.exists() else {})


def main() -> int:
    """Run the parts, and write the file."""
    options = parse_args()
    with cli.exit_on(2, BackendUnavailable):
        about = machine() | gpu(get_backend("cupy"))
    installed = {str(wheel.name): wheel.version for wheel in importlib.metadata.distributions()}
    about["libraries"] = {name: number for name, number in installed.items() if name.startswith(LIBRARIES)}
    text: list[str] = []
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, cli.exit_on(1, OSError), cli.exit_on(130, KeyboardInterrupt):
        keep(f"minigru {about['versions']['minigru']}, {about['gpu']}, {time.strftime('%Y-%m-%d %H:%M')}\n", text)
        for part, line in [(part, line) for part, lines in COMMANDS.items() for line in lines if part in options.only]:
            words = shlex.split(f"{line} {SMALL[part]}" if options.small else line)
            command = [sys.executable if word == "python" else word.replace("FOLDER", folder) for word in words]
            keep(f"\n== {part}: {shlex.join(words)}\n", text)
            start, status = time.perf_counter(), INTERRUPTED
            try:
                status = run(command, text)
            except KeyboardInterrupt as stop:
                stop.args = (f"stopped; what has run so far is in {options.out}",)
                raise
            finally:
                done.append({"part": part, "status": status, "seconds": round(time.perf_counter() - start, 1)})
                text.append("-- {part}: status {status}, {seconds} s\n".format(**done[-1]))
                found = {"machine": about, "small": options.small, "done": done} | figures(Path(folder))
                content = "".join(text) + f"\n== figures\n{json.dumps(found, indent=1)}\n"
                replace_file(options.out, lambda file, content=content: file.write(content.encode()))
            print(text[-1], end="")
    failed = [row["part"] for row in done if row["part"] != "machine" and row["status"] not in (0, MISSING)]
    print(f"\nSend back: {options.out}" + (f" (failed: {', '.join(failed)})" if failed else ""))
    return int(bool(failed))


if __name__ == "__main__":
    cli.run(main)
