"""Exercises that grade themselves: write a line of the reference, and each name that it assigns is graded.

``python -m minigru.exercises`` lists them. They are made from `minigru.reference` and its tags. In a notebook,
``check("G3", gru_cell)`` grades a function of a cell.
"""

from .notebook import check

__all__ = ["check"]
