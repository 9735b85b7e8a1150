"""Prove that every baseline is what it claims to be, before anything is timed."""

from __future__ import annotations

from typing import Any

import numpy as np
from baselines import Engine, Params, initial, make_batch
from report import Rows, table
from tqdm import tqdm

TOLERANCE = 1e-4  # of a norm: room for the rounding of float32, and none for another equation


def verify(runners: list[Any], T: int, B: int, D: int, H: int, seed: int) -> Rows:
    """Return how far each baseline with minigru's equations is from minigru, and the seconds of its first call.

    The loss, the gradients and a step of Adam are compared. The baselines keep the batch, to be timed with it.

    Raises
    ------
    ValueError
        A baseline differs by more than `TOLERANCE`, is not in float32, does not train all of its parameters, or is
        not what its name claims.
    """
    params, (x, y) = initial(D, H, seed), make_batch(T, B, D, seed)
    ours = Engine(params)
    loss, grads = ours.check(x, y)
    ours.step(x, y)
    after, rows = dict(ours.parameters()), []
    for runner in tqdm(runners, "verifying and compiling", leave=False, disable=None):
        name = runner.about["name"]
        runner.prepare(params, x, y)
        found = runner.examine()
        claims = {
            "in float32": all(value.dtype == np.float32 for value in found["after"].values()),
            "training all of its parameters": all(
                (value != found["after"][key]).any() for key, value in found["before"].items()
            ),
        }
        for claim, holds in (claims | found["claims"]).items():
            if not holds:
                raise ValueError(f"{name} is not {claim}; nothing was timed")
        row = {"name": name, "cores": runner.cores, "B": B, "compile_s": found["compile_s"]}
        rows.append(row | (differences(name, found, np.array(loss), grads, after) if "loss" in found else {}))
    return rows


def differences(name: str, found: dict[str, Any], loss: np.ndarray, grads: Params, after: Params) -> dict[str, float]:
    """Return the relative differences from minigru, the worst of each kind; see `verify`."""
    errors = {
        "loss": {"loss": relative(np.array(found["loss"]), loss)},
        "gradient": {f"gradient of {key}": relative(found["grads"][key], grads[key]) for key in grads},
        "parameters": {f"{key} after a step": relative(value, after[key]) for key, value in found["after"].items()},
    }
    for each in errors.values():
        for what, error in each.items():
            refuse(name, what, error)
    return {what: max(values.values()) for what, values in errors.items()}


def verify_logits(runner: Any, params: Params, x: np.ndarray) -> None:
    """Compare the logits of images x (B, T, D) with those of minigru, if the baseline has its equations.

    Raises
    ------
    ValueError
        They differ by more than `TOLERANCE`.
    """
    runner.prepare(params, x, np.zeros(len(x), np.int64))
    found = runner.logits()
    if runner.about["same_equations"]:
        refuse(runner.about["name"], "logits", relative(found, Engine(params).logits(x)))


def refuse(name: str, what: str, error: float) -> None:
    """Raise a ValueError if the relative difference `error` is not below `TOLERANCE`."""
    if not error < TOLERANCE:
        raise ValueError(f"{name} is not minigru: its {what} differs by {error:.1e}; nothing was timed")


def relative(value: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of the difference over the norm of `expected`, or the norm of the difference where that is 0."""
    difference, norm = float(np.linalg.norm(value - expected)), float(np.linalg.norm(expected))
    return difference / norm if norm else difference


def show(rows: Rows) -> None:
    """Print the differences of the baselines that `verify` compared with minigru, each with its most cores."""
    compared = {row["name"]: row for row in rows if "loss" in row}
    cells = [[n, *(f"{row[what]:.0e}" for what in ("loss", "gradient", "parameters"))] for n, row in compared.items()]
    head = ["", "loss", "worst gradient", "worst parameter after a step"]
    table("Same equations as minigru: relative difference.", head, cells)
