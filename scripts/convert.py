"""Convert a model between minigru and other libraries; the endings of the files choose the formats.

.npz (NumPy, and minigru's checkpoints), .safetensors, .onnx, .keras (Keras 3), .json (TensorFlow.js, with a file of
weights beside it) and .pt or .pth (PyTorch: the state_dict of the article's DigitClassification). IN may also be the
folder of a run. A GRU whose reset gate acts after the product, such as PyTorch's nn.GRU, has no weights in minigru.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from minigru import cli, interchange
from minigru.interchange import files, running

EXAMPLES = """
examples:
  python scripts/convert.py runs/a model.onnx --check
  python scripts/convert.py model.keras model.npz

exit status: 0 done, 1 the two models answer differently, 2 a file cannot be read or written
"""
B, T = 64, 20  # random sequences, and their steps
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument("source", type=cli.path, metavar="IN", help="the model to read")
    parser.add_argument("target", type=cli.output_file, metavar="OUT", help="the file to write")
    parser.add_argument("--check", action="store_true", help="run both on random sequences, and compare the logits")
    return parser.parse_args()


def main() -> int:
    """Convert the model, say what it is, and compare both files if asked to."""
    options = parse_args()
    os.environ.setdefault("KERAS_BACKEND", "numpy")  # it comes with Keras, and nothing is trained here
    source = options.source
    with cli.exit_on(2, interchange.InterchangeError, OSError):
        model = interchange.load(source)
        if options.target.exists() and options.target.samefile(files.resolved(source)):
            raise interchange.InterchangeError(f"{options.target} is the file to read; name another file to write")
        interchange.save(model, options.target)
        D, H, K = model.cell.input_size, model.cell.hidden_size, model.num_classes
        dtype = "float32" if options.target.suffix == ".json" else model.dtype  # all that TensorFlow.js has
        print(f"{options.target}: {dtype}, D = {D}, H = {H}, K = {K}, from {source}")
        return check(source, options.target, D) if options.check else 0


def check(source: Path, target: Path, D: int) -> int:
    """Compare the logits of both files on random sequences; return 1 if they differ by more than rounding."""
    x = np.random.default_rng(0).standard_normal((B, T, D))
    (before, by), (after, and_by) = running.logits(source, x), running.logits(target, x)
    dtype = min(before.dtype, after.dtype)
    error = float(np.abs(before - after).max())
    limit = TOLERANCES[dtype.name] * max(1.0, float(np.abs(before).max()))
    print(f"largest difference of the logits of {B} random sequences, {by} and {and_by}: {error:.1e}")
    if error <= limit:
        return 0
    cli.complain(f"the logits differ by {error:.1e}, more than the rounding of {dtype}, {limit:.1e}")
    return 1


if __name__ == "__main__":
    cli.run(main)
