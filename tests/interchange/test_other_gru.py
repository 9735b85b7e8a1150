"""The GRU of PyTorch in the reference: its gradients against two oracles, and a trace of its gates."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import relative

from minigru import gradcheck, reference
from minigru.experiments import trace

D, H = 4, 5
SHAPES = {"W_k": (H + D, H), "b_k": (H,), "W_r": (H + D, H), "b_r": (H,), "U_c": (H, H), "b_q": (H,), "V_c": (D, H)}
SHAPES |= {"b_c": (H,)}


def drawn(rng, T, B):
    """Return a point: parameters, input and initial memory, no element of which is zero."""
    shapes = SHAPES | {"x": (T, B, D), "c_0": (B, H)}
    return {name: rng.standard_normal(shape) / 2 for name, shape in shapes.items()}


@pytest.mark.parametrize(("T", "B"), [(1, 1), (5, 3)])
def test_every_gradient_by_the_complex_step(T, B, rng):
    point, dstates = drawn(rng, T, B), rng.standard_normal((T, B, H))
    _, caches = reference.gru_after_forward(point["x"], point["c_0"], point)
    dx, dc_0, grads = reference.gru_after_backward(dstates, caches)
    exact = gradcheck.complex_step(
        lambda p: (reference.gru_after_forward(p["x"], p["c_0"], p)[0] * dstates).sum(), point
    )
    for row in gradcheck.compare({**grads, "x": dx, "c_0": dc_0}, exact):
        assert row.error < 1e-14, row


def test_the_cell_and_its_gradients_are_those_of_pytorch(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra bench brings it")
    p, dc = drawn(rng, 1, 3), rng.standard_normal((3, H))
    x, c_prev = p["x"][0], p["c_0"]
    cell = torch.nn.GRUCell(D, H, dtype=torch.float64)
    zero = np.zeros(H)
    packed = {  # in PyTorch's order of gates: reset, update, candidate
        "weight_ih": np.concatenate([p["W_r"][H:].T, p["W_k"][H:].T, p["V_c"].T]),
        "weight_hh": np.concatenate([p["W_r"][:H].T, p["W_k"][:H].T, p["U_c"].T]),
        "bias_ih": np.concatenate([p["b_r"], zero, p["b_c"]]),
        "bias_hh": np.concatenate([zero, p["b_k"], p["b_q"]]),
    }
    cell.load_state_dict({name: torch.from_numpy(value) for name, value in packed.items()})
    theirs_x, theirs_c = (torch.from_numpy(a).requires_grad_() for a in (x, c_prev))
    theirs = cell(theirs_x, theirs_c)
    theirs.backward(torch.from_numpy(dc))
    c, cache = reference.gru_after_cell(x, c_prev, p)
    dx, dc_prev, grads = reference.gru_after_cell_backward(dc, cache)
    assert relative(c, theirs.detach()) < 1e-14
    assert relative(dx, theirs_x.grad) < 1e-14
    assert relative(dc_prev, theirs_c.grad) < 1e-14
    r, k, c_in = np.split(cell.bias_ih.grad.numpy(), 3)
    assert relative(np.concatenate([grads["b_r"], grads["b_k"], grads["b_c"]]), np.concatenate([r, k, c_in])) < 1e-14
    assert relative(grads["b_q"], cell.bias_hh.grad.numpy()[2 * H :]) < 1e-14
    theirs_W = np.concatenate([cell.weight_hh.grad.numpy(), cell.weight_ih.grad.numpy()], 1)
    ours_W = np.concatenate([grads["W_r"].T, grads["W_k"].T, np.concatenate([grads["U_c"], grads["V_c"]]).T])
    assert relative(ours_W, theirs_W) < 1e-14


def test_its_gates_can_be_looked_at(rng):
    T, B, K = 6, 2, 3
    p = drawn(rng, T, B)
    x, c_0 = p.pop("x"), p.pop("c_0")
    model = {f"gru_after.{name}": value for name, value in p.items()}
    model |= {"linear.W": rng.standard_normal((H, K)), "linear.b": rng.standard_normal(K)}
    seen = trace.gates(model, x.swapaxes(0, 1), c_0)
    states, _ = reference.gru_after_forward(x, c_0, p)
    assert relative(seen.c, states.swapaxes(0, 1)) < 1e-14
    c_prev = np.concatenate([c_0[:, None], seen.c[:, :-1]], 1)
    assert relative(seen.gamma_u * seen.c_tilde + (1 - seen.gamma_u) * c_prev, seen.c) < 1e-14
    assert trace.answers(model, seen.c).sum(-1) == pytest.approx(np.ones((B, T)))
    with pytest.raises(ValueError, match="has no linear layer"):
        trace.answers({f"gru_after.{name}": value for name, value in p.items()}, seen.c)
