"""Measure the error of numerical gradients of the GRU against their step h.

Every element of every array (T=6, B=3, D=4, H=5) is differentiated by central differences in float64 and in float32,
and by the complex step. The error is relative to the gradient written by hand; the figure shows the largest
norm-relative error of an array.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from minigru import cli, gradcheck, reference
from minigru.plots import story as story_plots
from minigru.training.config import add_option
from minigru.training.files import replace_file

T, B, D, H = 6, 3, 4, 5
Arrays = dict[str, np.ndarray]


def problem(seed: int) -> tuple[Arrays, np.ndarray]:
    """Return the arrays at which to differentiate, and the weights of the states in the loss."""
    rng = np.random.default_rng(seed)
    shapes = {"x": (T, B, D), "c_0": (B, H)}
    shapes |= {f"W_{gate}": (H + D, H) for gate in "urc"} | {f"b_{gate}": (H,) for gate in "urc"}
    arrays = {name: rng.standard_normal(shape) * (0.4 if name[0] == "W" else 1) for name, shape in shapes.items()}
    return arrays, rng.standard_normal((T, B, H))


def loss(arrays: Arrays, weights: np.ndarray, dtype: DTypeLike) -> np.number:
    """Return the loss, with every operation in `dtype`."""
    typed = {name: array.astype(dtype) for name, array in arrays.items()}
    states, _ = reference.gru_forward(typed["x"], typed["c_0"], typed)
    return (states * weights.astype(dtype)).sum()


def measure(seed: int) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """Return {method: [(h, largest error), …]}, and the largest elementwise relative error at h = 1e-5 in float64."""
    arrays, weights = problem(seed)
    _, caches = reference.gru_forward(arrays["x"], arrays["c_0"], arrays)
    dx, dc_0, grads = reference.gru_backward(weights, caches)
    exact = {**{name: grads[name] for name in arrays if name in grads}, "x": dx, "c_0": dc_0}

    def worst(gradient: Arrays) -> float:
        return max(row.error for row in gradcheck.compare(gradient, exact))

    methods = {
        "central, float32": (gradcheck.central_difference, np.float32, np.logspace(-7, 0, 22)),
        "central, float64": (gradcheck.central_difference, np.float64, np.logspace(-13, 0, 27)),
        "complex step": (gradcheck.complex_step, np.complex128, np.logspace(-30, 0, 31)),
    }
    curves = {
        name: [(h, worst(method(lambda a, dtype=dtype: loss(a, weights, dtype), arrays, h))) for h in steps]
        for name, (method, dtype, steps) in methods.items()
    }
    central = gradcheck.central_difference(lambda a: loss(a, weights, np.float64), arrays)
    largest = max(
        float(np.max(np.abs(central[name] - exact[name]) / np.maximum(np.abs(central[name]), np.abs(exact[name]))))
        for name in exact
    )
    return curves, largest


def main() -> int:
    """Measure, print the best steps and write the figure."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--out",
        type=cli.output_file,
        default="docs/figures/step_size.png",
        metavar="FILE",
        help="file of the figure (default: %(default)s)",
    )
    add_option(parser, "seed", help="seed of the random arrays")
    options = parser.parse_args()
    curves, elementwise = measure(options.seed)
    print("method              smallest error     at h = 1e-5     largest h within twice the smallest error")
    for name, curve in curves.items():
        smallest = min(error for _, error in curve)
        _, at_1e5 = min(curve, key=lambda point: abs(np.log10(point[0]) + 5))
        h = max(h for h, error in curve if error <= 2 * smallest)
        print(f"{name:<18}  {smallest:14.1e}     {at_1e5:11.1e}     {h:.0e}")
    print(f"largest elementwise relative error, central, float64, h = 1e-5: {elementwise:.1e}")
    if cli.drawn(lambda: replace_file(options.out, partial(story_plots.step_size(curves).savefig, format="png"))):
        print(f"Figure: {options.out}")
    return 0


if __name__ == "__main__":
    cli.run(main)
