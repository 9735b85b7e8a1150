"""What holds the project together: tags, imports, and what each file may know."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from minigru import reference

PACKAGE = ROOT / "minigru"
LAYERS = ["gru.py", "rnn.py", "linear.py", "loss.py", "recurrent.py", "adam.py", "model.py", "params.py"]
TAG = re.compile(r"\((d?[A-Z][A-Z]?\d*)\)")
TAG_AT_THE_END = re.compile(r"(?:#|//)((?: \(d?[A-Z][A-Z]?\d*\))+)$", re.MULTILINE)
HEADING = re.compile(r"^### \((d?[A-Z][A-Z]?\d*)\) \S", re.MULTILINE)
SOURCES = sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.cu")])


def tags_in_code():
    found = {}
    for path in SOURCES:
        for comment in TAG_AT_THE_END.findall(path.read_text("utf-8")):
            for tag in TAG.findall(comment):
                found.setdefault(tag, set()).add(path.name)
    return found


def headings():
    return [
        tag
        for name in ("equations.md", "engine.md")
        for tag in HEADING.findall((ROOT / "docs" / name).read_text("utf-8"))
    ]


def test_every_tag_in_the_code_has_its_heading_and_every_heading_is_implemented():
    written = headings()
    assert len(written) == len(set(written)), "a tag has two headings"
    assert set(tags_in_code()) == set(written)


def test_every_equation_stands_in_the_reference_and_every_rearrangement_in_the_engine():
    for tag, files in tags_in_code().items():
        assert ("reference.py" in files) == (not tag.startswith("F")), tag


def test_a_tag_is_written_only_at_the_end_of_a_line_of_code():
    known = set(headings())
    for path in SOURCES:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            code, _, comment = line.partition("#" if path.suffix == ".py" else "//")
            if known & set(TAG.findall(comment)):
                assert TAG_AT_THE_END.search(line), f"{path.name}:{number}"
                assert code.strip(), f"{path.name}:{number}"


def test_the_lines_of_code_that_the_documents_quote_stand_in_the_reference():
    code = (PACKAGE / "reference.py").read_text("utf-8")
    page = (ROOT / "docs" / "equations.md").read_text("utf-8")
    quoted = [line for line in re.findall(r"`([^`\n]+)`", page) if " = " in line or line.startswith("return ")]
    assert len(quoted) > 25
    assert [line for line in quoted if line not in code] == []
    readme = (ROOT / "README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    assert readme in code


def sections() -> dict[str, str]:
    """Return what stands under the heading of each tag in equations.md."""
    parts = re.split(r"^##+ ", (ROOT / "docs" / "equations.md").read_text("utf-8"), flags=re.MULTILINE)
    return {match[1]: part for part in parts if (match := re.match(r"\((d?[A-Z]\w?)\) ", part))}


@pytest.mark.parametrize("tag", [tag for tag in headings() if not tag.startswith("F")])
def test_the_lines_with_a_tag_are_those_that_its_section_quotes(tag):
    (paragraph,) = re.findall(r"^`.*?(?=\n\n)", sections()[tag], re.MULTILINE | re.DOTALL)[:1]
    tagged, lines = set(), []
    for line in (PACKAGE / "reference.py").read_text("utf-8").splitlines():
        code, _, comment = line.partition("  # ")
        lines.append(code.strip().rstrip(","))
        if tag in TAG.findall(comment):
            tagged.add(lines[-1])
    quoted = {code for code in re.findall(r"`([^`]+)`", paragraph) if code in lines}
    assert quoted == tagged != set()


# What the LaTeX of an equation is in Python, in this order.
AS_PYTHON = [
    (r"d\(\\Gamma_r \* c_{\\mathrm{prev}}\)", "drc"),
    (r"\^{\\langle t \\rangle}|_t\b|_{t-1}", ""),
    (r"\^{\\langle t-1 \\rangle}|_{\\mathrm{prev}}", "_prev"),
    (r"\\(hat|tilde){(\w)}", r"\2_\1"),
    (r"\\Gamma", "gamma"),
    (r"\\alpha", "lr"),
    (r"\\epsilon", "eps"),
    (r"\\theta", "theta"),
    (r"\\beta_", "beta"),
    (r"\\sqrt{(\w+)}", r"np.sqrt(\1)"),
    (r"\\frac{([^{}]*)}{([^{}]*)}", r"((\1) / (\2))"),
    (r"\\tanh", "np.tanh"),
    (r"\\sigma", "sigmoid"),
    (r"(W_\w) \[(.*?), x\]", r'concat(\2, x) @ p["\1"]'),
    (r"\+ (b_\w)", r'+ p["\1"]'),
    (r"\^", "**"),
    (r"(?<=[\w)]) (?=[\w(])", " * "),
]


def as_python(latex: str) -> str:
    for pattern, python in AS_PYTHON:
        latex = re.sub(pattern, python, latex)
    return latex


ELEMENTWISE = ["G1", "G2", "G3", "G4", "dG4", "dG3", "dG2", "dG1", "R1", "dR1", "A1", "A2", "A3", "A4", "A5"]


@pytest.mark.parametrize("tag", ELEMENTWISE)
def test_an_equation_has_the_value_of_the_line_beside_it(tag, rng):
    statement, _, rest = sections()[tag].partition("\n`")
    lines = dict(line.split(" = ", 1) for line in re.findall(r"`([^`]+ = [^`]+)`", "`" + rest.partition("\n\n")[0]))
    names = {*re.findall(r"\b[a-zA-Z]\w*\b", " ".join(lines.values()))}
    values = {name: rng.random((2, 3)) for name in sorted(names)}
    shapes = {"W": (7, 3), "b": (3,)}
    values |= {"x": rng.random((2, 4)), "p": {f"{k}_{g}": rng.random(shapes[k]) for k in "Wb" for g in "urca"}}
    values |= {"np": np, "t": 3}
    values |= {"concat": reference.concat, "sigmoid": reference.sigmoid}
    compared = 0
    for piece in re.split(r"\\qquad|\$\$", statement):
        left, _, right = piece.strip().replace(r"\text{ gets }", "=").partition(" = ")
        name = as_python(left)
        if name in lines:
            expected = eval(lines[name].removeprefix("dc_prev + "), values)
            np.testing.assert_allclose(eval(as_python(right).rstrip(" ,"), values), expected, rtol=1e-12)
            compared += 1
    assert compared == sum("split(" not in line for line in lines.values())


def test_the_readme_has_the_equations_of_the_document():
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.findall(r"\$\$\n(.*) \\qquad \((G\d)\)\n\$\$", readme)
    assert [tag for _, tag in shown] == ["G1", "G2", "G3", "G4", "G5"]
    for formula, tag in shown:
        assert formula == sections()[tag].split("$$")[1].strip()


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= {"." * node.level + (node.module or ""), *("." * node.level + alias.name for alias in node.names)}
    return found


def test_import_needs_numpy_alone():
    code = "import sys, numpy; before = {*sys.modules}; import minigru; print(*({*sys.modules} - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    roots = {name.partition(".")[0] for name in result.stdout.split()}
    assert "minigru" in roots
    assert roots - set(sys.stdlib_module_names) - {"minigru", "numpy"} == set()


def test_reference_imports_numpy_only():
    assert imports(PACKAGE / "reference.py") - {"annotations", "Any"} == {"__future__", "typing", "numpy"}


@pytest.mark.parametrize("name", [*LAYERS, "kernels/numpy_kernels.py", "backend.py", "checks.py"])
def test_the_engine_does_not_import_the_reference(name):
    assert not {item for item in imports(PACKAGE / name) if "reference" in item}


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_names_a_backend(name):
    tree = ast.parse((PACKAGE / name).read_text("utf-8"))
    defaults = [d for node in ast.walk(tree) if isinstance(node, ast.arguments) for d in node.defaults]
    named = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value in ("numpy", "cupy")]
    assert [node.lineno for node in named if node not in defaults] == []
    read = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in ("name", "__name__")]
    assert [node.lineno for node in read if ast.unparse(node) != "type(owner).__name__"] == []
    assert not {item for item in imports(PACKAGE / name) if "cupy" in item or "kernels" in item}


def host_only(node: ast.AST) -> bool:
    """Whether a use of np in a layer belongs to the host: random numbers, types, and answers given to the user."""
    return isinstance(node, ast.FunctionDef) and node.name in ("__init__", "set", "uniform", "predict_proba")


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_computes_with_numpy(name):
    tree = ast.parse((PACKAGE / name).read_text("utf-8"))
    allowed = {id(inner) for node in ast.walk(tree) if host_only(node) for inner in ast.walk(node)}
    annotations = {"ndarray", "random", "Generator"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
            assert id(node) in allowed or node.attr in annotations, f"{name}:{node.lineno} uses np.{node.attr}"


def functions(name: str) -> dict[str, str]:
    tree = ast.parse((PACKAGE / "kernels" / name).read_text("utf-8"))
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {node.name: re.sub(r": \w+", "", ast.unparse(node.args)) for node in defined}


def test_both_kernel_modules_have_the_same_functions_and_arguments():
    assert functions("numpy_kernels.py") == functions("cupy_kernels.py")
    assert len(functions("numpy_kernels.py")) == 9


def kernel_calls() -> set[str]:
    trees = [ast.parse((PACKAGE / name).read_text("utf-8")) for name in LAYERS]
    attributes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if ast.unparse(node.value).endswith("kernels")}


def test_every_kernel_is_used_and_every_kernel_used_is_there():
    assert kernel_calls() == set(functions("numpy_kernels.py"))


def names_asked_of_cupy() -> set[str]:
    """Return every dotted x in ``xp.x`` and in ``cupy.x``, in the whole package."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                asked = re.fullmatch(r"(?:cupy|(?:[\w.]+\.)?xp)\.([\w.]+)", ast.unparse(node))
                found |= {asked[1]} if asked else set()
    return found


def test_every_name_asked_of_cupy_is_in_the_real_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed; CI has a step that installs it")
    asked = names_asked_of_cupy()
    assert {"matmul", "empty", "ndarray", "ElementwiseKernel", "cuda.runtime.driverGetVersion"} <= asked
    missing = []
    for name in sorted(asked):
        try:
            operator.attrgetter(name)(cupy)
        except AttributeError:
            missing.append(name)
    assert missing == []
