"""Prove that every baseline is what it claims to be, before anything is timed."""

from __future__ import annotations

import numpy as np
from baselines import Baseline, Engine, initial, make_batch
from report import Rows, table

TOLERANCE = 1e-4  # of a norm: room for the rounding of float32, and none for another equation


def verify(kinds: list[type[Baseline]], T: int, B: int, D: int, H: int, seed: int) -> Rows:
    """Return how far each baseline with minigru's equations is from minigru: loss, gradients and a step of Adam.

    Raises
    ------
    ValueError
        A baseline differs by more than `TOLERANCE`, is not in float32, does not train all of its parameters, or is
        not what its name claims.
    """
    params, (x, y) = initial(D, H, seed), make_batch(T, B, D, seed)
    ours, rows = Engine(params), []
    loss, grads = ours.check(x, y)
    ours.step(x, y)
    after = dict(ours.parameters())
    for kind in kinds:
        baseline = kind(params)
        batch = baseline.prepare(x, y)
        before = {name: value.copy() for name, value in baseline.parameters()}
        if kind.same_equations:
            found_loss, found_grads = baseline.check(*batch)
        baseline.step(*batch)
        baseline.finish()
        found_after = dict(baseline.parameters())
        claims = {
            "in float32": all(value.dtype == np.float32 for value in found_after.values()),
            "training all of its parameters": all((before[name] != found_after[name]).any() for name in before),
        }
        for claim, holds in (claims | baseline.claims(*batch)).items():
            if not holds:
                raise ValueError(f"{kind.name} is not {claim}; nothing was timed")
        if not kind.same_equations:
            continue
        errors = {
            "loss": {"loss": relative(np.array(found_loss), np.array(loss))},
            "gradient": {f"gradient of {name}": relative(found_grads[name], grads[name]) for name in grads},
            "parameters": {f"{name} after a step": relative(found_after[name], after[name]) for name in found_after},
        }
        for what, error in (errors["loss"] | errors["gradient"] | errors["parameters"]).items():
            if not error < TOLERANCE:
                raise ValueError(f"{kind.name} is not minigru: its {what} differs by {error:.1e}; nothing was timed")
        if kind is not Engine:
            rows.append({"name": kind.name} | {what: max(values.values()) for what, values in errors.items()})
    return rows


def relative(value: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of the difference over the norm of `expected`, or the norm of the difference where that is 0."""
    difference, norm = float(np.linalg.norm(value - expected)), float(np.linalg.norm(expected))
    return difference / norm if norm else difference


def show(rows: Rows) -> None:
    """Print what `verify` returned."""
    cells = [[row["name"], *(f"{row[what]:.0e}" for what in ("loss", "gradient", "parameters"))] for row in rows]
    head = ["", "loss", "worst gradient", "worst parameter after a step"]
    table("Same equations as minigru: relative difference.", head, cells)
