"""The tutorial runs, and what it shows is what it does. `python scripts/story/run_tutorial.py` writes its outputs anew."""

from __future__ import annotations

import configparser
import copy
import importlib.util
import json
import re
import sys
import time
from itertools import pairwise

import cuda_on_cpu
import fake_device
import numpy as np
import pytest
import run_tutorial
from helpers import ROOT, run_script
from run_tutorial import TUTORIAL

SECONDS, BYTES = 180, 400_000
PICKER = "https://colab.research.google.com/github/"  # where Colab asks for a repository
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
RELATIVE, LAST_DIGITS = 0.01, 2  # numbers with a point agree to 1 %, or to two units of the last digit printed


def read(path):
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook):
    return {cell["id"]: cell for cell in notebook["cells"] if cell["cell_type"] == "code"}


def source(cell_id):
    return "".join(code_cells(read(TUTORIAL))[cell_id]["source"])


def printed(cell):
    """Return the text that a cell printed, and the kinds of whatever else it put out."""
    text = "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")
    others = [output for output in cell["outputs"] if output["output_type"] != "stream"]
    return text, [sorted(output.get("data", {output["output_type"]: None})) for output in others]


def unit(number):
    """Return what one step of the last printed digit is worth, and 0 for a whole number."""
    digits, _, exponent = number.partition("e")
    decimals = len(digits.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0


def agree(shown, fresh):
    value, again = (float(number.replace(",", "")) for number in (shown, fresh))
    step = unit(shown)
    return abs(value - again) <= (max(RELATIVE * abs(again), 1.01 * LAST_DIGITS * step) if step else 0)


def differences(committed, fresh):
    """Return the cells whose committed output says something else than the fresh one.

    Words, whole numbers and the kinds of output are the same, and numbers with a point agree. In a cell with the tag
    "rounding", which prints what is left after 16 digits and where, only the words are.
    """
    found = {}
    again = code_cells(fresh)
    for name, cell in code_cells(committed).items():
        (text, kinds), (new_text, new_kinds) = printed(cell), printed(again[name])
        words, new_words = (NUMBER.sub("#", part).split() for part in (text, new_text))
        numbers = zip(NUMBER.findall(text), NUMBER.findall(new_text), strict=False)
        rounding = "rounding" in cell["metadata"].get("tags", ())
        wrong = [] if rounding else [pair for pair in numbers if not agree(*pair)]
        if (words, kinds) != (new_words, new_kinds) or wrong:
            found[name] = wrong or (text, new_text)
    return found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Return the notebook as it comes out of a run with no network, and the seconds that took."""
    missing = [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (extra docs); CI has a step that installs it")
    out = tmp_path_factory.mktemp("tutorial") / "tutorial.ipynb"
    nowhere = "http://127.0.0.1:9"
    before = time.perf_counter()
    result = run_script("run_tutorial.py", "--out", out, HTTP_PROXY=nowhere, HTTPS_PROXY=nowhere)
    seconds = time.perf_counter() - before
    assert result.returncode == 0, result.stderr
    return read(out), seconds


def test_every_cell_runs_in_time_and_without_a_warning(fresh):
    notebook, seconds = fresh
    assert seconds < SECONDS
    assert len(code_cells(notebook)) > 20
    for name, cell in code_cells(notebook).items():
        kinds = [(output["output_type"], output.get("name")) for output in cell["outputs"]]
        assert not {("error", None), ("stream", "stderr")} & set(kinds), name


def test_the_committed_outputs_are_those_of_a_fresh_run(fresh):
    assert differences(read(TUTORIAL), fresh[0]) == {}


def test_the_fresh_run_differs_from_the_committed_one_in_its_outputs_alone(fresh):
    both = [copy.deepcopy(notebook) for notebook in (read(TUTORIAL), fresh[0])]
    for notebook in both:
        for cell in code_cells(notebook).values():
            del cell["outputs"]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("cell", "shown", "stale"),
    [
        ("data", "(1437, 8, 8)", "(1437, 8, 7)"),
        ("jacobian", "9.6e-26", "9.3e-26"),
        ("loop", "loss 2.151", "loss 2.129"),
        ("accuracy", "97.5 %", "98.6 %"),
        ("own-broken", "FAILED", ""),
        ("own-check", "b_u", "b_v"),
    ],
)
def test_a_stale_output_is_found(cell, shown, stale):
    notebook = read(TUTORIAL)
    changed = copy.deepcopy(notebook)
    (output,) = [output for output in code_cells(changed)[cell]["outputs"] if output["output_type"] == "stream"]
    text = "".join(output["text"])
    assert shown in text
    output["text"] = text.replace(shown, stale, 1)
    assert list(differences(changed, notebook)) == [cell]


def test_a_lost_figure_is_found():
    notebook = read(TUTORIAL)
    changed = copy.deepcopy(notebook)
    code_cells(changed)["curves"]["outputs"].clear()
    assert list(differences(changed, notebook)) == ["curves"]


def test_it_is_committed_as_run_from_the_top_with_its_figures_and_small():
    cells = code_cells(read(TUTORIAL)).values()
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in kinds for cell in cells for kinds in printed(cell)[1]) == 6
    assert TUTORIAL.stat().st_size < BYTES


def test_every_cell_of_code_is_introduced_by_words():
    kinds = [cell["cell_type"] for cell in read(TUTORIAL)["cells"]]
    assert kinds[0] == "markdown"
    assert ("code", "code") not in pairwise(kinds)


def test_every_link_leads_somewhere():
    text = "\n".join("".join(cell["source"]) for cell in read(TUTORIAL)["cells"] if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(targets) > 5
    assert [target for target in targets if "://" not in target and not (TUTORIAL.parent / target).exists()] == []


@pytest.mark.parametrize("tag", ["R1", "G1", "G2", "G3", "G4"])
def test_the_equations_are_those_of_the_page(tag):
    page = (ROOT / "docs" / "equations.md").read_text("utf-8")
    equation = re.search(rf"^### \({tag}\).*?^\$\$\n(.*?)\n\$\$", page, re.DOTALL | re.MULTILINE)[1]
    text = "\n".join("".join(cell["source"]) for cell in read(TUTORIAL)["cells"])
    assert rf"{equation} \qquad ({tag})" in text


def test_the_badge_and_the_install_name_the_repository_once_the_project_has_an_address():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    address = setup["metadata"].get("url", "")
    badge = address.replace("https://github.com/", PICKER) + "/blob/main/docs/tutorial.ipynb" if address else PICKER
    assert f"badge.svg)]({badge})" in "".join(read(TUTORIAL)["cells"][0]["source"])
    assert f'REPOSITORY = "{address}"' in source("install")


def test_minigru_is_installed_only_where_it_is_missing_and_its_address_known(monkeypatch):
    installed = []
    names = {"pip": installed.append}
    code = source("install").replace("%pip install --quiet git+{REPOSITORY}", "pip(REPOSITORY)")
    exec(code, names)
    assert installed == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="fill in REPOSITORY above"):
        exec(re.sub(r'REPOSITORY = ".*?"', 'REPOSITORY = ""', code), names)
    exec(re.sub(r'REPOSITORY = ".*?"', 'REPOSITORY = "https://github.com/a/b"', code), names)
    assert installed == ["https://github.com/a/b"]


def run_cells():
    """Run the cells that train and look inside, for one epoch on a few images; return their names."""
    names = {}
    few = "x_train, y_train = x_train[:128], y_train[:128]; n, T, D = x_train.shape"
    for cell in ("choices", "data", "model", "loop", "curves", "accuracy", "prediction", "gates", "shares"):
        code = re.sub(r"^%.*$", "", source(cell), flags=re.MULTILINE)
        exec(code.replace('"digits": 30', '"digits": 1').replace("n, T, D = x_train.shape", few), names)
    return names


def test_the_script_says_which_packages_are_missing(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run_tutorial.py"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        run_tutorial.main()
    assert stop.value.code == 2
    assert 'nbclient and ipykernel cannot be imported: pip install -e ".[docs]"' in capsys.readouterr().err


@pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))
def test_the_same_cells_train_and_look_inside_on_a_device(monkeypatch):
    with fake_device.installed():
        device = run_cells()
    monkeypatch.setitem(sys.modules, "cupy", None)
    host = run_cells()
    assert (device["BACKEND"], host["BACKEND"]) == ("cupy", "numpy")
    assert device["n"] == host["n"] == 128
    assert device["train_loss"] == pytest.approx(host["train_loss"], rel=1e-5)
    np.testing.assert_allclose(device["logits"], host["logits"], rtol=1e-3, atol=1e-5)
