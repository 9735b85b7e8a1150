"""Bad input of every public call: the error names the argument, what came and what was expected; nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

import minigru
from minigru.gradcheck import cases

T, B, D, H, K = 3, 2, 4, 5, 3
X = np.ones((T, B, D))
NAN, INF = np.full((T, B, D), np.nan), np.full((T, B, D), np.inf)


class Raising:
    """An object whose every question ends in an error, over several lines."""

    def __repr__(self):
        raise AttributeError("no\nname")

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no array\ntoday")

    def __index__(self):
        raise KeyError("index")

    @property
    def dtype(self):
        raise KeyError("dtype")


def gru(dtype="float32"):
    layer = minigru.GRU(D, H, dtype=dtype)
    layer.forward(X)
    return layer


def linear():
    layer = minigru.Linear(D, K)
    layer.forward(np.ones((B, D)))
    return layer


def model():
    return minigru.SequenceClassifier(D, H, K)


LOSS = minigru.SoftmaxCrossEntropy
XB = np.ones((B, T, D))

BAD = {
    "size 0": (lambda: minigru.GRU(0, H), "input_size is 0; expected a whole number, at least 1"),
    "size -1": (lambda: minigru.RNN(D, -1), "hidden_size is -1"),
    "size 1.5": (lambda: minigru.GRU(1.5, H), "input_size is 1.5"),
    "size True": (lambda: minigru.Linear(True, K), "in_features is True"),
    "size text": (lambda: minigru.Linear(D, "3"), "out_features is '3'"),
    "classes": (lambda: minigru.SequenceClassifier(D, H, 0), "num_classes is 0"),
    "dtype": (lambda: minigru.GRU(D, H, dtype="float16"), "dtype is 'float16'; expected 'float32' or 'float64'"),
    "dtype int": (lambda: minigru.SoftmaxCrossEntropy(dtype=int), "expected 'float32' or 'float64'"),
    "dtype None": (lambda: minigru.GRU(D, H, dtype=None), "dtype is None; expected 'float32' or 'float64'"),
    "rng text": (lambda: minigru.GRU(D, H, rng="x"), "rng is 'x'; expected a seed"),
    "rng negative": (lambda: minigru.Linear(D, K, rng=-1), "rng is -1; expected a seed"),
    "rng float": (lambda: minigru.SequenceClassifier(D, H, K, rng=1.5), "rng is 1.5; expected a seed"),
    "backend array": (lambda: minigru.get_backend(np.ones(2)), "expected one of 'numpy', 'cupy'"),
    "case cell": (lambda: cases.recurrent("none", 1, 1, 1, 1), "cell is 'none'; expected one of 'gru', 'rnn'"),
    "case size": (lambda: cases.all_cases(("gru",), "tiny"), "size is 'tiny'; expected one of 'small', 'full'"),
    "case steps": (lambda: cases.model("gru", 1, 1, 1, 1, 2, -1), "steps is -1"),
    "dtype none": (lambda: minigru.GRU(D, H, dtype="flaot"), "dtype is 'flaot'"),
    "backend": (lambda: minigru.GRU(D, H, backend="torch"), "backend is 'torch'; expected one of 'numpy', 'cupy'"),
    "backend type": (lambda: minigru.get_backend(None), "backend is None"),
    "cell": (lambda: minigru.SequenceClassifier(D, H, K, cell="none"), "cell is 'none'; expected one of 'gru', 'rnn'"),
    "x 2-d": (lambda: gru().forward(X[0]), r"x has shape \(2, 4\); expected \(T, B, 4\)"),
    "x wide": (lambda: gru().forward(np.ones((T, B, D + 1))), r"x has shape \(3, 2, 5\); expected \(T, B, 4\)"),
    "x empty": (lambda: gru().forward(np.ones((0, B, D))), r"x has shape \(0, 2, 4\)"),
    "x no batch": (lambda: gru().forward(np.ones((T, 0, D))), r"x has shape \(3, 0, 4\)"),
    "x scalar": (lambda: gru().forward(1.0), r"x has shape \(\); expected \(T, B, 4\)"),
    "x None": (lambda: gru().forward(None), "x has dtype object; expected real numbers"),
    "x text": (lambda: gru().forward([["a"]]), "x has dtype <U1; expected real numbers"),
    "x masked": (lambda: gru().forward(np.ma.masked_array(X, np.eye(T)[:, :B, None] * X)), "x is a masked array"),
    "x masked NaN": (lambda: gru().forward(np.ma.masked_invalid(NAN)), "x is a masked array"),
    "x hidden NaN": (lambda: gru().forward(np.ma.masked_array(NAN, False)), "x holds NaN"),
    "x object": (lambda: gru().forward(X.astype(object)), "x has dtype object"),
    "x times": (lambda: gru().forward(X.astype("m8[s]")), r"x has dtype timedelta64\[s\]"),
    "x raising": (lambda: gru().forward(Raising()), "x is a Raising and not an array .*no array today"),
    "size raising": (lambda: minigru.GRU(Raising(), H), "input_size is a Raising"),
    "size array": (lambda: minigru.GRU(np.ones((3, 3)), H), "input_size is array"),
    "dtype raising": (lambda: minigru.GRU(D, H, dtype=Raising()), "dtype is a Raising"),
    "backend long": (lambda: minigru.GRU(D, H, backend="x" * 999), "backend is 'x{76}[.]{3}; expected"),
    "lr huge": (lambda: minigru.Adam(linear(), lr=10**400), "lr is 1000"),
    "lr time": (lambda: minigru.Adam(linear(), lr=np.timedelta64(1, "s")), "lr is np.timedelta64"),
    "labels times": (lambda: LOSS().forward(np.ones((B, K)), np.array([0, 1], "m8[s]")), "labels has dtype timede"),
    "x ragged": (lambda: gru().forward([[1, 2], [3]]), "x is a list and not an array"),
    "x complex": (lambda: gru().forward(X + 1j), "x has dtype complex128; expected real numbers"),
    "x NaN": (lambda: gru().forward(NAN), "x holds NaN, infinity or a number too large for float32"),
    "x inf": (lambda: gru("float64").forward(INF), "x holds NaN, infinity or a number too large for float64"),
    "x too large": (lambda: gru().forward(X * 1e300), "a number too large for float32"),
    "c_0": (lambda: gru().forward(X, np.ones((B + 1, H))), r"c_0 has shape \(3, 5\); expected \(2, 5\)"),
    "c_0 NaN": (lambda: gru().forward(X, np.full((B, H), np.nan)), "c_0 holds NaN"),
    "no gradient": (lambda: gru().backward(), "^dlast and dstates are both None; expected one of them, or both$"),
    "c_0 too large": (lambda: gru().forward(X, np.full((B, H), 1e300)), "c_0 .* a number too large for float32"),
    "dlast too large": (lambda: gru().backward(np.full((B, H), 1e300)), "dlast .* a number too large for float32"),
    "dstates too large": (lambda: gru().backward(None, np.full((T, B, H), 1e300)), "dstates .* too large for float32"),
    "dlast": (lambda: gru().backward(np.ones((B, D))), r"dlast has shape \(2, 4\); expected \(2, 5\)"),
    "dstates": (lambda: gru().backward(None, np.ones((B, H))), r"dstates has shape \(2, 5\); expected \(3, 2, 5\)"),
    "dstates NaN": (lambda: gru().backward(None, np.full((T, B, H), np.nan)), "dstates holds NaN"),
    "linear x": (lambda: linear().forward(X), r"x has shape \(3, 2, 4\); expected \(B, 4\)"),
    "linear dy": (lambda: linear().backward(np.ones((B, D))), r"dy has shape \(2, 4\); expected \(2, 3\)"),
    "linear x too large": (lambda: linear().forward(np.full((B, D), 1e300)), "a number too large for float32"),
    "linear dy too large": (lambda: linear().backward(np.full((B, K), 1e300)), "a number too large for float32"),
    "logits too large": (lambda: LOSS().forward([[1e300, 0]], [0]), "a number too large for float32"),
    "logits": (lambda: LOSS().forward(np.ones(K), [0]), r"logits has shape \(3,\); expected \(B, K\)"),
    "logits NaN": (lambda: LOSS().forward([[np.nan]], [0]), "logits holds NaN"),
    "labels shape": (lambda: LOSS().forward(np.ones((B, K)), [0]), r"labels has shape \(1,\); expected \(2,\)"),
    "labels high": (lambda: LOSS().forward(np.ones((B, K)), [0, 3]), "labels runs from 0 to 3; expected integers"),
    "labels low": (lambda: LOSS().forward(np.ones((B, K)), [-1, 0]), "labels runs from -1 to 0"),
    "labels floats": (lambda: LOSS().forward(np.ones((B, K)), [0.0, 1.0]), "labels has dtype float64"),
    "labels bool": (lambda: LOSS().forward(np.ones((B, K)), [True, False]), "labels has dtype bool"),
    "model x": (lambda: model().loss(X[0], [0, 0]), r"x has shape \(2, 4\); expected \(B, T, 4\)"),
    "model x too large": (lambda: model().loss(XB * 1e300, [0, 0]), "a number too large for float32"),
    "model y": (lambda: model().loss(XB, [0, 1, 2]), r"y has shape \(3,\); expected \(2,\)"),
    "model y high": (lambda: model().loss(XB, [0, K]), "y runs from 0 to 3; expected integers from 0 to 2"),
    "lengths 0": (lambda: gru().forward(X, lengths=[0, 3]), "lengths runs from 0 to 3; expected integers from 1 to 3"),
    "lengths beyond T": (lambda: model().loss(XB, [0, 0], [1, 4]), "lengths runs from 1 to 4; expected .* 1 to 3"),
    "lengths floats": (lambda: model().predict(XB, lengths=[1.0, 2.0]), "lengths has dtype float64"),
    "lengths shape": (lambda: model().logits(XB, lengths=[1]), r"lengths has shape \(1,\); expected \(2,\)"),
    "lengths NaN inside": (lambda: gru().forward(NAN, lengths=[T, T]), "x holds NaN"),
    "lengths RNN": (lambda: minigru.RNN(D, H).forward(X, lengths=[1, 2]), "lengths is given to an RNN"),
    "weights": (lambda: model().loss(XB, [0, 0], weights=[1, -1]), "weights holds -1; expected numbers from 0 up"),
    "weights too large": (lambda: LOSS().forward(np.ones((B, K)), [0, 1], [1, 1e300]), "too large for float32"),
    "weights NaN": (lambda: LOSS().forward(np.ones((B, K)), [0, 1], [1, np.nan]), "weights holds NaN"),
    "predict": (lambda: model().predict(np.ones((B, T))), "x has shape"),
    "predict batch": (lambda: model().predict(XB, batch_size=0), "batch_size is 0"),
    "predict empty": (lambda: model().predict_proba(np.ones((0, T, D))), r"x has shape \(0, 3, 4\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: minigru.GRU(D, H).backward(np.ones((B, H))),
        lambda: minigru.Linear(D, K).backward(np.ones((B, K))),
        lambda: minigru.SoftmaxCrossEntropy().backward(),
        lambda: model().backward(),
    ],
    ids=["gru", "linear", "loss", "model"],
)
def test_backward_before_forward(call):
    with pytest.raises(RuntimeError, match=r"^backward was called .*; call \w+\(.*\) first$"):
        call()


def test_backward_after_a_prediction_is_refused():
    classifier = model()
    classifier.loss(XB, [0, 1])
    classifier.predict(XB)
    with pytest.raises(ValueError, match="y runs"):
        classifier.loss(XB, [0, K])
    with pytest.raises(RuntimeError, match="without a loss just before it"):
        classifier.backward()


class Full(minigru.Backend):
    """A backend that has no room for long sequences."""

    def empty(self, shape, dtype):
        if len(shape) == 3 and shape[0] > T + 1:
            raise MemoryError
        return super().empty(shape, dtype)


def test_a_forward_without_room_leaves_the_one_before():
    layer = minigru.GRU(1, 1, Full(**vars(minigru.get_backend("numpy"))))
    layer.forward(np.ones((T, B, 1)))
    dx, _ = layer.backward(np.ones((B, 1)))
    with pytest.raises(MemoryError):
        layer.forward(np.ones((T + 2, B, 1)))
    assert np.array_equal(layer.backward(np.ones((B, 1)))[0], dx)


def test_probabilities_of_huge_logits():
    classifier = model()
    assert classifier.logits(XB).dtype == "float32"
    classifier.params["linear.W"][...] = 0
    classifier.params["linear.b"] = [1e4, -1e4, 1e4]
    assert np.allclose(classifier.predict_proba(XB), [0.5, 0, 0.5])
    classifier.logits = lambda x, *_: np.array([[1e4, 0, 1e4], [0, -1e4, 0]])
    assert np.allclose(classifier.predict_proba(XB), [0.5, 0, 0.5])


NAN_BH, NAN_BK = np.full((B, H), np.nan), np.full((B, K), np.nan)
RECURRENT = {
    "x": lambda layer: layer.forward(NAN),
    "x longer": lambda layer: layer.forward(np.full((T + 1, B, D), np.inf)),
    "c_0": lambda layer: layer.forward(2 * X, NAN_BH),
    "dlast": lambda layer: layer.backward(NAN_BH),
    "dstates": lambda layer: layer.backward(np.ones((B, H)), X),
    "neither": lambda layer: layer.backward(),
}
LINEAR = {"x": lambda layer: layer.forward(X), "dy": lambda layer: layer.backward(NAN_BK)}
MODEL = {
    "x": lambda classifier: classifier.loss(np.full((B, T, D), np.nan), [0, 1]),
    "y": lambda classifier: classifier.loss(2 * XB, [0, K]),
    "predict": lambda classifier: classifier.predict(np.full((B, T, D), np.nan)),
    "predict batch": lambda classifier: classifier.predict(2 * XB, batch_size=0),
}
CRITERION = {
    "logits": lambda loss: loss.forward(NAN_BK, [0, 1]),
    "labels": lambda loss: loss.forward(np.eye(B, K), [0, K]),
}
KINDS = {  # how to make it, to run it forward and to run it back, and the calls that it refuses
    "gru": (lambda: minigru.GRU(D, H), lambda it: it.forward(X), lambda it: it.backward(np.eye(B, H)), RECURRENT),
    "rnn": (lambda: minigru.RNN(D, H), lambda it: it.forward(X), lambda it: it.backward(np.eye(B, H)), RECURRENT),
    "linear": (
        lambda: minigru.Linear(D, K),
        lambda it: it.forward(X[0]),
        lambda it: [it.backward(np.eye(B, K))],
        LINEAR,
    ),
    "loss": (LOSS, lambda it: it.forward(np.eye(B, K), [0, 2]), lambda it: [it.backward()], CRITERION),
    "model": (model, lambda it: it.loss(XB, [0, 1]), lambda it: it.backward() or [], MODEL),
}


@pytest.mark.parametrize(("kind", "refused"), [(kind, call) for kind in KINDS for call in KINDS[kind][3]])
def test_a_refused_call_changes_nothing(kind, refused):
    make, forward, backward, calls = KINDS[kind]
    thing = make()
    forward(thing)
    gradients = [np.array(array) for array in backward(thing)]
    before = np.array(getattr(thing, "gradient", 0))
    with pytest.raises(ValueError, match="expected"):
        calls[refused](thing)
    assert np.array_equal(getattr(thing, "gradient", 0), before)
    assert all(np.array_equal(*pair) for pair in zip(backward(thing), gradients, strict=True))
    assert np.array_equal(getattr(thing, "gradient", 0), before)


def test_finite_numbers_whose_sum_overflows_are_let_through():
    layer = gru()
    layer.vector[...] = 0
    x = np.full((T, B, D), 3e38, dtype="float32")
    assert np.isfinite(layer.forward(x)).all()
