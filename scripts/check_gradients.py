"""Hold every gradient that minigru computes by hand to oracles that know nothing of how it was derived.

Small sizes, element by element: central differences of the engine, and the complex step on the reference. Full size
(28 steps of 28, 128 units): the derivative along one random direction for each array, by both methods. For each array:
the norm of the difference relative to the norm of the gradient, by method; then, against the complex step, the largest
absolute difference, both values there, and where it is.
"""

from __future__ import annotations

import numpy as np

from minigru import BackendUnavailable, cli, gradcheck
from minigru.engine.backend import BACKENDS, get_backend
from minigru.gradcheck import cases

EPILOG = """
exit status: 0 every gradient passes, 1 one fails, 2 an option is wrong or the backend cannot be used
"""
METHODS = ("central", "complex")
TOLERANCES = {"float64": {"central": 1e-8, "complex": 1e-13}, "float32": {"central": 1e-5, "complex": 1e-5}}


def errors_by_element(case: cases.Case, dtype: str) -> dict[str, list[gradcheck.Row]]:
    """Return a comparison a method, element by element."""
    _, gradients = case.engine(case.arrays)
    # A float32 engine is too coarse to be differenced: there, the reference in float64 is.
    function = (lambda arrays: case.engine(arrays)[0]) if dtype == "float64" else case.reference
    oracles = {
        "central": gradcheck.central_difference(function, case.arrays),
        "complex": gradcheck.complex_step(case.reference, case.arrays),
    }
    return {method: gradcheck.compare(gradients, oracle) for method, oracle in oracles.items()}


def errors_by_direction(case: cases.Case, seed: int) -> dict[str, list[gradcheck.Row]]:
    """Return a comparison a method, along one random direction for each array."""
    _, gradients = case.engine(case.arrays)
    return {
        method: gradcheck.compare_along(case.reference, case.arrays, gradients, np.random.default_rng(seed), method)
        for method in METHODS
    }


def print_table(title: str, rows: dict[str, list[gradcheck.Row]], tolerances: dict[str, float]) -> bool:
    """Print one line an array and one column a method; return whether all errors are within the tolerances."""
    print(f"\n{title}")
    passed = True
    for lines in zip(*rows.values(), strict=True):
        errors = dict(zip(rows, lines, strict=True))
        failed = [method for method, line in errors.items() if not line.error <= tolerances[method]]
        row = errors["complex"]
        figures = "".join(f"{line.error:10.1e}" for line in lines)
        verdict = f"  FAILED by {' and '.join(failed)}" if failed else ""
        print(
            f"  {row.name:<10}{figures}{row.difference:10.1e}{row.value:14.6g}{row.expected:14.6g}  "
            f"{list(row.index) or ''}{verdict}".rstrip()
        )
        passed &= not failed
    return passed


def main() -> int:
    """Print the tables; return 1 if a gradient fails."""
    parser = cli.Parser(description=__doc__, epilog=EPILOG)
    parser.add_argument(
        "--cell", choices=(*cases.LAYERS, "both"), default="both", help="recurrent layer (default: both)"
    )
    parser.add_argument("--size", choices=("small", "full", "both"), default="both", help="sizes (default: both)")
    parser.add_argument("--backend", choices=BACKENDS, default="numpy", help="array library (default: numpy)")
    parser.add_argument(
        "--dtype", choices=tuple(TOLERANCES), default="float64", help="numbers of the engine (default: float64)"
    )
    parser.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="of the random directions (default: 0)")
    options = parser.parse_args()
    with cli.exit_on(2, BackendUnavailable):
        get_backend(options.backend)
    cells = tuple(cases.LAYERS) if options.cell == "both" else (options.cell,)
    tolerances = TOLERANCES[options.dtype]
    limits = ", ".join(f"{method} {tolerances[method]:.0e}" for method in METHODS)
    print(f"Gradients by hand against oracles: {options.backend}, {options.dtype}; passed up to {limits}")
    passed = True
    for size in ("small", "full"):
        if options.size not in (size, "both"):
            continue
        how = "Small size, every element." if size == "small" else "Full size, one random direction for each array."
        print(f"\n{how}\n{'':<12}{'error by':>10}{'':10}{'largest':>10}")
        print(f"{'':<12}{'central':>10}{'complex':>10}{'diff.':>10}{'by hand':>14}{'complex step':>14}  at")
        for case in cases.all_cases(cells, size, options.backend, options.dtype):
            errors = (
                errors_by_element(case, options.dtype) if size == "small" else errors_by_direction(case, options.seed)
            )
            passed &= print_table(case.name, errors, tolerances)
    print("\nAll gradients agree." if passed else "\nA gradient is wrong: see FAILED above.")
    return 0 if passed else 1


if __name__ == "__main__":
    cli.run(main)
