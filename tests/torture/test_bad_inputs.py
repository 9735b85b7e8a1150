"""100,000 generated bad inputs: every public call either works or raises what its docstring says, on one line.

Each round takes a call that works, puts one or two values in the place of its arguments, and calls. Any warning is an
error, a message is one short line, and what comes back is finite.
"""

from __future__ import annotations

import datetime
import decimal
import fractions

import numpy as np
import pytest

import minigru
from minigru import gradcheck
from minigru.experiments import images, tasks, trace
from minigru.gradcheck import cases
from minigru.training import data
from minigru.training.config import Config

ROUNDS = 9_000
EXPECTED = (ValueError, minigru.BackendUnavailable, images.ImageError, data.DataUnavailable, KeyError)
T, B, D, H, K = 3, 2, 4, 5, 3
MODEL = minigru.SequenceClassifier(D, H, K, dtype="float64")


class Raising:
    """An object that answers every question with an error over several lines."""

    def _raise(self, *args, **kwargs):
        raise RuntimeError("not\ntoday")

    __repr__ = __array__ = __index__ = __float__ = __len__ = __iter__ = __eq__ = __lt__ = _raise
    __hash__ = None


def values(rng):
    """Return one value that hardly any argument expects."""
    shape = tuple(rng.integers(0, 6, rng.integers(0, 5)))
    numbers = rng.standard_normal(shape)
    return [
        lambda: None,
        lambda: rng.choice([True, False]),
        lambda: rng.choice([0, -1, 1, 2, 7, 2**31, -(2**63)]).item(),
        lambda: 10 ** int(rng.integers(1, 400)),
        lambda: rng.choice([0.0, -0.0, 1.5, -2.5, 1e-320, 1e308, np.nan, np.inf, -np.inf]).item(),
        lambda: complex(1, 2),
        lambda: rng.choice(["", "gru", "numpy", "float32", "mnist", "no\nsuch", "é" * 200, "\ud800", "0"]),
        lambda: rng.choice([b"", b"gru", b"\xff"]),
        lambda: [[1, 2], [3]],
        lambda: [],
        lambda: {},
        lambda: {"a": 1},
        lambda: {1, 2},
        lambda: range(int(rng.integers(5))),
        lambda: slice(3),
        lambda: len,
        lambda: object(),
        lambda: Raising(),
        lambda: Raising,
        lambda: datetime.date(2026, 1, 1),
        lambda: decimal.Decimal("0.1"),
        lambda: fractions.Fraction(1, 3),
        lambda: np.timedelta64(3, "s"),
        lambda: np.float16(0.5),
        lambda: np.array(rng.integers(3)),
        lambda: numbers,
        lambda: numbers.astype(rng.choice(["float16", "float32", "int8", "uint64", "bool", "complex64", ">f8"])),
        lambda: numbers.astype(object),
        lambda: np.full(shape, rng.choice([np.nan, np.inf, 1e300])),
        lambda: np.full(shape, "text"),
        lambda: numbers.astype("m8[s]"),
        lambda: np.ma.masked_array(numbers, rng.random(shape) < 0.5),
        lambda: np.ma.masked_array(np.full(shape, np.nan), False),
        lambda: np.zeros(shape, [("a", "f4"), ("b", "i4")]),
        lambda: memoryview(b"abcd"),
        lambda: rng,
        lambda: MODEL,
    ][rng.integers(37)]()


def layer(kind, *sizes, run=None):
    made = kind(*sizes)
    if run is not None:
        made.forward(*run)
    return made


