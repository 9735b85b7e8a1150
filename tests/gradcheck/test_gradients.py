"""Every gradient by hand, checked against oracles that share nothing with its derivation."""

from __future__ import annotations

from functools import partial

import autograd
import autograd.numpy as anp
import check_gradients
import numpy as np
import pytest
from helpers import BACKWARD, CELLS, FORWARD, ROOT, relative, run_script

from minigru import SequenceClassifier, gradcheck, reference
from minigru.engine.kernels import numpy_kernels
from minigru.gradcheck import cases

EDGES = [(1, 1, 1, 1), (1, 2, 3, 4), (2, 1, 3, 4), (2, 2, 1, 1), (6, 3, 4, 5)]
SMALL = {f"{cell}-T{T}-B{B}-D{D}-H{H}": (cases.recurrent, cell, T, B, D, H) for cell in CELLS for T, B, D, H in EDGES}
SMALL |= {"gru-ragged": (partial(cases.recurrent, ragged=True), "gru", 6, 3, 4, 5)}
SMALL |= {f"linear-{B}-{D}-{K}": (cases.linear, B, D, K) for B, D, K in [(1, 1, 1), (1, 3, 2), (3, 4, 5)]}
SMALL |= {f"loss-{B}-{K}": (cases.loss, B, K) for B, K in [(1, 2), (3, 4)]}
SMALL |= {f"{cell}-model-{steps}": (cases.model, cell, 4, 3, 2, 5, 3, steps) for cell in CELLS for steps in (0, 20)}
FULL = {cell: (cases.recurrent, cell, 28, 8, 28, 128) for cell in CELLS}
FULL |= {"linear": (cases.linear, 8, 128, 10), "loss": (cases.loss, 8, 10)}
FULL |= {f"{cell}-model-{steps}": (cases.model, cell, 28, 8, 28, 128, 10, steps) for cell in CELLS for steps in (0, 20)}


def assert_rows(rows, tolerance):
    wrong = {row.name: row.error for row in rows if not row.error < tolerance}
    assert not wrong, wrong


def by_reference(case):
    """Return the gradients by the backward pass of the reference; the reference has none for a whole model."""
    a, constants, cell = case.arrays, dict(case.constants), case.name.lower().partition(",")[0]
    if cell in CELLS:
        dstates = constants.pop("dstates").copy()
        dstates[-1] += constants.pop("dlast")
        dx, dc_0, gradients = BACKWARD[cell](dstates, FORWARD[cell](a["x"], a["c_0"], a, **constants)[1])
        return {**{name: gradients[name] for name in a if name in gradients}, "x": dx, "c_0": dc_0}
    if cell == "linear":
        dx, gradients = reference.linear_backward(constants["dy"], reference.linear(a["x"], a)[1])
        return {**gradients, "x": dx}
    _, cache = reference.softmax_cross_entropy(a["logits"], constants["labels"], constants["weights"][:, None])
    return {"logits": reference.softmax_cross_entropy_backward(cache)}


@pytest.mark.parametrize("name", SMALL)
def test_every_element_by_central_differences_and_by_the_complex_step(name):
    make, *sizes = SMALL[name]
    case = make(*sizes)
    assert all((array != 0).all() for array in case.arrays.values())  # a zero would hide a mistake
    _, gradients = case.engine(case.arrays)
    exact = gradcheck.complex_step(case.reference, case.arrays)
    assert_rows(gradcheck.compare(gradients, exact), 1e-14)
    central = gradcheck.central_difference(lambda arrays: case.engine(arrays)[0], case.arrays)
    assert_rows(gradcheck.compare(gradients, central), 1e-8)
    if "model" not in name:
        assert_rows(gradcheck.compare(by_reference(case), exact), 1e-14)


@pytest.mark.parametrize("name", FULL)
def test_directional_derivatives_at_full_size(name):
    make, *sizes = FULL[name]
    case = make(*sizes)
    _, gradients = case.engine(case.arrays)
    for method, tolerance in (("central", 1e-8), ("complex", 1e-14)):
        rng = np.random.default_rng(0)
        assert_rows(gradcheck.compare_along(case.reference, case.arrays, gradients, rng, method), tolerance)


# The article's equations, written a second time, for the automatic differentiator.


def article_gru(x, c, p):
    """Take x batch first, as in the article, with separate weights for memory and input, as in its GRUCell."""
    H = c.shape[1]
    states = []
    for t in range(x.shape[1]):
        x_t = x[:, t, :]
        gamma_u = 1 / (1 + anp.exp(-(anp.dot(c, p["W_u"][:H]) + anp.dot(x_t, p["W_u"][H:]) + p["b_u"])))
        gamma_r = 1 / (1 + anp.exp(-(anp.dot(c, p["W_r"][:H]) + anp.dot(x_t, p["W_r"][H:]) + p["b_r"])))
        c_tilde = anp.tanh(anp.dot(gamma_r * c, p["W_c"][:H]) + anp.dot(x_t, p["W_c"][H:]) + p["b_c"])
        c = gamma_u * c_tilde + (1 - gamma_u) * c
        states.append(c)
    return states


def article_rnn(x, a, p):
    H = a.shape[1]
    states = []
    for t in range(x.shape[1]):
        a = anp.tanh(anp.dot(a, p["W_a"][:H]) + anp.dot(x[:, t, :], p["W_a"][H:]) + p["b_a"])
        states.append(a)
    return states


ARTICLE = {"gru": article_gru, "rnn": article_rnn}


def cross_entropy(logits, labels, weights=1):
    return anp.mean(weights * (anp.log(anp.sum(anp.exp(logits), axis=1)) - logits[anp.arange(len(labels)), labels]))


