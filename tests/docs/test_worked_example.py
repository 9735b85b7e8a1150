"""The numbers of the worked example in docs/equations.md are those that reference.py computes."""

from __future__ import annotations

import inspect
import re
import textwrap

import numpy as np
import pytest
from helpers import ROOT

from minigru import reference

PAGE = (ROOT / "docs" / "equations.md").read_text("utf-8")
SECTION = re.search(r"^## A worked example$.*?^## ", PAGE, re.MULTILINE | re.DOTALL)[0]
WAYS = {
    "first way": "dc * (1 - gamma_u)",
    "second way": "drc * gamma_r",
    "third way": "dc_prev_r",
    "fourth way": "dc_prev_u",
}


def shown() -> dict[str, list[float]]:
    """Return the numbers of the page by name: one or two of a parameter, and one per step, t = 1 first."""
    found = {}
    for line in re.findall(r"^\| *(.*?) *\|$", SECTION, re.MULTILINE):
        name, *cells = [cell.strip("` ") for cell in line.split("|")]
        numbers = [[float(n) for n in cell.split(", ")] for cell in cells if re.fullmatch(r"-?\d[-\d., ]*", cell)]
        if "W_" in name:
            found[name], found[cells[1]] = numbers
        elif len(numbers) == 2:
            found[name] = [*numbers[0], *numbers[1]][:: -1 if name[0] == "d" or name in {"e", *WAYS} else 1]
    return found


def values_in(function, **arguments) -> dict:
    """Return the local variables of a function of reference.py before it returns, and what it returns."""
    body = textwrap.dedent(inspect.getsource(function).rpartition('"""\n')[2])
    names = {**vars(reference), **arguments}
    exec(re.sub(r"^return (.*)", r"result = \1", body, flags=re.MULTILINE), names)
    return names


def test_every_number_of_the_worked_example_is_computed_by_the_reference():
    page, computed = shown(), {}
    p = {name: np.array(page[name]).reshape((2, 1) if "W" in name else 1) for name in page if name[:2] in ("W_", "b_")}
    state, steps = np.array([[page["c_prev"][0]]]), []
    for x in page["x"]:
        steps.append(values_in(reference.gru_cell, x=np.array([[x]]), c_prev=state, p=p, inside=1.0))
        state = steps[-1]["c"]
    dstate, grads = np.zeros((1, 1)), dict.fromkeys(p, 0)
    for forward, e in zip(steps[::-1], page["e"][::-1], strict=True):
        back = values_in(reference.gru_cell_backward, dc=e + dstate, cache=forward["result"][1])
        back |= {way: eval(code, back) for way, code in WAYS.items()}
        back["dx"], dstate, terms = back["result"]
        forward |= back | {"rc": forward["gamma_r"] * forward["c_prev"], "dc_prev": dstate, "e": e}
        grads = {name: grads[name] + terms[name] for name in grads}
    for name in page:
        if name in p:
            continue
        values = grads[name[1:]] if name[1:] in grads else [step[name] for step in steps]
        computed[name] = np.ravel(values)
        assert page[name] == pytest.approx(computed[name], abs=0.51e-4), name
    assert len(computed) > 25
    moved = [reference.gru_forward(np.reshape(page["x"], (2, 1, 1)), np.array([[c]]), p)[0][-1] for c in (0.51, 0.49)]
    for value in moved:
        assert f"{value.item():.6f}" in SECTION
