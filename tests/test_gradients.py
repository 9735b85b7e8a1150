"""Every gradient by hand, held to four oracles that share nothing with its derivation."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from helpers import relative, run_script

from minigru import SequenceClassifier, cases, gradcheck

EDGES = [(1, 1, 1, 1), (1, 2, 3, 4), (2, 1, 3, 4), (2, 2, 1, 1), (6, 3, 4, 5)]
CASES = [cases.recurrent(cell, *size) for cell in cases.LAYERS for size in EDGES]
CASES += [cases.linear(B, D, K) for B, D, K in [(1, 1, 1), (1, 3, 2), (3, 4, 5)]]
CASES += [cases.loss(B, K) for B, K in [(1, 2), (3, 4)]]
CASES += [cases.model(cell, 4, 3, 2, 5, 3, steps) for cell in cases.LAYERS for steps in (0, 20)]
FULL = [*cases.all_cases(tuple(cases.LAYERS), "full")]


def case_id(case):
    return case.name + "-" + "x".join(map(str, next(reversed(case.arrays.values())).shape))


def assert_rows(rows, tolerance):
    wrong = {row.name: row.error for row in rows if not row.error < tolerance}
    assert not wrong, wrong


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_central_differences_of_the_engine(case):
    _, gradients = case.engine(case.arrays)
    oracle = gradcheck.central_difference(lambda arrays: case.engine(arrays)[0], case.arrays)
    assert_rows(gradcheck.compare(gradients, oracle), 1e-8)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_complex_step_on_the_reference(case):
    _, gradients = case.engine(case.arrays)
    assert_rows(gradcheck.compare(gradients, gradcheck.complex_step(case.reference, case.arrays)), 1e-13)


@pytest.mark.parametrize("case", FULL, ids=case_id)
@pytest.mark.parametrize(("method", "tolerance"), [("central", 1e-8), ("complex", 1e-13)])
def test_directional_derivatives_at_full_size(case, method, tolerance):
    _, gradients = case.engine(case.arrays)
    rng = np.random.default_rng(0)
    assert_rows(gradcheck.compare_along(case.reference, case.arrays, gradients, rng, method), tolerance)


# The article's equations, written a second time, for the automatic differentiator.


def article_gru(x, c, p):
    """Take x batch first, as in the article; weights apart for memory and input, as in its GRUCell."""
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
        logits = anp.dot(ARTICLE[cell](x, anp.zeros((B, H)), inner)[-1], inner["W"]) + inner["b"]
        return anp.mean(anp.log(anp.sum(anp.exp(logits), axis=1)) - logits[anp.arange(B), y])

    loss, gradients = autograd.value_and_grad(article_loss)({k: v.copy() for k, v in model.params.items()})
    assert float(model.loss(x, y)) == pytest.approx(loss, rel=1e-12)
    model.backward()
    for name, expected in gradients.items():
        assert relative(model.grads[name], expected) < 1e-12, name


@pytest.mark.parametrize("cell", ARTICLE)
def test_every_gradient_of_a_layer_by_automatic_differentiation(cell):
    T, B, D, H = 6, 3, 4, 5
    case = cases.recurrent(cell, T, B, D, H, seed=4)
    rng = np.random.default_rng(4)
    cases.LAYERS[cell](D, H, "numpy", "float64", rng)  # draws what the case drew before its weights of the outputs
    rng.standard_normal((T, B, D)), rng.standard_normal((B, H))
    dlast, dstates = rng.standard_normal((B, H)), rng.standard_normal((T, B, H))

    def article_loss(a):
        states = ARTICLE[cell](anp.transpose(a["x"], (1, 0, 2)), a["c_0"], a)
        return sum(anp.sum(state * d) for state, d in zip(states, dstates, strict=True)) + anp.sum(states[-1] * dlast)

    loss, gradients = autograd.value_and_grad(article_loss)(case.arrays)
    by_hand_loss, by_hand = case.engine(case.arrays)
    assert by_hand_loss == pytest.approx(loss, rel=1e-12)
    assert_rows(gradcheck.compare(by_hand, gradients), 1e-12)


def test_script_passes_and_prints_every_parameter():
    result = run_script("check_gradients.py", "--cell", "gru", "--size", "small")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("W_u", "b_u", "W_r", "b_r", "W_c", "b_c", "x", "c_0", "logits", "gru.W_u", "linear.b"):
        assert f"\n  {name} " in result.stdout
    assert "All gradients agree." in result.stdout


def test_script_in_float32_and_at_full_size():
    result = run_script("check_gradients.py", "--cell", "rnn", "--size", "full", "--dtype", "float32")
    assert result.returncode == 0, result.stdout + result.stderr


def test_script_names_a_wrong_gradient_and_exits_1(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "from minigru.kernels import numpy_kernels as k\n"
        "right = k.gru_reset_backward\n"
        "def wrong(dc_prev, dz_r, *rest):\n"
        "    right(dc_prev, dz_r, *rest)\n"
        "    dz_r *= 1.001\n"
        "k.gru_reset_backward = wrong\n"
    )
    result = run_script("check_gradients.py", "--cell", "gru", PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    failed = {line.split()[0] for line in result.stdout.splitlines() if "FAILED" in line}
    assert {"W_r", "b_r", "gru.W_r", "gru.b_r"} <= failed
    assert not failed & {"W", "b", "logits", "linear.W", "linear.b"}  # what lies above the reset gate
