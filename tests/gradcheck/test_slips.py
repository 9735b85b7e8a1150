"""The checks are checked: plant one slip in a backward pass, and the gradient check names the arrays that are wrong."""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import relative
from slips import LINES, SLIPS, gru_cell_backward

import minigru
from minigru import Backend, gradcheck, reference
from minigru.engine.kernels import numpy_kernels
from minigru.gradcheck import cases

GRU_ALL, RNN_ALL = "W_u b_u W_r b_r W_c b_c x c_0", "W_a b_a x c_0"
MAKE = {
    "step": lambda *backend: cases.recurrent("gru", 1, 3, 4, 5, *backend),
    "gru": lambda *backend: cases.recurrent("gru", 6, 3, 4, 5, *backend),
    "rnn": lambda *backend: cases.recurrent("rnn", 6, 3, 4, 5, *backend),
    "linear": lambda *backend: cases.linear(4, 4, 4, *backend),
    "loss": lambda *backend: cases.loss(3, 4, *backend),
}


@cache
def truth(layer):
    case = MAKE[layer]()
    return gradcheck.complex_step(case.reference, case.arrays)


def wrong(gradients, truth):
    """Return the names of the arrays that the complex step finds wrong, as one string."""
    return " ".join(row.name for row in gradcheck.compare(gradients, truth) if not row.error < 1e-13)


# --- The catalogue: one step in the style of the reference -----------------------------------------------------------

# What a wrong value in a line makes wrong in the gradients of one step.
HARMS = {
    "dgamma_u": "W_u b_u x c_0",
    "dc_tilde": "W_r b_r W_c b_c x c_0",
    "dz_c": "W_r b_r W_c b_c x c_0",
    "drc": "W_r b_r x c_0",
    "dgamma_r": "W_r b_r x c_0",
    "dz_r": "W_r b_r x c_0",
    "dz_u": "W_u b_u x c_0",
    **dict.fromkeys(("dc_prev", "dc_prev_r", "dc_prev_u"), "c_0"),
    **dict.fromkeys(("dx", "dx_r", "dx_u"), "x"),
    **{f"d{name}": name for name in ("W_u", "b_u", "W_r", "b_r", "W_c", "b_c")},
}


def step_gradients(backward):
    """Return the gradients of one step by this `gru_cell_backward`."""
    case = MAKE["step"]()
    p = {name: array for name, array in case.arrays.items() if name[:2] in ("W_", "b_")}
    _, cache = reference.gru_cell(case.arrays["x"][0], case.arrays["c_0"], p)
    dx, dc_prev, grads = backward(case.constants["dstates"][0] + case.constants["dlast"], cache)
    return {**grads, "x": dx[None], "c_0": dc_prev}


def test_the_lines_of_the_catalogue_are_right():
    assert wrong(step_gradients(gru_cell_backward), truth("step")) == ""


@pytest.mark.parametrize("slip", SLIPS, ids=str)
def test_a_slip_is_found_in_the_arrays_that_it_harms_and_in_no_other(slip):
    assert (slip.tag, slip.name) in LINES
    assert wrong(step_gradients(slip.backward), truth("step")) == HARMS[slip.name]


# --- The engine: one kernel, or the public backward of one layer, does the wrong thing -------------------------------


def wrong_kernel(name, change):
    """Return a NumPy backend with `change` after the kernel `name`; it also gets the kernel's first array as it was."""

    def kernel(*args):
        before = args[0].copy()
        result = getattr(numpy_kernels, name)(*args)
        change(before, *args)
        return result

    return Backend("numpy", np, SimpleNamespace(**{**vars(numpy_kernels), name: kernel}))


def wrong_layer(base, before=lambda *d: d, after=lambda layer, g, *d: None):
    """Return a layer whose backward gets its gradients from `before`; `after` changes those that come out."""

    class Wrong(base):
        def backward(self, *d):
            out = super().backward(*before(*d))
            dx, dc_0 = out if isinstance(out, tuple) else (out, None)
            after(self, {**self.grads, "x": dx, "c_0": dc_0}, *d)
            return out

    return Wrong


def scale(array, factor):
    np.multiply(array, factor, out=array)


def early(dlast, dstates):
    return dlast, np.roll(dstates, 1, axis=0)


def put(array, value):
    array[...] = value.copy()  # the value may be a view of the array


