"""The proof: gradients by hand, checked against oracles that share no code with them.

`minigru.gradcheck.check` works on any function of named arrays; `minigru.gradcheck.cases` holds the project's own.
"""

from .check import Row, central_difference, compare, compare_along, complex_step, directional, report

__all__ = ["Row", "central_difference", "compare", "compare_along", "complex_step", "directional", "report"]
