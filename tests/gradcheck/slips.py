"""The slips that people make in the backward pass of a GRU step: a catalogue.

`gru_cell_backward` is that of `minigru.reference`, with its right-hand sides in the table `LINES`. A `Slip` replaces
one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from minigru.reference import concat, split

Expression = Callable[[SimpleNamespace], np.ndarray]  # from the values of the lines above to the value of this line

# (tag, what the line assigns): the right expression.
LINES: dict[tuple[str, str], Expression] = {
    ("dG4", "dgamma_u"): lambda v: v.dc * (v.c_tilde - v.c_prev),
    ("dG4", "dc_tilde"): lambda v: v.dc * v.gamma_u,
    ("dG4", "dc_prev"): lambda v: v.dc * (1 - v.gamma_u),
    ("dG3", "dz_c"): lambda v: v.dc_tilde * (1 - v.c_tilde**2),
    ("dG3", "drc"): lambda v: split(v.dz_c @ v.W_c.T, v.H)[0],
    ("dG3", "dx"): lambda v: split(v.dz_c @ v.W_c.T, v.H)[1],
    ("dG3", "dgamma_r"): lambda v: v.drc * v.c_prev,
    ("dG3", "dc_prev"): lambda v: v.dc_prev + v.drc * v.gamma_r,
    ("dG2", "dz_r"): lambda v: v.dgamma_r * v.gamma_r * (1 - v.gamma_r),
    ("dG2", "dc_prev_r"): lambda v: split(v.dz_r @ v.W_r.T, v.H)[0],
    ("dG2", "dx_r"): lambda v: split(v.dz_r @ v.W_r.T, v.H)[1],
    ("dG1", "dz_u"): lambda v: v.dgamma_u * v.gamma_u * (1 - v.gamma_u),
    ("dG1", "dc_prev_u"): lambda v: split(v.dz_u @ v.W_u.T, v.H)[0],
    ("dG1", "dx_u"): lambda v: split(v.dz_u @ v.W_u.T, v.H)[1],
    ("dG1", "dc_prev"): lambda v: v.dc_prev + v.dc_prev_r + v.dc_prev_u,
    ("dG1", "dx"): lambda v: v.dx + v.dx_r + v.dx_u,
    ("dGW", "dW_c"): lambda v: concat(v.gamma_r * v.c_prev, v.x).T @ v.dz_c,
    ("dGW", "db_c"): lambda v: v.dz_c.sum(axis=0),
    ("dGW", "dW_r"): lambda v: concat(v.c_prev, v.x).T @ v.dz_r,
    ("dGW", "db_r"): lambda v: v.dz_r.sum(axis=0),
    ("dGW", "dW_u"): lambda v: concat(v.c_prev, v.x).T @ v.dz_u,
    ("dGW", "db_u"): lambda v: v.dz_u.sum(axis=0),
}


@dataclass(frozen=True)
class Slip:
    """One wrong line."""

    what: str  # in plain words
    tag: str  # with `name`, a key of LINES
    name: str
    wrong: Expression

    def __str__(self) -> str:
        return f"{self.name} ({self.tag}): {self.what}"

    def backward(self, dc: np.ndarray, cache: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the gradients of `gru_cell_backward` with this slip in it."""
        return gru_cell_backward(dc, cache, {**LINES, (self.tag, self.name): self.wrong})


def gru_cell_backward(dc: np.ndarray, cache: tuple[Any, ...], lines: dict[Any, Expression] = LINES) -> tuple[Any, ...]:
    """Return dx, dc_prev and grads, as the function of this name in `minigru.reference` does."""
    *inputs, p = cache
    v = SimpleNamespace(dc=dc, **dict(zip(("x", "c_prev", "gamma_u", "gamma_r", "c_tilde"), inputs, strict=True)), **p)
    v.c, v.H = v.gamma_u * v.c_tilde + (1 - v.gamma_u) * v.c_prev, v.c_prev.shape[1]
    for (_, name), expression in lines.items():
        setattr(v, name, expression(v))
    return v.dx, v.dc_prev, {name: getattr(v, f"d{name}") for name in p}


