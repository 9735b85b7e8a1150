"""The rooms: what each may import, and what ``import minigru`` needs."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers import ROOT

PACKAGE = ROOT / "minigru"
ALLOWED = {  # what the files of a room may import of minigru besides each other
    "reference": set(),
    "plots": set(),
    "engine": set(),
    "gradcheck": {"engine", "reference"},
    "experiments": {"engine", "reference"},
    "exercises": {"engine", "gradcheck", "reference", "__init__"},  # what a reader imports
    "training": {"engine", "__init__"},  # of __init__ the version alone
    "interchange": {"engine", "reference", "training"},  # of training the files of arrays alone
    "sequences": set(),
    "estimator": {"engine", "sequences"},
    "cli": {"engine", "training", "plots"},
    "__init__": {"engine", "reference", "gradcheck", "interchange"},
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path, for_types: bool = True) -> set[str]:
    """Return the modules of minigru that a file imports, at its head, in a function, and for type hints alone."""
    names, folder, tree = set(), path.relative_to(ROOT).parent.parts, ast.parse(path.read_text("utf-8"))
    hints = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    unread = set() if for_types else {inner for block in hints for inner in ast.walk(block)}
    for node in {*ast.walk(tree)} - unread:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) + 1 - node.level] if node.level else ()
            start = ".".join([*above, *filter(None, [node.module])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
    names = {name if name in MODULES else name.rpartition(".")[0] for name in names}
    return {name for name in names if name.split(".")[0] == "minigru"}


def room(name: str) -> str:
    return [*name.split("."), "__init__"][1]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_lies_below_its_room(name):
    found = {room(other) for other in imports(MODULES[name])}
    assert found <= ALLOWED[room(name)] | {room(name)}


def test_no_module_imports_itself_in_a_circle():
    graph = {name: imports(path, for_types=False) for name, path in MODULES.items()}
    assert {"minigru.reference", "minigru.engine.model"} <= graph["minigru.gradcheck.cases"]
    TopologicalSorter(graph).prepare()


ALONE = """
import sys

class NumPyAlone:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "minigru"}:
            raise ImportError(name)

sys.meta_path.insert(0, NumPyAlone)
import numpy as np
import minigru
from minigru import GRU, RNN, Adam, Linear, SequenceClassifier, SoftmaxCrossEntropy, gradcheck, reference
from minigru import Backend, BackendUnavailable, get_backend
from minigru.gradcheck import central_difference, compare, compare_along, complex_step, directional, report

assert issubclass(BackendUnavailable, RuntimeError) and isinstance(get_backend("numpy"), Backend)
model = SequenceClassifier(3, 4, 2, cell="gru", backend="numpy", dtype="float32", rng=0)
model.loss(np.ones((5, 6, 3), "float32"), np.zeros(5, int))
model.backward()
Adam(model).step()
"""


def test_import_needs_numpy_alone_and_brings_the_names_of_the_contract():
    result = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_every_name_asked_of_cupy_is_in_the_real_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed; CI has a step that installs it")
    nodes = [node for path in MODULES.values() for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    dotted = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    asked = {found[1] for name in dotted if (found := re.fullmatch(r"(?:cupy|(?:[\w.]+\.)?xp)\.([\w.]+)", name))}
    assert "matmul" in asked
    for name in asked:
        operator.attrgetter(name)(cupy)
