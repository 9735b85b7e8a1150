"""The checks are checked: one wrong line in a backward pass, and the gradient check names what is wrong."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers import relative

import minigru
from minigru import Backend, gradcheck, reference
from minigru.engine import recurrent
from minigru.engine.kernels import numpy_kernels
from minigru.gradcheck import cases

GRU_ALL = {"W_u", "b_u", "W_r", "b_r", "W_c", "b_c", "x", "c_0"}
RNN_ALL = {"W_a", "b_a", "x", "c_0"}

# Here: what is wrong, where, the line, the mutant, and every array whose gradient must be found wrong, no more and no less.
# An error that enters the recurrence reaches every array through the earlier steps.
LAYER_MUTANTS = [
    ("gru: a dropped term of dGamma_u", "kernels.numpy_kernels", "np.subtract(c_tilde, c_prev, out=dz_u)", "np.add(c_tilde, 0, out=dz_u)", GRU_ALL),
    ("gru: a sign in dGamma_u", "kernels.numpy_kernels", "np.subtract(c_tilde, c_prev, out=dz_u)", "np.subtract(c_prev, c_tilde, out=dz_u)", GRU_ALL),
    ("gru: the slope of tanh without its square", "kernels.numpy_kernels", "np.multiply(c_tilde, c_tilde, out=dz_c)", "np.add(c_tilde, 0, out=dz_c)", GRU_ALL),
    ("gru: 1 - Gamma_u where Gamma_u stands", "kernels.numpy_kernels", "np.multiply(gamma_u, slope, out=dz_c)", "np.multiply(keep, slope, out=dz_c)", GRU_ALL),
    ("gru: the memory kept with Gamma_u", "kernels.numpy_kernels", "np.multiply(dc_prev, keep, out=dc_prev)", "np.multiply(dc_prev, gamma_u, out=dc_prev)", GRU_ALL),
    ("gru: dz_r a thousandth too long", "kernels.numpy_kernels", "np.multiply(drc, dz_r, out=dz_r)", "np.multiply(drc, 1.001 * dz_r, out=dz_r)", GRU_ALL),
    ("gru: no gradient through Gamma_r * c_prev", "kernels.numpy_kernels", "np.add(dc_prev, drc, out=dc_prev)", "pass", GRU_ALL),
    ("gru: the memory after the step where c_prev stands", "gru", "gamma_u[t], c_tilde[t], c[t], buf_b.scratch", "gamma_u[t], c_tilde[t], c[t + 1], buf_b.scratch", GRU_ALL),
    ("gru: weights of u where those of r stand", "gru", "xp.matmul(dz_r[t], W_r_T,", "xp.matmul(dz_r[t], W_u_T,", GRU_ALL),
    ("gru: a missing transpose", "recurrent", "block[: self.hidden_size].T", "block[: self.hidden_size]", GRU_ALL),
    ("gru: a dropped recurrent term", "gru", "xp.matmul(dz_u[t], W_u_T, out=product)", "product[...] = 0", GRU_ALL),
    ("gru: dstates one step early", "gru", "xp.add(dc, dstates[t], out=dc)", "xp.add(dc, dstates[t - 1], out=dc)", GRU_ALL),
    ("gru: the memory after the step for dW", "gru", "cx1, rcx1 = buf.cx1.reshape", "buf.cx1[..., :H] = c[1:]; cx1, rcx1 = buf.cx1.reshape", {"W_u", "W_r"}),
    ("gru: c_prev where rc stands", "gru", "xp.matmul(rcx1.T, dz_c, out=dW_c)", "xp.matmul(cx1.T, dz_c, out=dW_c)", {"W_c"}),
    ("gru: the other gate's dz for dW_u", "gru", "xp.matmul(cx1.T, dz_u, out=dW_u)", "xp.matmul(cx1.T, dz_r, out=dW_u)", {"W_u", "b_u"}),
    ("gru: a forgotten bias", "gru", "xp.matmul(cx1.T, dz_r, out=dW_r)", "xp.matmul(cx1[:, :-1].T, dz_r, out=dW_r[:-1])", {"b_r"}),
    ("gru: one gate's share of dx alone", "gru", "xp.add(dx, part, out=dx)  # (dG1)", "dx[...] = part  # (dG1)", {"x"}),
    ("rnn: a sign in the slope", "kernels.numpy_kernels", "np.subtract(1, dz_a, out=dz_a)", "np.add(1, dz_a, out=dz_a)", RNN_ALL),
    ("rnn: the activation one step early", "rnn", "dz_a[t], da, a[t + 1]", "dz_a[t], da, a[t]", RNN_ALL),
    ("rnn: rows of the memory where those of x stand", "rnn", "W_a[H:-1].T", "W_a[:D].T", {"x"}),
    ("rnn: the sum over t without its last step", "rnn", "dz = dz_a.reshape(T * B, H)", "dz_a[-1] = 0; dz = dz_a.reshape(T * B, H)", {"W_a", "b_a", "x"}),
    ("rnn: the activation after the step for dW", "rnn", "xp.matmul(buf.ax1.reshape", "buf.ax1[..., :H] = a[1:]; xp.matmul(buf.ax1.reshape", {"W_a"}),
    ("linear: a missing transpose", "linear", "xp.matmul(buf.dy, W.T, out=buf.dx)", "xp.matmul(buf.dy, W, out=buf.dx)", {"x"}),
    ("linear: dW the other way round", "linear", "xp.matmul(buf.x.T, buf.dy, out=dW)", "xp.matmul(buf.dy.T, buf.x, out=dW)", {"W"}),
    ("linear: a forgotten bias sum", "linear", "xp.sum(buf.dy, axis=0, out=db)", "db[...] = buf.dy[0]", {"b"}),
    ("loss: not divided by the batch", "kernels.numpy_kernels", "np.divide(dlogits, len(y), out=dlogits)", "pass", {"logits"}),
    ("loss: the labels forgotten", "kernels.numpy_kernels", "np.subtract(p, y, out=dlogits)", "np.add(p, 0, out=dlogits)", {"logits"}),
]  # fmt: skip

ADAM_MUTANTS = [
    ("beta2 for the first moment", "np.multiply(m, beta1, out=m)", "np.multiply(m, beta2, out=m)", {"theta", "m"}),
    ("the gradient not squared", "np.multiply(g, g, out=scratch)", "np.multiply(g, 1, out=scratch)", {"theta", "v"}),
    ("no correction of the first moment", "lr / correction1", "lr", {"theta"}),
    ("no correction of the second moment", "np.divide(v, correction2,", "np.divide(v, 1,", {"theta"}),
    ("uphill", "np.subtract(theta, scratch,", "np.add(theta, scratch,", {"theta"}),
]


def mutate(name: str, line: str, mutant: str) -> ModuleType:
    """Return a copy of a module of minigru with one piece of one line changed."""
    original = import_module(f"minigru.{name}")
    source = Path(original.__file__).read_text("utf-8")
    assert source.count(line) == 1, f"{line!r} stands {source.count(line)} times in {name}"
    copy = ModuleType(original.__name__)
    copy.__package__ = original.__package__
    exec(source.replace(line, mutant), vars(copy))
    return copy


def failing(layer: str, backend: Backend) -> set[str]:
    """Return the arrays whose gradients the complex step finds wrong."""
    case = {
        "gru": lambda: cases.recurrent("gru", 6, 3, 4, 5, backend),
        "rnn": lambda: cases.recurrent("rnn", 6, 3, 4, 5, backend),
        "linear": lambda: cases.linear(4, 4, 4, backend),
        "loss": lambda: cases.loss(3, 4, backend),
    }[layer]()
    _, gradients = case.engine(case.arrays)
    rows = gradcheck.compare(gradients, gradcheck.complex_step(case.reference, case.arrays))
    return {row.name for row in rows if not row.error < 1e-13}


@pytest.mark.parametrize("layer", ["gru", "rnn", "linear", "loss"])
def test_nothing_fails_without_a_mutant(layer):
    assert failing(layer, Backend("numpy", np, numpy_kernels)) == set()


@pytest.mark.parametrize(("what", "name", "line", "mutant", "wrong"), LAYER_MUTANTS, ids=[m[0] for m in LAYER_MUTANTS])
def test_a_mutant_of_a_layer_is_caught_by_name(what, name, line, mutant, wrong, monkeypatch):
    module = mutate(name, line, mutant)
    kernels = module if name.startswith("kernels") else numpy_kernels
    if name == "linear":
        monkeypatch.setattr(cases, "Linear", module.Linear)
    elif name == "recurrent":
        method = "_transposed_recurrent_weights"
        monkeypatch.setattr(recurrent.Recurrent, method, getattr(module.Recurrent, method))
    elif name in ("gru", "rnn"):
        monkeypatch.setitem(cases.LAYERS, name, getattr(module, name.upper()))
    assert failing(what.partition(":")[0], Backend("numpy", np, kernels)) == wrong


@pytest.mark.parametrize(("what", "line", "mutant", "wrong"), ADAM_MUTANTS, ids=[m[0] for m in ADAM_MUTANTS])
def test_a_mutant_of_adam_is_caught_by_name(what, line, mutant, wrong, rng):
    backend = Backend("numpy", np, mutate("kernels.numpy_kernels", line, mutant))
    layer = minigru.Linear(3, 2, backend, "float64")
    adam = minigru.Adam(layer)
    theta, m, v = layer.vector.copy(), 0.0, 0.0
    for t in (1, 2, 3):
        layer.gradient[...] = 1 + rng.random(layer.gradient.shape)
        adam.step()
        theta, m, v = reference.adam(theta, layer.gradient, m, v, t)
    ours = {"theta": (layer.vector, theta), "m": (adam.m, m), "v": (adam.v, v)}
    assert {name for name, pair in ours.items() if not relative(*pair) < 1e-12} == wrong
