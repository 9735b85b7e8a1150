"""Adam, schedules of its learning rate, and gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import checks
from .backend import Array
from .layer import Trainable


class Adam:
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1), over all parameters as one flat vector.

    Parameters
    ----------
    owner : what to train, a layer or a model
    lr : learning rate; may be assigned between steps
    beta1, beta2 : decay rates of the two moments, in [0, 1)
    eps : added to the root of the second moment

    Attributes
    ----------
    m, v : (N,), the moments
    t : steps taken

    Raises
    ------
    ValueError
        lr is negative, a beta is outside [0, 1), eps is not positive, or owner is neither a layer nor a model.
    """

    def __init__(
        self, owner: Trainable, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ) -> None:
        self.owner = _check_owner(owner)
        self.lr = checks.number("lr", lr, 0)
        self.beta1 = checks.number("beta1", beta1, 0, 1)
        self.beta2 = checks.number("beta2", beta2, 0, 1)
        self.eps = checks.number("eps", eps, 0, above=True)
        like = owner.vector.shape, owner.vector.dtype
        self.m, self.v = owner.backend.zeros(*like), owner.backend.zeros(*like)
        self._scratch = owner.backend.empty(*like)
        self.t = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with the owner and the moments."""
        return type(self), (self.owner, self.lr, self.beta1, self.beta2, self.eps), (self.m, self.v, self.t)

    def __setstate__(self, state: tuple[Array, Array, int]) -> None:
        self.m[...], self.v[...], self.t = state

    def step(self) -> None:
        """Move the parameters by one step against the present gradient.

        Raises
        ------
        ValueError
            lr is negative or not finite.
        """
        checks.number("lr", self.lr, 0)
        self.t += 1
        correction1, correction2 = 1 - self.beta1**self.t, 1 - self.beta2**self.t
        self.owner.backend.kernels.adam(  # (A1) (A2) (A3) (A4) (A5) (F8)
            self.owner.vector,
            self.m,
            self.v,
            self.owner.gradient,
            self._scratch,
            self.lr,
            self.beta1,
            self.beta2,
            self.eps,
            correction1,
            correction2,
        )


def constant(lr: float, step: int, steps: int) -> float:
    """Return lr at every step; arguments and errors as for `cosine`."""
    _check(lr, step, steps)
    return lr


def cosine(lr: float, step: int, steps: int) -> float:
    """Return a learning rate that falls from lr to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts).

    Parameters
    ----------
    lr : the rate at step 0
    step : 0, 1, …, steps
    steps : the number of all steps

    Raises
    ------
    ValueError
        lr is negative or not finite, steps is not a whole number from 1 up, or step is not one from 0 to steps.
    """
    _check(lr, step, steps)
    return lr * (1 + math.cos(math.pi * step / steps)) / 2


def warmup_cosine(lr: float, step: int, steps: int) -> float:
    """Return a learning rate that rises on a line over the first tenth of the steps, then falls to 0 as `cosine` does.

    Arguments and errors as for `cosine`, but lr is the highest rate (Goyal et al. 2017, section 2.2). No step is taken
    at the rate 0, which would teach nothing: the first of W steps of warm-up is taken at lr / W.
    """
    _check(lr, step, steps)
    warmup = steps // 10
    if step < warmup:
        return lr * (step + 1) / warmup
    return cosine(lr, step - warmup, steps - warmup)


def _check(lr: float, step: int, steps: int) -> None:
    checks.number("lr", lr, 0)
    if checks.whole("step", step, 0) > checks.whole("steps", steps):
        raise ValueError(f"step is {step}; expected at most steps, which is {steps}")


SCHEDULES = {"constant": constant, "cosine": cosine, "warmup-cosine": warmup_cosine}


def clip_by_global_norm(owner: Trainable, max_norm: float) -> Any:
    """Scale the flat gradient of `owner` down to the norm `max_norm` if it is longer (Pascanu et al. 2013).

    Returns
    -------
    norm : scalar on the device, the Euclidean norm over all parameters before clipping

    Raises
    ------
    ValueError
        max_norm is not a positive number, or owner is neither a layer nor a model.
    """
    _check_owner(owner)
    max_norm = checks.number("max_norm", max_norm, 0, above=True)
    xp, g = owner.backend.xp, owner.gradient
    with np.errstate(over="ignore", invalid="ignore"):  # a gradient that is not finite stays so
        norm: Any = xp.sqrt(xp.dot(g, g))
        if isinstance(norm, np.floating) and np.isfinite(norm):  # asking a GPU would make the host wait
            np.multiply(g, max_norm / np.maximum(norm, max_norm), out=g)
            return norm
        # The squares of a huge gradient overflow; divided by a power of two, it keeps its digits.
        _, exponent = xp.frexp(xp.maximum(xp.max(g), -xp.min(g)))
        scale = xp.ldexp(xp.ones((), g.dtype), xp.maximum(exponent - 1, 0))
        xp.divide(g, scale, out=g)
        norm = xp.sqrt(xp.dot(g, g))
        xp.multiply(g, max_norm / xp.maximum(norm, max_norm / scale), out=g)
        return norm * scale


def _check_owner(owner: Any) -> Trainable:
    if not isinstance(owner, Trainable):
        raise ValueError(f"owner is a {type(owner).__name__}; expected a layer with parameters, or a model")
    return owner
