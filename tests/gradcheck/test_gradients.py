"""Every gradient by hand, held to four oracles that share nothing with its derivation."""

from __future__ import annotations

import dataclasses

import autograd
import autograd.numpy as anp
import check_gradients
import numpy as np
import pytest
from helpers import BACKWARD, CELLS, FORWARD, ROOT, relative, run_script

from minigru import SequenceClassifier, gradcheck, reference
from minigru.gradcheck import cases

EDGES = [(1, 1, 1, 1), (1, 2, 3, 4), (2, 1, 3, 4), (2, 2, 1, 1), (6, 3, 4, 5)]
SMALL = {f"{cell}-T{T}-B{B}-D{D}-H{H}": (cases.recurrent, cell, T, B, D, H) for cell in CELLS for T, B, D, H in EDGES}
SMALL |= {f"linear-{B}-{D}-{K}": (cases.linear, B, D, K) for B, D, K in [(1, 1, 1), (1, 3, 2), (3, 4, 5)]}
SMALL |= {f"loss-{B}-{K}": (cases.loss, B, K) for B, K in [(1, 2), (3, 4)]}
SMALL |= {f"{cell}-model-{steps}": (cases.model, cell, 4, 3, 2, 5, 3, steps) for cell in CELLS for steps in (0, 20)}
FULL = {cell: (cases.recurrent, cell, 28, 8, 28, 128) for cell in CELLS}
FULL |= {"linear": (cases.linear, 8, 128, 10), "loss": (cases.loss, 8, 10)}
FULL |= {f"{cell}-model-{steps}": (cases.model, cell, 28, 8, 28, 128, 10, steps) for cell in CELLS for steps in (0, 20)}


def make(recipe):
    function, *sizes = recipe
    return function(*sizes)


def assert_rows(rows, tolerance):
    wrong = {row.name: row.error for row in rows if not row.error < tolerance}
    assert not wrong, wrong


@pytest.mark.parametrize("name", SMALL)
def test_central_differences_of_the_engine(name):
    case = make(SMALL[name])
    _, gradients = case.engine(case.arrays)
    oracle = gradcheck.central_difference(lambda arrays: case.engine(arrays)[0], case.arrays)
    assert_rows(gradcheck.compare(gradients, oracle), 1e-8)


@pytest.mark.parametrize("name", SMALL)
def test_complex_step_on_the_reference(name):
    case = make(SMALL[name])
    _, gradients = case.engine(case.arrays)
    assert_rows(gradcheck.compare(gradients, gradcheck.complex_step(case.reference, case.arrays)), 1e-14)


@pytest.mark.parametrize(("T", "B", "D", "H"), EDGES)
@pytest.mark.parametrize("cell", CELLS)
def test_complex_step_on_the_backward_pass_of_the_reference_itself(cell, T, B, D, H):
    case = cases.recurrent(cell, T, B, D, H, seed=1)
    dstates = case.outputs["dstates"].copy()
    dstates[-1] += case.outputs["dlast"]
    _, caches = FORWARD[cell](case.arrays["x"], case.arrays["c_0"], case.arrays)
    dx, dc_0, gradients = BACKWARD[cell](dstates, caches)
    oracle = gradcheck.complex_step(case.reference, case.arrays)
    assert_rows(gradcheck.compare({**gradients, "x": dx, "c_0": dc_0}, oracle), 1e-14)


@pytest.mark.parametrize("B", [1, 3])
def test_complex_step_on_linear_and_loss_of_the_reference_itself(B):
    case = cases.linear(B, 4, 5)
    dx, gradients = reference.linear_backward(case.outputs["dy"], reference.linear(case.arrays["x"], case.arrays)[1])
    oracle = gradcheck.complex_step(case.reference, case.arrays)
    assert_rows(gradcheck.compare({**gradients, "x": dx}, oracle), 1e-14)
    case = cases.loss(B, 4)
    _, cache = reference.softmax_cross_entropy(case.arrays["logits"], case.outputs["labels"])
    dlogits = reference.softmax_cross_entropy_backward(cache)
    oracle = gradcheck.complex_step(case.reference, case.arrays)
    assert_rows(gradcheck.compare({"logits": dlogits}, oracle), 1e-14)


