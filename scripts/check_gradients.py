"""Check every gradient that minigru computes by hand against oracles that know nothing of its derivation.

At small sizes, every element is checked: by central differences of the engine and by the complex step on the reference.
At full size (28 steps of 28, 128 units), the derivative along one random direction per array is checked, by the same
two methods on the reference. The table shows, for each array, the norm of the difference relative to the norm of the
gradient by either method; then, against the complex step, the largest difference, both values there, and the index.
"""

from __future__ import annotations

import numpy as np

from minigru import BackendUnavailable, cli, gradcheck
from minigru.engine.backend import get_backend
from minigru.engine.model import CELLS
from minigru.gradcheck import cases
from minigru.training.config import add_option

EPILOG = """
exit status: 0 every gradient passes, 1 a gradient fails, 2 an option is wrong or the backend cannot be used
"""
METHODS = ("central", "complex")
TOLERANCES = {"float64": {"central": 1e-8, "complex": 1e-13}, "float32": {"central": 1e-5, "complex": 1e-5}}
HOW = {"small": "Small size, every element.", "full": "Full size, one random direction per array."}


def errors_by_element(case: cases.Case, dtype: str) -> dict[str, list[gradcheck.Row]]:
    """Return one comparison per method, element by element."""
    _, gradients = case.engine(case.arrays)
    # Differences of float32 losses are too coarse, so a float32 engine is compared with the reference in float64.
    function = (lambda arrays: case.engine(arrays)[0]) if dtype == "float64" else case.reference
    oracles = {
        "central": gradcheck.central_difference(function, case.arrays),
        "complex": gradcheck.complex_step(case.reference, case.arrays),
    }
    return {method: gradcheck.compare(gradients, oracle) for method, oracle in oracles.items()}


def errors_by_direction(case: cases.Case, seed: int) -> dict[str, list[gradcheck.Row]]:
    """Return one comparison per method, along one random direction per array."""
    _, gradients = case.engine(case.arrays)
    return {
        method: gradcheck.compare_along(case.reference, case.arrays, gradients, np.random.default_rng(seed), method)
        for method in METHODS
    }


def main() -> int:
    """Print the tables; return 1 if a gradient fails."""
    parser = cli.Parser(description=__doc__, epilog=EPILOG)
    parser.add_argument("--cell", choices=(*CELLS, "both"), default="both", help="recurrent layer (default: both)")
    parser.add_argument("--size", choices=(*HOW, "both"), default="both", help="sizes (default: both)")
    add_option(parser, "backend")
    add_option(parser, "dtype", default="float64")
    add_option(parser, "seed", help="seed of the random directions")
    options = parser.parse_args()
    with cli.exit_on(2, BackendUnavailable):
        get_backend(options.backend)
    cells = tuple(CELLS) if options.cell == "both" else (options.cell,)
    tolerances = TOLERANCES[options.dtype]
    limits = ", ".join(f"{method} {tolerances[method]:.0e}" for method in METHODS)
    print(f"Gradients by hand against oracles: {options.backend}, {options.dtype}; tolerances {limits}")
    passed = True
    for size in HOW if options.size == "both" else (options.size,):
        print(f"\n{HOW[size]}")
        for case in cases.all_cases(cells, size, options.backend, options.dtype):
            small = size == "small"
            rows = errors_by_element(case, options.dtype) if small else errors_by_direction(case, options.seed)
            table = gradcheck.report(rows, tolerances)
            print(f"\n{case.name}\n{table}")
            passed &= "FAILED" not in table
    print("\nAll gradients agree." if passed else "\nA gradient is wrong: see FAILED above.")
    return 0 if passed else 1


if __name__ == "__main__":
    cli.run(main)
