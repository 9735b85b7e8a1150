"""minigru: a GRU from scratch, every forward pass and every gradient written by hand, on NumPy or CuPy.

Start with `minigru.reference`, which is the equations; `minigru.gru` is the same mathematics as a fast schedule.
"""

from . import gradcheck, reference
from .adam import Adam, clip_by_global_norm, constant, cosine
from .backend import Backend, BackendUnavailable, get_backend
from .gru import GRU
from .linear import Linear
from .loss import SoftmaxCrossEntropy
from .model import SequenceClassifier
from .rnn import RNN

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "RNN",
    "Adam",
    "Backend",
    "BackendUnavailable",
    "Linear",
    "SequenceClassifier",
    "SoftmaxCrossEntropy",
    "clip_by_global_norm",
    "constant",
    "cosine",
    "get_backend",
    "gradcheck",
    "reference",
]