@pytest.mark.parametrize(
    "size", [(5, 3, 4, 6, 3), (1, 1, 1, 1, 2), (28, 4, 28, 128, 10)], ids=["small", "ones", "full"]
)
@pytest.mark.parametrize("cell", ARTICLE)
def test_loss_and_gradients_of_the_model_by_automatic_differentiation(cell, size):
    T, B, D, H, K = size
    rng = np.random.default_rng(3)
    model = SequenceClassifier(D, H, K, cell, dtype="float64", rng=rng)
    for name, view in model.params.items():
        view[...] += rng.standard_normal(view.shape) * (0.5 if ".b" in name else 0.01)
    x, y = rng.standard_normal((B, T, D)), rng.integers(K, size=B)

    def article_loss(p):
        inner = {name.partition(".")[2]: value for name, value in p.items()}
        return cross_entropy(anp.dot(ARTICLE[cell](x, anp.zeros((B, H)), inner)[-1], inner["W"]) + inner["b"], y)

    loss, gradients = autograd.value_and_grad(article_loss)({k: v.copy() for k, v in model.params.items()})
    assert float(model.loss(x, y)) == pytest.approx(loss, rel=1e-12)
    model.backward()
    for name, expected in gradients.items():
        assert relative(model.grads[name], expected) < 1e-12, name


def recurrent_loss(a, cell, dlast, dstates):
    states = ARTICLE[cell](anp.transpose(a["x"], (1, 0, 2)), a["c_0"], a)
    return sum(anp.sum(state * d) for state, d in zip(states, dstates, strict=True)) + anp.sum(states[-1] * dlast)


def ragged_loss(a, lengths, dlast, dstates):
    """Run each sequence alone, to its end; the states behind its end are the last one again."""
    loss = 0
    for b, end in enumerate(lengths):
        own = {**{name: a[name] for name in a}, "x": a["x"][:end, b : b + 1], "c_0": a["c_0"][b : b + 1]}
        behind = anp.sum(dstates[end:, b], axis=0) + dlast[b]
        loss += recurrent_loss(own, "gru", behind, dstates[:end, b : b + 1])
    return loss


LOSSES = {
    "ragged": (cases.recurrent("gru", 6, 3, 4, 5, seed=4, ragged=True), ragged_loss),
    "gru": (cases.recurrent("gru", 6, 3, 4, 5, seed=4), lambda a, **d: recurrent_loss(a, "gru", **d)),
    "rnn": (cases.recurrent("rnn", 6, 3, 4, 5, seed=4), lambda a, **d: recurrent_loss(a, "rnn", **d)),
    "linear": (cases.linear(3, 4, 5), lambda a, dy: anp.sum((anp.dot(a["x"], a["W"]) + a["b"]) * dy)),
    "loss": (cases.loss(3, 4), lambda a, **d: cross_entropy(a["logits"], **d)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_gradient_of_a_layer_by_automatic_differentiation(name):
    case, loss = LOSSES[name]
    value, gradients = autograd.value_and_grad(lambda a: loss(a, **case.constants))(case.arrays)
    by_hand_value, by_hand = case.engine(case.arrays)
    assert by_hand_value == pytest.approx(value, rel=1e-12)
    assert_rows(gradcheck.compare(by_hand, gradients), 1e-12)


# The script, with and without a wrong gradient. A factor just above a tolerance shows that this tolerance is in force.


@pytest.mark.parametrize(
    ("options", "factor", "verdict"),
    [
        ("--cell rnn --size full --dtype float32", 1, ""),
        ("--cell gru --size small", 1 + 3e-13, "FAILED by complex"),
        ("--cell gru --size full", 1.001, "FAILED by central and complex"),
        ("--cell gru --size small --dtype float32", 1 + 3e-6, ""),
        ("--cell gru --size small --dtype float32", 1 + 3e-5, "FAILED by central and complex"),
    ],
)
def test_script_names_a_wrong_gradient_and_exits_1(options, factor, verdict, monkeypatch, capsys):
    def wrong(dc_prev, dz_r, *rest, right=numpy_kernels.gru_reset_backward):
        right(dc_prev, dz_r, *rest)
        dz_r *= factor

    monkeypatch.setattr(numpy_kernels, "gru_reset_backward", wrong)
    monkeypatch.setattr("sys.argv", ["check_gradients.py", *options.split()])
    status, lines = check_gradients.main(), capsys.readouterr().out.splitlines()
    failed = {line.split()[0] for line in lines if "FAILED by" in line}
    assert (status, lines[-1]) == (
        (1, "A gradient is wrong: see FAILED above.") if verdict else (0, "All gradients agree.")
    )
    rows = [line for line in lines if line.startswith(("W_r ", "W_a "))]
    assert rows
    assert all(line.endswith(verdict) if verdict else "FAILED" not in line for line in rows)
    assert failed >= {"W_r", "b_r", "gru.W_r", "gru.b_r"} if verdict else failed == set()
    assert not failed & {"W", "b", "logits", "linear.W", "linear.b"}  # the layers above the reset gate


def test_the_table_in_the_documents_is_what_the_script_prints():
    page = (ROOT / "docs" / "gradient-checking.md").read_text("utf-8")
    command, shown = page.split("As `python scripts/")[1].split("` prints it:\n\n```\n")
    result = run_script(*command.split())
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split() for line in shown.split("\n```")[0].splitlines()]
    assert [row[:1] for row in rows] == [line.split()[:1] for line in result.stdout.splitlines()]
    errors = [(float(row[1]), float(row[2])) for row in rows if len(row) > 5 and "e-" in row[1]]
    assert len(errors) > 20
    assert all(central < 1e-8 and complex_step < 1e-14 for central, complex_step in errors)
