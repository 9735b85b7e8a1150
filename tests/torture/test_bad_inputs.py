"""100,000 generated bad inputs: every public call either works or raises what its docstring says, on one line.

Each round takes a call that works, puts one or two values in the place of its arguments, and calls. Any warning is an
error, a message is one short line, and what comes back is finite. Functions and objects of minigru among the arguments
are given as they should be. `minigru.reference` is left out: its functions do not validate their input.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import operator

import numpy as np
import pytest

import minigru
from minigru import gradcheck
from minigru.experiments import images, tasks, trace
from minigru.gradcheck import cases
from minigru.training import checkpoint, data
from minigru.training.config import Config

ROUNDS = 100_000
EXPECTED = (
    ValueError,
    KeyError,
    minigru.BackendUnavailable,
    checkpoint.CheckpointError,
    data.DataUnavailable,
    images.ImageError,
    images.ImageWarning,  # an error here, as every warning
)
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


def total(arrays):
    """Return a function of arrays that stays finite far from the point."""
    with np.errstate(all="ignore"):
        return sum((array / (1 + 1e-3 * array * array)).sum() for array in arrays.values())


X, BATCH = np.ones((T, B, D)), np.ones((B, T, D))
CALLS = {
    "GRU": (lambda **k: minigru.GRU(**k), dict(input_size=D, hidden_size=H, backend="numpy", dtype="float32", rng=0)),
    "RNN": (lambda **k: minigru.RNN(**k), dict(input_size=D, hidden_size=H, backend="numpy", dtype="float32", rng=0)),
    "Linear": (
        lambda **k: minigru.Linear(**k),
        dict(in_features=D, out_features=K, backend="numpy", dtype="float64", rng=0),
    ),
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
    "Loss.forward": (
        lambda **k: minigru.SoftmaxCrossEntropy().forward(**k),
        dict(logits=np.ones((B, K)), labels=[0, 2]),
    ),
    "Model.loss": (lambda **k: MODEL.loss(**k), dict(x=BATCH, y=[0, 2])),
    "Model.predict_proba": (lambda **k: MODEL.predict_proba(**k), dict(x=BATCH, batch_size=2)),
    "Model.predict": (lambda **k: MODEL.predict(**k), dict(x=BATCH, batch_size=2)),
    "params": (
        lambda name, value: layer(minigru.Linear, D, K).params.__setitem__(name, value),
        dict(name="b", value=[1, 2, 3]),
    ),
    "params.update": (
        lambda **k: layer(minigru.Linear, D, K).params.update(k),
        dict(b=[1, 2, 3], W=np.ones((D, K))),
    ),
    "RNN.backward": (
        lambda **k: layer(minigru.RNN, D, H, run=[X]).backward(**k),
        dict(dlast=np.ones((B, H)), dstates=np.ones((T, B, H))),
    ),
    "Model.logits": (lambda **k: MODEL.logits(**k), dict(x=BATCH, batch_size=2)),
    "Adam": (lambda **k: minigru.Adam(**k), dict(owner=MODEL, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8)),
    "clip": (lambda **k: minigru.clip_by_global_norm(**k), dict(owner=MODEL, max_norm=1.0)),
    "cosine": (lambda **k: minigru.cosine(**k), dict(lr=0.1, step=1, steps=3)),
    "warmup_cosine": (lambda **k: minigru.warmup_cosine(**k), dict(lr=0.1, step=1, steps=3)),
    "constant": (lambda **k: minigru.constant(**k), dict(lr=0.1, step=1, steps=3)),
    "get_backend": (lambda **k: minigru.get_backend(**k), dict(backend="numpy")),
    "Config": (lambda **k: Config(**k), {name: getattr(Config(), name) for name in Config.__dataclass_fields__}),
    "data.load": (lambda **k: data.load(data_home="/dev/null/none", **k), dict(name="digits", dtype="float32")),
    "given_options": (
        lambda **k: Config(**{name: value for name, value in k.items() if value is not None}),
        dict(lr=0.1, clip_norm=1.0, limit=3, schedule="cosine"),
    ),
    "central_difference": (
        lambda **k: gradcheck.central_difference(total, **k),
        dict(arrays={"a": np.ones(2)}, h=1e-5),
    ),
    "complex_step": (lambda **k: gradcheck.complex_step(total, **k), dict(arrays={"a": np.ones(2)}, h=1e-30)),
    "directional": (
        lambda **k: gradcheck.directional(total, **k),
        dict(arrays={"a": np.ones(2)}, direction={"a": np.ones(2)}, h=1e-5, method="central"),
    ),
    "directional, values": (
        lambda a, d: gradcheck.directional(total, {"a": a}, {"a": d}),
        dict(a=np.ones(2), d=np.ones(2)),
    ),
    "compare_along": (
        lambda **k: gradcheck.compare_along(total, rng=np.random.default_rng(0), **k),
        dict(arrays={"a": np.ones(2)}, gradients={"a": np.ones(2)}, method="central"),
    ),
    "compare, values": (
        lambda a, b: gradcheck.compare({"a": a}, {"a": b}),
        dict(a=np.ones(2), b=np.ones(2)),
    ),
    "compare": (lambda **k: gradcheck.compare(**k), dict(gradients={"a": np.ones(2)}, expected={"a": np.ones(2)})),
    "cases.recurrent": (
        lambda **k: cases.recurrent(**k),
        dict(cell="gru", T=1, B=1, D=1, H=1, dtype="float64", seed=0),
    ),
    "cases.linear": (lambda **k: cases.linear(**k), dict(B=1, D=1, K=2, backend="numpy", dtype="float64", seed=0)),
    "cases.loss": (lambda **k: cases.loss(**k), dict(B=1, K=2, backend="numpy", dtype="float64", seed=0)),
    "cases.model": (lambda **k: cases.model(**k), dict(cell="gru", T=1, B=1, D=1, H=1, K=2, steps=1, seed=0)),
    "all_cases": (
        lambda size, **k: cases.all_cases((), size, **k),
        dict(size="small", backend="numpy", dtype="float64"),
    ),
    "recall": (lambda **k: tasks.recall(np.random.default_rng(0), **k), dict(n=2, T=3, K=4)),
    "sentences": (lambda **k: tasks.sentences(np.random.default_rng(0), **k), dict(n=2, distance=3)),
    "sentence": (lambda **k: tasks.sentence(**k), dict(text="the cat")),
    "trace.gates": (lambda **k: trace.gates(MODEL, **k), dict(x=BATCH)),
    "gates, c_0": (lambda **k: trace.gates(MODEL, **k), dict(x=BATCH, c_0=np.ones((B, H)))),
    "answers": (lambda **k: trace.answers(MODEL, **k), dict(c=np.ones((B, H)))),
    "gradient_norms": (lambda **k: trace.gradient_norms(MODEL, **k), dict(x=BATCH, y=np.array([0, 2]))),
    "expect_length": (
        lambda **k: tasks.expect_length(MODEL, rng=np.random.default_rng(0), **k),
        dict(T=3),
    ),
    "fit": (
        lambda x, y, **k: tasks.fit(minigru.SequenceClassifier(D, H, K), [(x, y)], name="a", **k),
        dict(x=BATCH, y=[0, 2], steps=1, lr=0.1),
    ),
    "as_digit": (lambda **k: images.as_digit(**k), dict(brightness=np.pad(np.ones((9, 3)), 9), side=28)),
}  # fmt: skip
TOO_LARGE = ("size", "hidden", "classes", "features", "n", "T", "K", "D", "H", "B", "distance", "side", "step", "steps")


def too_large(name, value):
    """A huge size is not a bad one; it only takes all the RAM that there is."""
    try:
        return name.endswith(TOO_LARGE) and not isinstance(value, float) and operator.index(value) > 1e3
    except Exception:
        return False


def outcome(call, arguments):
    """Return what a call returns, or the message of the error that it may raise."""
    try:
        return call(**arguments)
    except EXPECTED as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_generated_bad_inputs(name):
    call, good = CALLS[name]
    call(**good)
    rng = np.random.default_rng(sum(map(ord, name)))
    for _ in range(-(-ROUNDS // len(CALLS))):
        while True:
            changed = {argument: values(rng) for argument in rng.choice(list(good), rng.integers(1, 3))}
            if not any(too_large(argument, value) for argument, value in changed.items()):
                break
        found = outcome(call, {**good, **changed})
        if isinstance(found, str):
            assert 0 < len(found) < 400, changed
            assert "\n" not in found, changed
        for array in found if isinstance(found, tuple) else (found,):
            if isinstance(array, (np.ndarray, float)) and np.asarray(array).dtype.kind == "f":
                assert np.isfinite(array).all(), changed
