"""Tell which recurrent cell a function computes, from its answers alone.

With the memory and the input zero but for at most two units and two inputs, a GRU is a GRU of two units and two inputs,
so every cell is examined at that size. `docs/interchange.md` describes the method: far out, where the candidate is 1 or
-1, the update gate can be read exactly; with the gate, the candidate can be read anywhere; its dependence on the memory
shows where the reset gate acts. The weights found so are a start for a least-squares fit of the cells of
`minigru.reference`, and the fit decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .. import reference

Array = np.ndarray
Step: TypeAlias = Callable[[Array, Array], Array]  # x (B, D) and the memory (B, H) to the next memory (B, H)

FAR = (1e3, 1e2, 1e4, 1e5)  # distances at which the candidate is tried to be 1 or -1
CHORDS, POINTS, TRIED = 60, 60, 1000


def fit_rnn(step: Step, D: int, H: int, rng: np.random.Generator) -> dict[str, Array] | None:
    """Return W_a and b_a for which `rnn_cell` may be this function: arctanh of it is then affine."""
    for scale in (1.0, 0.1, 0.01):
        x, c = scale * rng.standard_normal((POINTS, D)), scale * rng.standard_normal((POINTS, H))
        a = step(x, c)
        if (np.abs(a) < 0.999).all():
            found = _affine(np.concatenate([c, x], 1), np.arctanh(a))
            return {"W_a": found[:-1], "b_a": found[-1]}
    return None


def fit_gate(step: Step, D: int, H: int, rng: np.random.Generator) -> Array | None:
    """Return the rows of the gate that keeps, (H + D + 1, H), the bias last; None if there is no such gate."""
    for far in FAR:
        columns = [_fit_unit(step, D, H, i, far, rng) for i in range(H)]
        if all(column is not None for column in columns):
            return np.stack(columns, axis=1)  # type: ignore[arg-type]  # none of them is None
    return None


def _fit_unit(step: Step, D: int, H: int, i: int, far: float, rng: np.random.Generator) -> Array | None:
    """Return a column of the gate, from chords between far points where it is 1 and where it is 0."""
    first, last = rng.standard_normal((2, 8 * CHORDS, H + D))
    first, last = (far * end / np.linalg.norm(end, axis=1, keepdims=True) for end in (first, last))
    kept, new = (step(end[:, H:], end[:, :H])[:, i] for end in (first, last))
    usable = (np.abs(kept - first[:, i]) < 1e-6 * far) & (np.abs(np.abs(new) - 1) < 1e-3)
    first, last, n = first[usable], last[usable], np.sign(new[usable])
    if len(n) < 3 * (H + D + 1):
        return None

    def gate(t: Array) -> Array:
        v = first + t[:, None] * (last - first)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (step(v[:, H:], v[:, :H])[:, i] - n) / (v[:, i] - n)

    low, high = np.zeros(len(n)), np.ones(len(n))
    for _ in range(60):  # bisect for a gate of 1/2
        middle = (low + high) / 2
        above = gate(middle) > 0.5
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    places = low + _width(gate, low) * np.array([-1.5, -0.5, 0.5, 1.5])[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.array([gate(t) for t in places])
        z = np.log(values / (1 - values))
        bend = np.abs(z[0] - 3 * z[1] + 3 * z[2] - z[3]) / np.abs(z[0] - z[3])
    best = np.argsort(np.where(np.isfinite(bend), bend, np.inf))[: len(n) // 2]  # elsewhere the candidate turned
    v = first + places[:, :, None] * (last - first)
    v, z = v[:, best].reshape(-1, H + D), z[:, best].reshape(-1)
    for _ in range(3):  # without what still does not fit
        if not np.isfinite(z).all():
            return None
        found = _affine(v, z[:, None])[:, 0]
        error = np.abs(v @ found[:-1] + found[-1] - z)
        v, z = v[error <= np.quantile(error, 0.8)], z[error <= np.quantile(error, 0.8)]
    return found


def _width(gate: Callable[[Array], Array], t: Array) -> Array:
    """Return for each chord the step of t that moves the gate from 1/2 to about 0.38, which is one half in z."""
    width = np.full_like(t, 1e-9)
    for _ in range(40):
        width = np.where(gate(t + width) > 0.38, 1.6 * width, width)
    return width


def candidate(step: Step, gate: Array, x: Array, c: Array) -> tuple[Array, Array]:
    """Return arctanh of the candidate (B, H), and where it is precise: far from 1, -1 and a closed gate."""
    k = reference.sigmoid(np.concatenate([c, x], 1) @ gate[:-1] + gate[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        n = (step(x, c) - k * c) / (1 - k)
        good = (k < 0.9) & (np.abs(n) < 0.95)
        return np.where(good, np.arctanh(np.clip(n, -0.99, 0.99)), 0), good


def _affine(v: Array, y: Array) -> Array:
    """Return the weights and, in the last row, the bias of the affine map from v to y nearest in least squares."""
    return np.linalg.lstsq(np.concatenate([v, np.ones((len(v), 1))], 1), y, rcond=None)[0]


def fit_before(step: Step, gate: Array, rng: np.random.Generator) -> dict[str, Array] | None:
    """Return parameters for which `gru_cell` may be this function; `W_r` between different units is left at zero.

    With one unit of the memory not zero, arctanh of the candidate differs from that without by U_c r c, of that unit.
    """
    H = gate.shape[1]
    D = len(gate) - H - 1
    x = _inputs(gate, D, rng, TRIED)
    zero = np.zeros((len(x), H))
    z_0, good_0 = candidate(step, gate, x, zero)
    if (good_0.sum(axis=0) < D + 3).any():
        return None
    columns = [_affine(x[good_0[:, i]], z_0[good_0[:, i], i : i + 1])[:, 0] for i in range(H)]
    W_c = np.concatenate([np.zeros((H, H)), np.stack(columns, 1)[:-1]])
    W_r, b_r = np.zeros((H + D, H)), np.zeros(H)
    for j in range(H):
        c = zero.copy()
        c[:, j] = rng.uniform(0.2, 1, len(c)) * rng.choice([-1, 1], len(c))
        z, good = candidate(step, gate, x, c)
        good &= good_0
        read = np.argmax([np.abs(z - z_0)[good[:, i], i].sum() for i in range(H)])
        rows = np.flatnonzero(good[:, read])[: 2 * POINTS]
        v, y = np.concatenate([c[:, j : j + 1], x], 1)[rows], ((z - z_0)[:, read] / c[:, j])[rows]
        w = _sigmoid_of(v, y)
        if w is None:
            return None
        W_r[j, j], W_r[H:, j], b_r[j] = w[0], w[1:-1], w[-1]
        r = reference.sigmoid(np.concatenate([c[:, j : j + 1], x], 1) @ w[:-1] + w[-1]) * c[:, j]
        for i in range(H):
            rows = good[:, i]
            W_c[j, i] = r[rows] @ (z - z_0)[rows, i] / max(r[rows] @ r[rows], 1e-300)
    params = {"W_u": -gate[:-1], "b_u": -gate[-1], "W_r": W_r, "b_r": b_r, "W_c": W_c}
    return params | {"b_c": np.array([column[-1] for column in columns])}


def fit_after(step: Step, gate: Array, rng: np.random.Generator) -> dict[str, Array] | None:
    """Return parameters for which `gru_after_cell` may be this function.

    arctanh of the candidate is affine in x and, times the reset gate, in the memory: for given weights of the reset
    gate the others follow by linear least squares.
    """
    from scipy.optimize import least_squares

    H = gate.shape[1]
    D = len(gate) - H - 1
    x = _inputs(gate, D, rng, TRIED)
    c = rng.uniform(-1, 1, (len(x), H))
    z, good = candidate(step, gate, x, c)
    found = []
    for i in range(H):
        rows = np.flatnonzero(good[:, i])[:POINTS]
        if len(rows) < 3 * (H + D + 2):
            return None
        v, y = np.concatenate([c, x], 1)[rows], z[rows, i]

        def solved(w: Array, v: Array = v, y: Array = y) -> tuple[Array, Array]:
            r = reference.sigmoid(np.clip(v @ w[:-1] + w[-1], -50, 50))[:, None]
            basis = np.concatenate([r * v[:, :H], r, v[:, H:], np.ones_like(r)], 1)
            rest = np.linalg.lstsq(basis, y, rcond=1e-12)[0]
            return rest, basis @ rest - y

        best: tuple[float, Array] = (np.inf, np.zeros(H + D + 1))
        for _ in range(6):
            start = rng.standard_normal(H + D + 1) / (1e-9 + np.abs(v).mean())
            fit = least_squares(lambda w, solved=solved: solved(w)[1], start, method="lm", max_nfev=250)
            best = min(best, (float(np.abs(fit.fun).max()), fit.x), key=lambda pair: pair[0])
            if best[0] < 1e-4 * max(1, np.abs(y).max()):
                break
        found.append((best[1], solved(best[1])[0]))
    w, rest = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
    params = {"W_k": gate[:-1], "b_k": gate[-1], "W_r": w[:-1], "b_r": w[-1]}
    return params | {"U_c": rest[:H], "b_q": rest[H], "V_c": rest[H + 1 : -1], "b_c": rest[-1]}


def polish(
    cell: str, params: dict[str, Array], step: Step, rng: np.random.Generator, enough: float
) -> tuple[dict[str, Array], float]:
    """Return the parameters of a cell of the reference nearest to a function, from a start, and the largest error left.

    The error is that of other points than the fit, relative to the largest answer; the fit ends once it is below
    `enough`, or if it is still above 0.01 after a few evaluations.
    """
    from scipy.optimize import least_squares

    places = np.cumsum([array.size for array in params.values()])
    H = params["b_" + {"rnn": "a"}.get(cell, "r")].size
    D = len(next(iter(params.values()))) - H
    run = getattr(reference, f"{cell}_cell")
    points = [(_inputs(next(iter(params.values())), D, rng), rng.uniform(-1, 1, (POINTS, H))) for _ in range(2)]

    def named(vector: Array) -> dict[str, Array]:
        parts = np.split(vector, places[:-1])
        return {name: part.reshape(array.shape) for (name, array), part in zip(params.items(), parts, strict=True)}

    def answers(vector: Array, at: int) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return run(*points[at], named(vector))[0]

    def slopes(vector: Array) -> Array:
        tilted = vector + 1e-30j * np.eye(len(vector))  # the complex step
        return np.stack([answers(row, 0).imag.ravel() / 1e-30 for row in tilted], axis=1)

    wanted = [step(*point) for point in points]
    start = np.concatenate([array.ravel() for array in params.values()])
    vector, error = start, np.inf
    for evaluations in (12, 60):  # the right cell is near after a few
        fit = least_squares(
            lambda vector: (answers(vector, 0) - wanted[0]).ravel(), vector, slopes, method="lm", max_nfev=evaluations,
            xtol=1e-15, ftol=1e-15, gtol=1e-15,
        )  # fmt: skip
        vector = fit.x
        error = float(np.abs(answers(vector, 1) - wanted[1]).max() / max(1.0, np.abs(wanted[1]).max()))
        if not enough < error < 0.01:
            break
    return named(vector), error


def _inputs(weights: Array, D: int, rng: np.random.Generator, n: int = POINTS) -> Array:
    """Return inputs (n, D) that move pre-activations by up to a few units, given a weight of this scale."""
    lengths = 10 ** rng.uniform(-1.5, 0.2, (n, 1)) / (1e-9 + np.abs(weights).mean())
    return rng.standard_normal((n, D)) * np.minimum(10, lengths)


def _sigmoid_of(v: Array, y: Array) -> Array | None:
    """Return w, the bias last, for which y is nearly a multiple of the sigmoid of v w."""
    from scipy.optimize import least_squares

    if len(y) < v.shape[1] + 3 or not np.abs(y).max() > 0:
        return None
    sign, top = np.sign(y.sum()), np.abs(y).max()
    starts = []
    for factor in (1.001, 1.02, 1.1, 1.5, 3, 10):
        part = np.clip(sign * y / (factor * top), 1e-6, 1 - 1e-6)
        start = _affine(v, np.log(part / (1 - part))[:, None])[:, 0]
        starts.append((np.abs(_scaled(v, y, start)).sum(), factor, start))
    start = min(starts)[2]
    return least_squares(lambda w: _scaled(v, y, w), start, method="lm", max_nfev=400).x


def _scaled(v: Array, y: Array, w: Array) -> Array:
    r = reference.sigmoid(np.clip(v @ w[:-1] + w[-1], -50, 50))
    return r * (r @ y) / max(r @ r, 1e-300) - y