SLIPS = [
    Slip("the old memory forgotten", "dG4", "dgamma_u", lambda v: v.dc * v.c_tilde),
    Slip("the sign", "dG4", "dgamma_u", lambda v: v.dc * (v.c_prev - v.c_tilde)),
    Slip("c in place of c_prev", "dG4", "dgamma_u", lambda v: v.dc * (v.c_tilde - v.c)),
    Slip("the factor gamma_u forgotten", "dG4", "dc_tilde", lambda v: v.dc),
    Slip("1 - gamma_u in place of gamma_u", "dG4", "dc_tilde", lambda v: v.dc * (1 - v.gamma_u)),
    Slip("the wrong gate", "dG4", "dc_tilde", lambda v: v.dc * v.gamma_r),
    Slip("gamma_u in place of 1 - gamma_u", "dG4", "dc_prev", lambda v: v.dc * v.gamma_u),
    Slip("the factor 1 - gamma_u forgotten", "dG4", "dc_prev", lambda v: v.dc),
    Slip("the slope of tanh forgotten", "dG3", "dz_c", lambda v: v.dc_tilde),
    Slip("the slope of tanh without its square", "dG3", "dz_c", lambda v: v.dc_tilde * (1 - v.c_tilde)),
    Slip("the slope of sigmoid", "dG3", "dz_c", lambda v: v.dc_tilde * v.c_tilde * (1 - v.c_tilde)),
    Slip("a missing transpose", "dG3", "drc", lambda v: v.dz_c @ v.W_c[: v.H]),
    Slip("the weights of the wrong gate", "dG3", "drc", lambda v: split(v.dz_c @ v.W_r.T, v.H)[0]),
    Slip("c in place of c_prev", "dG3", "dgamma_r", lambda v: v.drc * v.c),
    Slip("gamma_r * c_prev in place of c_prev", "dG3", "dgamma_r", lambda v: v.drc * v.gamma_r * v.c_prev),
    Slip("= in place of +=", "dG3", "dc_prev", lambda v: v.drc * v.gamma_r),
    Slip("the way through the reset gate forgotten", "dG3", "dc_prev", lambda v: v.dc_prev),
    Slip("the factor gamma_r forgotten", "dG3", "dc_prev", lambda v: v.dc_prev + v.drc),
    Slip("the wrong gate", "dG3", "dc_prev", lambda v: v.dc_prev + v.drc * v.gamma_u),
    Slip("the slope of sigmoid forgotten", "dG2", "dz_r", lambda v: v.dgamma_r),
    Slip("the slope of sigmoid without 1 - gamma_r", "dG2", "dz_r", lambda v: v.dgamma_r * v.gamma_r),
    Slip("the slope of tanh", "dG2", "dz_r", lambda v: v.dgamma_r * (1 - v.gamma_r**2)),
    Slip("the slope of the wrong gate", "dG2", "dz_r", lambda v: v.dgamma_r * v.gamma_u * (1 - v.gamma_u)),
    Slip("a thousandth too long", "dG2", "dz_r", lambda v: 1.001 * LINES["dG2", "dz_r"](v)),
    Slip("a missing transpose", "dG2", "dc_prev_r", lambda v: v.dz_r @ v.W_r[: v.H]),
    Slip("the weights of the wrong gate", "dG2", "dc_prev_r", lambda v: split(v.dz_r @ v.W_u.T, v.H)[0]),
    Slip("the weights of the wrong gate", "dG2", "dx_r", lambda v: split(v.dz_r @ v.W_u.T, v.H)[1]),
    Slip("the slope of sigmoid forgotten", "dG1", "dz_u", lambda v: v.dgamma_u),
    Slip("the slope of sigmoid without 1 - gamma_u", "dG1", "dz_u", lambda v: v.dgamma_u * v.gamma_u),
    Slip("the slope of the wrong gate", "dG1", "dz_u", lambda v: v.dgamma_u * v.gamma_r * (1 - v.gamma_r)),
    Slip("a missing transpose", "dG1", "dc_prev_u", lambda v: v.dz_u @ v.W_u[: v.H]),
    Slip("= in place of +=", "dG1", "dc_prev", lambda v: v.dc_prev_u),
    Slip("the way through the update gate forgotten", "dG1", "dc_prev", lambda v: v.dc_prev + v.dc_prev_r),
    Slip("= in place of +=", "dG1", "dx", lambda v: v.dx_u),
    Slip("the way through the reset gate forgotten", "dG1", "dx", lambda v: v.dx + v.dx_u),
    Slip("c_prev in place of gamma_r * c_prev", "dGW", "dW_c", lambda v: concat(v.c_prev, v.x).T @ v.dz_c),
    Slip("[x, c_prev] in place of [c_prev, x]", "dGW", "dW_r", lambda v: concat(v.x, v.c_prev).T @ v.dz_r),
    Slip("gamma_r * c_prev in place of c_prev", "dGW", "dW_r", lambda v: concat(v.gamma_r * v.c_prev, v.x).T @ v.dz_r),
    Slip("c in place of c_prev", "dGW", "dW_u", lambda v: concat(v.c, v.x).T @ v.dz_u),
    Slip("dz of the wrong gate", "dGW", "dW_u", lambda v: concat(v.c_prev, v.x).T @ v.dz_r),
    Slip("the mean over the batch, not the sum", "dGW", "dW_u", lambda v: LINES["dGW", "dW_u"](v) / len(v.x)),
    Slip("the sum over the batch forgotten", "dGW", "db_c", lambda v: v.dz_c[0]),
    Slip("the sum over the batch forgotten", "dGW", "db_r", lambda v: v.dz_r[0]),
    Slip("dz of the wrong gate", "dGW", "db_u", lambda v: v.dz_r.sum(axis=0)),
    *(Slip("left at zero", tag, name, lambda v, right=right: 0 * right(v)) for (tag, name), right in LINES.items()),
]