GRU, RNN, LINEAR = (partial(wrong_layer, base) for base in (minigru.GRU, minigru.RNN, minigru.Linear))
MEMORY, RESET = partial(wrong_kernel, "gru_memory_backward"), partial(wrong_kernel, "gru_reset_backward")
STATE, LOSS = partial(wrong_kernel, "rnn_state_backward"), partial(wrong_kernel, "softmax_cross_entropy")
# What is wrong, how, and the arrays whose gradients must be found wrong, no more and no fewer.
# A mistake that enters the recurrence reaches every array through the earlier steps.
PLANTS = [
    ("gru: c_tilde alone", MEMORY(lambda _, dc, dz_u, dz_c, u, tilde, c, s: scale(dz_u, tilde / (tilde - c))), GRU_ALL),
    ("gru: the sign of dgamma_u", MEMORY(lambda _, dc, dz_u, *rest: scale(dz_u, -1)), GRU_ALL),
    ("gru: c in place of c_prev", MEMORY(lambda _, dc, dz_u, dz_c, u, *rest: scale(dz_u, 1 - u)), GRU_ALL),
    ("gru: no square in slope", MEMORY(lambda b, dc, dz_u, dz_c, u, tilde, *_: scale(dz_c, 1 / (1 + tilde))), GRU_ALL),
    ("gru: 1 - gamma_u for gamma_u", MEMORY(lambda _, dc, dz_u, dz_c, u, *rest: scale(dz_c, (1 - u) / u)), GRU_ALL),
    ("gru: gamma_u for 1 - gamma_u", MEMORY(lambda _, dc, dz_u, dz_c, u, *rest: scale(dc, u / (1 - u))), GRU_ALL),
    ("gru: dz_r a thousandth too long", RESET(lambda _, dc, dz_r, *rest: scale(dz_r, 1.001)), GRU_ALL),
    ("gru: = in place of +=", RESET(lambda before, dc, *rest: np.subtract(dc, before, out=dc)), GRU_ALL),
    ("gru: gamma_r * c_prev forgotten", RESET(lambda before, dc, *rest: put(dc, before)), GRU_ALL),
    ("rnn: a sign in the slope", STATE(lambda _, dz_a, da, a: scale(dz_a, (1 + a**2) / (1 - a**2))), RNN_ALL),
    ("rnn: no square in slope", STATE(lambda _, dz_a, da, a: scale(dz_a, 1 / (1 + a))), RNN_ALL),
    ("loss: not divided by B", LOSS(lambda _, dlogits, *rest: scale(dlogits, len(dlogits))), "logits"),
    ("loss: labels forgotten", LOSS(lambda _, dlogits, log_p, p, *rest: put(dlogits, p / len(p))), "logits"),
    ("gru: dstates one step early", GRU(early), GRU_ALL),
    ("gru: dlast forgotten", GRU(lambda dlast, dstates: (None, dstates)), GRU_ALL),
    ("gru: dW_u of the wrong gate", GRU(after=lambda _, g, *d: put(g["W_u"], g["W_r"])), "W_u"),
    ("gru: the rows of x first", GRU(after=lambda _, g, *d: put(g["W_c"], np.roll(g["W_c"], 4, axis=0))), "W_c"),
    ("gru: a missing transpose", GRU(after=lambda _, g, *d: put(g["W_r"][:5], g["W_r"][:5].T)), "W_r"),
    ("gru: the bias forgotten", GRU(after=lambda _, g, *d: scale(g["b_r"], 0)), "b_r"),
    ("rnn: dstates one step early", RNN(early), RNN_ALL),
    ("rnn: dx without its last step", RNN(after=lambda _, g, *d: scale(g["x"][-1], 0)), "x"),
    ("rnn: dc_0 without the first step", RNN(after=lambda _, g, dlast, dstates: put(g["c_0"], dstates[0])), "c_0"),
    ("linear: a missing transpose", LINEAR(after=lambda layer, g, dy: put(g["x"], dy @ layer.params["W"])), "x"),
    ("linear: dW the other way round", LINEAR(after=lambda _, g, dy: put(g["W"], g["W"].T)), "W"),
    ("linear: the sum over the batch forgotten", LINEAR(after=lambda _, g, dy: put(g["b"], dy[0])), "b"),
]  # fmt: skip


def found(what, *backend):
    """Return what the complex step finds wrong in the layer that `what` begins with."""
    name = what.partition(":")[0]
    case = MAKE[name](*backend)
    return wrong(case.engine(case.arrays)[1], truth(name))


@pytest.mark.parametrize("name", MAKE)
def test_nothing_is_found_in_the_engine_as_it_is(name):
    assert found(name) == ""


@pytest.mark.parametrize(("what", "plant", "harms"), PLANTS, ids=[row[0] for row in PLANTS])
def test_a_plant_in_the_engine_is_found_in_the_arrays_that_it_harms_and_in_no_other(what, plant, harms, monkeypatch):
    if isinstance(plant, Backend):
        assert found(what, plant) == harms
    else:
        monkeypatch.setitem(cases.CELLS, what.partition(":")[0], plant)
        monkeypatch.setattr(cases, "Linear", plant)
        assert found(what) == harms


# --- Adam: the recurrence of the reference finds the slip -------------------------------------------------------------


def g_not_squared(step, theta, m, v, g, scratch, lr, beta1, beta2, *rest):
    v += (g - g**2) * (1 - beta2) / beta2
    step(theta, m, v, g, scratch, lr, beta1, beta2, *rest)


ADAM = [
    ("nothing", lambda step, *a: step(*a), ""),
    ("beta2 for the first moment", lambda step, *a: step(*a[:6], a[7], *a[7:]), "theta m"),
    ("the gradient not squared", g_not_squared, "theta v"),
    ("no correction of the first moment", lambda step, *a: step(*a[:9], 1, a[10]), "theta"),
    ("no correction of the second moment", lambda step, *a: step(*a[:10], 1), "theta"),
    ("uphill", lambda step, *a: step(*a[:5], -a[5], *a[6:]), "theta"),
]


@pytest.mark.parametrize(("what", "wrong_step", "harms"), ADAM, ids=[row[0] for row in ADAM])
def test_a_slip_in_adam_is_found_by_name(what, wrong_step, harms, rng):
    slipped = {**vars(numpy_kernels), "adam": lambda *args: wrong_step(numpy_kernels.adam, *args)}
    layer = minigru.Linear(3, 2, Backend("numpy", np, SimpleNamespace(**slipped)), "float64")
    adam = minigru.Adam(layer)
    theta, m, v = layer.vector.copy(), 0.0, 0.0
    for t in (1, 2, 3):
        layer.gradient[...] = 1 + rng.random(layer.gradient.shape)
        adam.step()
        theta, m, v = reference.adam(theta, layer.gradient, m, v, t)
    ours = {"theta": (layer.vector, theta), "m": (adam.m, m), "v": (adam.v, v)}
    assert " ".join(name for name, pair in ours.items() if not relative(*pair) < 1e-12) == harms
