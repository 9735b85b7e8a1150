"""Models from elsewhere and to elsewhere: weights in and out of files, and a tool that tells which GRU a model is.

`read`, `load` and `save` choose the format by the ending of the file. No library but NumPy is imported before a file
needs it.
"""

from .files import load, read, save
from .names import InterchangeError
from .variants import Finding, identify

__all__ = ["Finding", "InterchangeError", "identify", "load", "read", "save"]
