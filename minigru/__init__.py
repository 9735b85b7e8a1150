"""minigru: a GRU from scratch, every forward pass and every gradient written by hand, on NumPy or CuPy.

Start with `minigru.reference`, which is the equations; `minigru.engine.gru` computes the same function fast.
"""

from . import gradcheck, interchange, reference
from .engine.adam import Adam, clip_by_global_norm, constant, cosine, warmup_cosine
from .engine.backend import Backend, BackendUnavailable, get_backend
from .engine.gru import GRU
from .engine.layer import join
from .engine.linear import Linear
from .engine.loss import SoftmaxCrossEntropy
from .engine.model import SequenceClassifier
from .engine.rnn import RNN
from .interchange import load

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
    "interchange",
    "join",
    "load",
    "reference",
    "warmup_cosine",
]
