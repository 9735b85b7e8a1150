"""The tutorial runs on NumPy and on a device, and shows what it computes.

Write its outputs anew with ``jupyter execute --inplace docs/tutorial.ipynb``.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cuda_on_cpu
import fake_device
import numpy as np
import pytest
from helpers import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")


def code_cells(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return {cell["id"]: cell for cell in cells if cell["cell_type"] == "code"}


def printed(cell):
    """Return the words, the numbers and the kinds of figures that a cell put out."""
    text = "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")
    figures = [sorted(output["data"]) for output in cell["outputs"] if "data" in output]
    return NUMBER.sub("#", text).split(), NUMBER.findall(text), figures


def agree(shown, fresh):
    """Whether whole numbers are equal, and others equal to 1 % or to two units of the last digit shown."""
    digits, _, exponent = shown.partition("e")
    decimals = len(digits.partition(".")[2])
    value, again = (float(number.replace(",", "")) for number in (shown, fresh))
    if not (decimals or exponent):
        return value == again
    return abs(value - again) <= max(0.01 * abs(again), 2.02 * 10.0 ** (int(exponent or 0) - decimals))


def stale(committed, fresh):
    """Return the cells whose committed output differs from a fresh one.

    The tag "rounding" marks a cell that prints rounding errors and where they are largest; only its words count.
    """
    found = []
    for name, cell in committed.items():
        (words, numbers, figures), (new_words, new_numbers, new_figures) = printed(cell), printed(fresh[name])
        rounding = "rounding" in cell["metadata"].get("tags", ())
        same = rounding or all(map(agree, numbers, new_numbers))
        if (words, figures, cell["execution_count"]) != (new_words, new_figures, fresh[name]["execution_count"]):
            same = False
        found += [] if same else [name]
    return found


def test_a_fresh_run_without_a_network_gives_the_committed_outputs(tmp_path):
    if missing := [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed (extra docs); CI has a step that installs it")
    copied, nowhere = Path(shutil.copy(TUTORIAL, tmp_path)), "http://127.0.0.1:9"
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        ["jupyter", "execute", "--inplace", "--timeout=180", copied],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere},
    )
    assert result.returncode == 0, result.stderr
    fresh = code_cells(copied)
    assert stale(code_cells(TUTORIAL), fresh) == []
    assert [name for name, cell in fresh.items() if any(out.get("name") == "stderr" for out in cell["outputs"])] == []


@pytest.mark.parametrize(
    ("cell", "shown", "other"),
    [
        ("data", "(1437, 8, 8)", "(1437, 8, 7)"),
        ("jacobian", "9.6e-26", "9.3e-26"),
        ("accuracy", "97.5 %", "98.6 %"),
        ("own-broken", "FAILED", ""),
        ("own-check", "b_u", "b_v"),
        ("curves", None, None),
    ],
)
def test_a_stale_output_is_found(cell, shown, other):
    committed = code_cells(TUTORIAL)
    changed = copy.deepcopy(committed)
    if shown is None:
        changed[cell]["outputs"].clear()
    for output in changed[cell]["outputs"]:
        if output["output_type"] == "stream":
            output["text"] = "".join(output["text"]).replace(shown, other, 1)
    assert stale(changed, committed) == [cell]


@pytest.mark.parametrize("cell", ["cell", "back", "bptt"])
def test_a_cell_to_write_is_graded_as_right_with_its_solution_and_is_that_solution_with_blanks(cell, tmp_path):
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(TUTORIAL.read_text("utf-8"))["cells"]}
    solution = re.search(r"<summary>.*```python\n(.*)```\n\n</details>$", cells[f"{cell}-solution"], re.DOTALL)[1]
    _, start, rest = cells[cell].partition("def ")
    end = [line for line in (start + rest).splitlines() if "..." not in line and line != "    # Write the body here."]
    assert [line for line in solution.splitlines() if line in end] == end
    (tmp_path / "own.py").write_text(f"import numpy as np\n{cells['cell'].partition('def ')[0]}\n{solution}")
    spec = importlib.util.spec_from_file_location("own", tmp_path / "own.py")
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    exec(cells[f"{cell}-check"], names := vars(own))
    assert names["right"]


def run_cells():
    """Run the cells that train and look inside, for one epoch on a few images; return their names."""
    names, cells = {}, code_cells(TUTORIAL)
    few = "x_train, y_train = x_train[:128], y_train[:128]; n, T, D = x_train.shape"
    for name in ("choices", "data", "model", "loop", "accuracy", "gates", "shares"):
        code = re.sub(r"^%.*$", "", "".join(cells[name]["source"]), flags=re.MULTILINE)
        exec(code.replace('"digits": 30', '"digits": 1').replace("n, T, D = x_train.shape", few), names)
    return names


@pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))
def test_the_same_cells_train_and_look_inside_on_a_device(monkeypatch):
    with fake_device.installed():
        device = run_cells()
    monkeypatch.setitem(sys.modules, "cupy", None)
    host = run_cells()
    assert (device["BACKEND"], host["BACKEND"]) == ("cupy", "numpy")
    assert device["train_loss"] == pytest.approx(host["train_loss"], rel=1e-5)
    np.testing.assert_allclose(device["logits"], host["logits"], rtol=1e-3, atol=1e-5)
