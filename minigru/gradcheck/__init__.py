"""The proof: hand-written gradients, checked against oracles that share no code with them.

`minigru.gradcheck.check` works on any function of named arrays. `minigru.gradcheck.cases` holds ready-made problems.
"""

from .check import Arrays, Row, central_difference, compare, compare_along, complex_step, directional, report

__all__ = ["Arrays", "Row", "central_difference", "compare", "compare_along", "complex_step", "directional", "report"]
