"""Tell which GRU a file holds: by its answers, and by what the file says of itself.

A file is ONNX (.onnx), Keras (.keras), TensorFlow.js (.json), or weights by name (.safetensors, .npz, .pt). Given two
files, a model and its export for example, it tells whether they compute the same function, and where they part.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from minigru import cli, interchange
from minigru.interchange import opened, variants
from minigru.interchange.names import Params, sizes

EXAMPLES = """
examples:
  python scripts/which_gru.py model.onnx
  python scripts/which_gru.py model.pt model.onnx     are they the same function?

exit status: 0 known, and if there are two files they are the same function; 1 not; 2 a file cannot be read
"""
RESET = {
    "gru": "before the product with its weights",
    "gru_after": "after the product with its weights",
    "rnn": "there is none: a plain RNN",
}


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument("file", type=cli.path, metavar="FILE", help="a model")
    parser.add_argument("other", type=cli.path, nargs="?", metavar="FILE", help="another, compared with the first")
    return parser.parse_args()


def main() -> int:
    """Say what is in each file, and compare two."""
    options = parse_args()
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    with cli.exit_on(2, interchange.InterchangeError, OSError):
        files = [(path, opened.opened(path)) for path in (options.file, options.other) if path is not None]
        known = [report(path, file) for path, file in files]
        same = len(files) == 1 or compare(*(file for _, file in files))
    return 0 if all(known) and same else 1


def report(path: Path, file: opened.Opened) -> bool:
    """Print what a file holds; return whether it is one of the known cells."""
    D, H = sizes(file.params)
    dtype = next(iter(file.params.values())).dtype
    found = interchange.identify(file.step, D, H, dtype)
    print(f"{path}: D = {D}, H = {H}, {dtype}")
    print(f"  it says        {file.says}")
    print(f"  run by         {file.by}")
    if found.cell is None:
        print(f"  it is          none of these cells: the nearest is off by {found.error:.1e}")
        return False
    place = "before or after, which is the same for this one unit" if found.ambiguous else RESET[found.cell]
    print(f"  reset gate     {place} (off by {found.error:.1e} when fitted to random inputs)")
    print(f"  same function  {', '.join(variants.SAME_AS[found.cell])}")
    if file.packed is not None:
        best, second = variants.layouts(file.step, *file.packed)[:2]
        print(f"  its weights    gates in the order {', '.join(best.order)}; update gate at 1 {best.update} the memory")
        print(f"                 off by {best.error:.1e}; the next best reading of 24 is off by {second.error:.1e}")
        print(f"  its biases     {biases(file.packed, found.cell)}")
    elif file.separate:
        print(f"  its weights    {file.separate}")
    carried = "yes, exactly" if found.cell == "gru" else "no; minigru.reference.gru_after_cell computes it"
    print(f"  to minigru     {'yes, as cell=' + repr('rnn') if found.cell == 'rnn' else carried}")
    if file.claims is not None and file.claims != found.cell and not found.ambiguous:
        wanted = variants.SAME_AS[file.claims][0]
        print(f"  CONTRADICTION  from what it says it should be the function of {wanted}, and it is another")
    return True


def biases(packed: tuple[np.ndarray, ...], cell: str) -> str:
    """Say how many biases the stored weights have, and which of them count."""
    if not packed[3].any():
        return "one per gate" if packed[2].any() else "none, or zeros"
    return "two per gate, " + ("only their sums count" if cell == "gru" else "both of the candidate count")


def compare(one: opened.Opened, other: opened.Opened) -> bool:
    """Print whether two files compute the same function, and where they part; return whether they do."""
    if sizes(one.params) != sizes(other.params):
        print(f"they have the sizes D, H = {sizes(one.params)} and {sizes(other.params)}: not the same function")
        return False
    D, H = sizes(one.params)
    dtype = min(next(iter(file.params.values())).dtype for file in (one, other))
    errors = variants.apart(one.step, other.step, D, H, dtype)
    limit = variants.ROUNDING[dtype.name]
    if errors.max() < limit:
        print(f"the same function: over {len(errors)} steps the memories differ by {errors.max():.1e} at most")
        return same_linear(one.params, other.params, limit)
    first = int(np.argmax(errors >= limit)) + 1
    print(f"NOT the same function: the memories part at step {first}, by {errors[first - 1]:.1e};")
    print(f"over {len(errors)} steps they differ by up to {errors.max():.1e}, where a memory lies between -1 and 1")
    return False


def same_linear(one: Params, other: Params, limit: float) -> bool:
    """Print whether the linear layers of two files agree, if both have one; return False if they do not."""
    if "linear.W" not in one or "linear.W" not in other:
        if ("linear.W" in one) != ("linear.W" in other):
            print("only one of them has a linear layer, which is not compared")
        return True
    if one["linear.b"].shape != other["linear.b"].shape:
        print(f"but their linear layers have {one['linear.b'].size} and {other['linear.b'].size} classes")
        return False
    c = np.random.default_rng(0).uniform(-1, 1, (64, len(one["linear.W"])))
    logits, others = (c @ params["linear.W"] + params["linear.b"] for params in (one, other))
    error = np.abs(logits - others).max() / max(1.0, np.abs(logits).max())
    if error >= limit:
        print(f"but their linear layers part: the logits of one memory differ by up to {error:.1e}, relative")
        return False
    print(f"the same linear layer: the logits of one memory differ by {error:.1e} at most, relative")
    return True


if __name__ == "__main__":
    cli.run(main)