@pytest.mark.parametrize("name", SMALL)
def test_no_number_of_a_case_is_zero_where_it_would_hide_a_mistake(name):
    case = make(SMALL[name])
    assert all((array != 0).all() for array in case.arrays.values())


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize(("method", "tolerance"), [("central", 1e-8), ("complex", 1e-14)])
def test_directional_derivatives_at_full_size(name, method, tolerance):
    case = make(FULL[name])
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
def test_every_gradient_of_a_recurrent_layer_by_automatic_differentiation(cell):
    case = cases.recurrent(cell, 6, 3, 4, 5, seed=4)
    dlast, dstates = case.outputs["dlast"], case.outputs["dstates"]

    def article_loss(a):
        states = ARTICLE[cell](anp.transpose(a["x"], (1, 0, 2)), a["c_0"], a)
        return sum(anp.sum(state * d) for state, d in zip(states, dstates, strict=True)) + anp.sum(states[-1] * dlast)

    assert_automatic(case, article_loss)


def test_every_gradient_of_linear_and_loss_by_automatic_differentiation():
    case = cases.linear(3, 4, 5)
    assert_automatic(case, lambda a: anp.sum((anp.dot(a["x"], a["W"]) + a["b"]) * case.outputs["dy"]))
    case = cases.loss(3, 4)
    hot = np.eye(4)[case.outputs["labels"]]
    assert_automatic(
        case, lambda a: anp.mean(anp.log(anp.sum(anp.exp(a["logits"]), axis=1)) - anp.sum(a["logits"] * hot, axis=1))
    )


def assert_automatic(case, loss):
    value, gradients = autograd.value_and_grad(loss)(case.arrays)
    by_hand_value, by_hand = case.engine(case.arrays)
    assert by_hand_value == pytest.approx(value, rel=1e-12)
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


def plant(folder, factor):
    """Make every script that is run with this folder on its path multiply dz_r by a factor."""
    (folder / "sitecustomize.py").write_text(
        "from minigru.engine.kernels import numpy_kernels as k\n"
        "right = k.gru_reset_backward\n"
        "def wrong(dc_prev, dz_r, *rest):\n"
        "    right(dc_prev, dz_r, *rest)\n"
        f"    dz_r *= {factor}\n"
        "k.gru_reset_backward = wrong\n"
    )


def test_script_names_a_wrong_gradient_and_exits_1(tmp_path):
    plant(tmp_path, 1.001)
    result = run_script("check_gradients.py", "--cell", "gru", PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    failed = {line.split()[0] for line in result.stdout.splitlines() if "FAILED" in line}
    assert {"W_r", "b_r", "gru.W_r", "gru.b_r"} <= failed
    assert not failed & {"W", "b", "logits", "linear.W", "linear.b"}  # what lies above the reset gate


@pytest.mark.parametrize("dtype", check_gradients.TOLERANCES)
@pytest.mark.parametrize("method", check_gradients.METHODS)
def test_the_table_fails_just_above_its_tolerance_by_either_method(method, dtype, capsys):
    tolerances = check_gradients.TOLERANCES[dtype]
    row = gradcheck.compare({"W": np.ones(2)}, {"W": np.ones(2)})[0]
    rows = {name: [dataclasses.replace(row, error=tolerances[name])] for name in check_gradients.METHODS}
    assert check_gradients.print_table("title", rows, tolerances)
    rows[method] = [dataclasses.replace(row, error=tolerances[method] * 1.01)]
    assert not check_gradients.print_table("title", rows, tolerances)
    assert f"FAILED by {method}\n" in capsys.readouterr().out


def test_the_tolerances_are_those_that_are_promised():
    assert check_gradients.TOLERANCES == {
        "float64": {"central": 1e-8, "complex": 1e-13},
        "float32": {"central": 1e-5, "complex": 1e-5},
    }


@pytest.mark.parametrize("options", [("--size", "full"), ("--size", "small", "--dtype", "float32")], ids=" ".join)
def test_script_is_red_at_full_size_and_in_float32_too(options, tmp_path):
    plant(tmp_path, 1.001)
    result = run_script("check_gradients.py", "--cell", "gru", *options, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert "A gradient is wrong" in result.stdout


def test_the_table_in_the_documents_has_every_row_and_holds_what_it_says():
    page = (ROOT / "docs" / "gradient-checking.md").read_text("utf-8")
    shown = page.split("Gradients by hand against oracles")[1].split("All gradients agree.")[0]
    printed = run_script("check_gradients.py").stdout
    names = [line.split()[0] for line in printed.splitlines() if line.startswith("  ") and line.strip()]
    rows = [line.split() for line in shown.splitlines() if line.startswith("  ") and line.strip()]
    assert [row[0] for row in rows] == names
    assert all(float(row[1]) < 1e-8 and float(row[2]) < 1e-14 for row in rows if row[0] not in ("error", "central"))
