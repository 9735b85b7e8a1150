"""Each tagged line of code has its equation in the documents, each equation its line, and both have one value."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from helpers import ROOT

from minigru import reference

sys.path.append(str(ROOT / "docs" / "_ext"))
from listing import HEADING, TAG, files_with_tags, partnerless, read_equations, read_tags

DOCS, PACKAGE = ROOT / "docs", ROOT / "minigru"
EQUATIONS = read_equations(DOCS)
MATHEMATICS = [tag for tag in EQUATIONS if not tag.startswith("F")]


def test_every_tag_has_one_heading_and_every_heading_a_line_in_the_text_it_belongs_to():
    files = files_with_tags(PACKAGE)
    assert partnerless(files, EQUATIONS) == []
    headings = [tag for page in DOCS.glob("*.md") for tag, *_ in HEADING.findall(page.read_text("utf-8"))]
    assert sorted(headings) == sorted(EQUATIONS)
    in_reference = {tag for tags in files[PACKAGE / "reference.py"].values() for tag in tags}
    assert in_reference == {*MATHEMATICS} >= {"R1", "G1", "dG4"}


HEADED = "### (G1) Half\n\n$$\nx / 2\n$$\n"


@pytest.mark.parametrize(
    ("code", "page", "words"),
    [
        ("y = x / 2  # (G1)\n", HEADED, None),
        ("y = x / 2;  // (G1)\n", HEADED, None),
        ("y = x / 2  # (G1)\nz = g(y)  # (G2)\n", HEADED, r"\(G2\)"),
        ("y = x / 2\n", HEADED, r"\(G1\) Half"),
        ("y = x / 2  # (G1)\n", "### (G1) Half\n\nHalf of x.\n", r"\(G1\) Half"),
    ],
)
def test_a_tag_without_its_partner_is_found(code, page, words, tmp_path):
    suffix = "cu" if "//" in code else "py"
    (tmp_path / f"a.{suffix}").write_text(code)
    (tmp_path / "page.md").write_text(page)
    said = partnerless(files_with_tags(tmp_path), read_equations(tmp_path))
    assert len(said) == (words is not None)
    assert all(re.search(words, sentence) for sentence in said)


def sections() -> dict[str, str]:
    """Return the text under the heading of each tag in equations.md."""
    parts = re.split(r"^##+ ", (DOCS / "equations.md").read_text("utf-8"), flags=re.MULTILINE)
    return {match[1]: part for part in parts if (match := TAG.match(part))}


def quoted_lines(tag: str) -> list[str]:
    """Return the lines of code that a section quotes right after its equation."""
    paragraph = re.search(r"^`.*?(?=\n\n)", sections()[tag], re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`]+)`", paragraph[0])


@pytest.mark.parametrize("tag", MATHEMATICS)
def test_a_section_quotes_the_lines_that_carry_its_tag(tag):
    path = PACKAGE / "reference.py"
    lines = [line.partition("  # ")[0].strip().rstrip(",") for line in path.read_text("utf-8").splitlines()]
    tagged = {lines[number - 1] for number, tags in read_tags(path).items() if tag in tags}
    assert {*quoted_lines(tag)} & {*lines} == tagged


# LaTeX on the left, Python on the right; applied from the first to the last.
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
    (r"(U_\w) (c_prev)|(V_\w) (x)", r'\2\4 @ p["\1\3"]'),
    (r"\+ (b_\w)", r'+ p["\1"]'),
    (r"\^", "**"),
    (r"(?<=[\w)]) (?=[\w(])", " * "),
]
ELEMENTWISE = ["G1", "G2", "G3", "G4", "dG4", "dG3", "dG2", "dG1", "R1", "dR1", "A1", "A2", "A3", "A4", "A5"]
ELEMENTWISE += ["P1", "P2", "P3", "P4", "dP4", "dP2", "dP1"]


def as_python(latex: str) -> str:
    for pattern, python in AS_PYTHON:
        latex = re.sub(pattern, python, latex)
    return latex


@pytest.mark.parametrize("tag", ELEMENTWISE)
def test_an_equation_has_the_value_of_the_line_beside_it(tag, rng):
    lines = dict(line.split(" = ", 1) for line in quoted_lines(tag) if " = " in line)
    names = {*re.findall(r"\b[a-zA-Z]\w*\b", " ".join(lines.values()))}
    values = {name: rng.random((2, 3)) for name in sorted(names)}
    shapes = {"W": (7, 3), "U": (3, 3), "V": (4, 3), "b": (3,)}
    values |= {"x": rng.random((2, 4)), "p": {f"{k}_{g}": rng.random(shapes[k]) for k in "WUVb" for g in "urcakq"}}
    values |= {"np": np, "t": 3, "concat": reference.concat, "sigmoid": reference.sigmoid}
    compared = 0
    for piece in re.split(r"\\qquad", " \\qquad ".join(EQUATIONS[tag].formulas)):
        left, _, right = piece.strip().replace(r"\text{ gets }", "=").partition(" = ")
        name = as_python(left)
        if name in lines:
            expected = eval(lines[name].removeprefix("dc_prev + "), values)
            np.testing.assert_allclose(eval(as_python(right).rstrip(" ,"), values), expected, rtol=1e-12)
            compared += 1
    assert compared == sum("split(" not in line for line in lines.values()) > 0


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.ipynb"])
def test_an_equation_shown_elsewhere_is_that_of_the_page(name):
    text = (ROOT / name).read_text("utf-8")
    if name.endswith(".ipynb"):
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    for formula, tag in re.findall(r"\$\$\n(.*) \\qquad \((\w+)\)\n\$\$", text):
        assert formula == EQUATIONS[tag].formulas[0]