X, BATCH = np.ones((T, B, D)), np.ones((B, T, D))
CALLS = {
    "GRU": (lambda **k: minigru.GRU(**k), dict(input_size=D, hidden_size=H, backend="numpy", dtype="float32", rng=0)),
    "RNN": (lambda **k: minigru.RNN(**k), dict(input_size=D, hidden_size=H, backend="numpy", dtype="float32", rng=0)),
    "Linear": (lambda **k: minigru.Linear(**k), dict(in_features=D, out_features=K, backend="numpy", dtype="float64", rng=0)),
    "Loss": (lambda **k: minigru.SoftmaxCrossEntropy(**k), dict(backend="numpy", dtype="float32")),
    "Model": (
        lambda **k: minigru.SequenceClassifier(**k),
        dict(input_size=D, hidden_size=H, num_classes=K, cell="gru", backend="numpy", dtype="float32", rng=0),
    ),
    "GRU.forward": (lambda **k: layer(minigru.GRU, D, H).forward(**k), dict(x=X, c_0=np.ones((B, H)))),
    "RNN.forward": (lambda **k: layer(minigru.RNN, D, H).forward(**k), dict(x=X, c_0=np.ones((B, H)))),
    "GRU.backward": (
        lambda **k: layer(minigru.GRU, D, H, run=[X]).backward(**k),
        dict(dlast=np.ones((B, H)), dstates=np.ones((T, B, H))),
    ),
    "Linear.forward": (lambda **k: layer(minigru.Linear, D, K).forward(**k), dict(x=X[0])),
    "Linear.backward": (lambda **k: layer(minigru.Linear, D, K, run=[X[0]]).backward(**k), dict(dy=np.ones((B, K)))),
    "Loss.forward": (lambda **k: minigru.SoftmaxCrossEntropy().forward(**k), dict(logits=np.ones((B, K)), labels=[0, 2])),
    "Model.loss": (lambda **k: MODEL.loss(**k), dict(x=BATCH, y=[0, 2])),
    "Model.predict_proba": (lambda **k: MODEL.predict_proba(**k), dict(x=BATCH, batch_size=2)),
    "Model.predict": (lambda **k: MODEL.predict(**k), dict(x=BATCH, batch_size=2)),
    "params": (lambda name, value: layer(minigru.Linear, D, K).params.__setitem__(name, value), dict(name="b", value=[1, 2, 3])),
    "Adam": (lambda **k: minigru.Adam(**k), dict(owner=MODEL, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8)),
    "clip": (lambda **k: minigru.clip_by_global_norm(**k), dict(owner=MODEL, max_norm=1.0)),
    "cosine": (lambda **k: minigru.cosine(**k), dict(lr=0.1, step=1, steps=3)),
    "constant": (lambda **k: minigru.constant(**k), dict(lr=0.1, step=1, steps=3)),
    "get_backend": (lambda **k: minigru.get_backend(**k), dict(backend="numpy")),
    "Config": (lambda **k: Config(**k), {name: getattr(Config(), name) for name in Config.__dataclass_fields__}),
    "data.load": (lambda **k: data.load(data_home="/dev/null/none", **k), dict(name="digits", dtype="float32")),
    "central_difference": (
        lambda arrays, h: gradcheck.central_difference(lambda a: sum(v.sum() for v in a.values()), arrays, h),
        dict(arrays={"a": np.ones(2)}, h=1e-5),
    ),
    "compare": (lambda **k: gradcheck.compare(**k), dict(gradients={"a": np.ones(2)}, expected={"a": np.ones(2)})),
    "cases.recurrent": (lambda **k: cases.recurrent(**k), dict(cell="gru", T=1, B=1, D=1, H=1, dtype="float64", seed=0)),
    "recall": (lambda **k: tasks.recall(np.random.default_rng(0), **k), dict(n=2, T=3, K=4)),
    "sentences": (lambda **k: tasks.sentences(np.random.default_rng(0), **k), dict(n=2, distance=3)),
    "sentence": (lambda **k: tasks.sentence(**k), dict(text="the cat")),
    "trace.gates": (lambda **k: trace.gates(MODEL, **k), dict(x=BATCH)),
    "gradient_norms": (lambda **k: trace.gradient_norms(MODEL, **k), dict(x=BATCH, y=np.array([0, 2]))),
    "as_digit": (lambda **k: images.as_digit(**k), dict(brightness=np.eye(9), side=28)),
}  # fmt: skip
TOO_LARGE = ("size", "hidden", "classes", "features", "n", "T", "K", "D", "H", "B", "distance", "side", "step", "steps")


def too_large(name, value):
    """A huge size is not a bad one; it only takes all the RAM that there is."""
    return name.endswith(TOO_LARGE) and isinstance(value, int) and not -1e6 < value < 1e3


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_generated_bad_inputs(name):
    call, good = CALLS[name]
    call(**good)
    rng = np.random.default_rng(sum(map(ord, name)))
    for _ in range(ROUNDS // len(CALLS)):
        changed = {argument: values(rng) for argument in rng.choice(list(good), rng.integers(1, 3))}
        if any(too_large(argument, value) for argument, value in changed.items()):
            continue
        try:
            found = call(**{**good, **changed})
        except EXPECTED as error:
            assert str(error), changed
            assert "\n" not in str(error), changed
            assert len(str(error)) < 400, changed
        else:
            for array in found if isinstance(found, tuple) else (found,):
                if isinstance(array, (np.ndarray, float)) and np.asarray(array).dtype.kind == "f":
                    assert np.isfinite(array).all(), changed
