"""Every slip of the catalogue of `tests/gradcheck` is named as that slip, and those of the other layers too."""

from __future__ import annotations

import ast
import inspect
import re
import sys

import pytest
from helpers import ROOT

from minigru.exercises.catalogue import exercises
from minigru.exercises.report import grade

sys.path.append(str(ROOT / "tests" / "gradcheck"))
import slips

NAMED = {  # how the catalogue calls a slip, and how a reader is told of it
    r"left at zero": r"zero everywhere",
    r"a thousandth too long": r"1\.001 times the right value",
    r"the old memory forgotten": r"without the term `c_prev`",
    r"the sign": r"with the wrong sign",
    r"= in place of \+=": r"`=` in place of `\+=`|without the term `\w+ \+ \w+`",
    r"the way through the (reset|update) gate forgotten": r"without the term `(drc \* gamma_r|d\w+_[ru])`",
    r"the factor (.+) forgotten": r"without the factor `\1`",
    r"the slope of (tanh|sigmoid) forgotten": r"without the factor `(1 - c_tilde ?\*\* ?2|gamma_. and|gamma_.` and)",
    r"the slope of tanh without its square": r"without the square of `c_tilde`",
    r"the slope of sigmoid without (.+)": r"without the factor `\1`",
    r"the slope of sigmoid": r"the slope of sigmoid in place of that of tanh",
    r"the slope of tanh": r"the slope of tanh in place of that of sigmoid",
    r"the slope of the wrong gate|the wrong gate": r"`gamma_[ur]` in place of `gamma_[ur]`",
    r"a missing transpose": r"without the transpose of `p\[\"W_.\"\]`",
    r"the weights of the wrong gate": r"`p\[\"W_.\"\]` in place of `p\[\"W_.\"\]`",
    r"c_prev in place of gamma_r \* c_prev": r"without the factor `gamma_r`",
    r"dz of the wrong gate": r"`dz_r` in place of `dz_u`",
    r"the mean over the batch, not the sum": r"the mean over the batch in place of the sum",
    r"the sum over the batch forgotten": r"without the sum over the batch",
    r"\[(.+)\] in place of \[(.+)\]": r"\[\1\] in place of \[\2\]",
    r"(.+) in place of (.+)": r"`\1` in place of `\2`",
}


def written() -> list[tuple[str, str, str, str]]:
    """Return for each slip what it is, its tag, the name, and the right-hand side as a reader would write it."""
    tree = ast.parse(inspect.getsource(slips))
    table = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign) and node.target.id == "LINES")
    right = {
        ast.literal_eval(key): ast.unparse(value.body) for key, value in zip(table.keys, table.values, strict=True)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Slip"]
    args = [call.args for call in calls if isinstance(call.args[1], ast.Constant)]
    rows = [(*map(ast.literal_eval, row[:3]), ast.unparse(row[3].body)) for row in args]
    rows += [("left at zero", *key, f"0 * ({text})") for key, text in right.items()]

    def as_code(text: str) -> str:
        text = re.sub(r"LINES\[(.*?)\]\(v\)", lambda match: right[ast.literal_eval(match[1])], text)
        text = re.sub(r"\bv\.c\b", "(gamma_u * c_tilde + (1 - gamma_u) * c_prev)", text)
        return re.sub(r"\bv\.(W_\w)", r'p["\1"]', text).replace("v.", "")

    return [(what, tag, name, as_code(text)) for what, tag, name, text in rows]


ROWS = written()


def test_the_whole_catalogue_is_here():
    assert [(what, tag, name) for what, tag, name, _ in ROWS] == [(s.what, s.tag, s.name) for s in slips.SLIPS]
    assert len(ROWS) > 60


def said_of(name: str, text: str) -> dict[str, str]:
    """Return what is said of each wrong name."""
    report = grade(exercises()[name], text, "own.py")
    assert report.problem is None, report
    return {verdict.name: str(verdict) for verdict in report.verdicts if not verdict.right}


@pytest.mark.parametrize(("what", "tag", "name", "wrong"), ROWS, ids=[" ".join(row[:3]) for row in ROWS])
def test_a_slip_of_the_catalogue_is_named(what, tag, name, wrong):
    of_sum = tag == "dG1" and name in ("dx", "dc_prev")  # these sums stand in the line that returns
    exercise, key = ("gru_cell_backward" if of_sum else tag), name.removeprefix("d")
    pattern = rf"(?m)(?<=^    {name} = ).*(?=  # \({tag}\))"
    pattern = rf"\b{name} \+ {name}_r \+ {name}_u" if of_sum else pattern
    pattern = rf'(?<="{key}": ).*(?=,  #)' if tag == "dGW" else pattern
    text, count = re.subn(pattern, lambda _: wrong, exercises()[exercise].solution)
    if not count:  # a line that assigns two names
        text = re.sub(rf"(?m)^(    .*\b{name}\b.* = .*\({tag}\))", lambda m: f"{m[1]}\n    {name} = {wrong}", text)
    said = said_of(exercise, text)
    assert [*said] == [f'grads["{key}"]' if tag == "dGW" else name]
    match, words = next((found, words) for p, words in NAMED.items() if (found := re.fullmatch(p, what)))
    for number, group in enumerate(match.groups(), start=1):
        words = words.replace(f"\\{number}", re.escape(group))
    assert re.search(words, *said.values())


OTHERS = [
    ("R1", 'p["b_a"]', "0", "a", 'without the term `p["b_a"]`'),
    ("G2", "sigmoid(concat", "np.tanh(concat", "gamma_r", "with tanh in place of sigmoid"),
    ("G3", "gamma_r * c_prev", "c_prev", "c_tilde", "without the factor `gamma_r`"),
    ("G4", "c_tilde + (1 - gamma_u) * c_prev", "c_prev + (1 - gamma_u) * c_tilde", "c", "`1 - gamma_u` the other way"),
    ("S1", ".real.max(axis=1", ".real.max(axis=0", "s", "with the other axis"),
    ("S3", " / len(y)", "", "loss", "without the division by `len(y)`"),
    ("dS", "- y", "", "result", "without the term `y`"),
    ("dL1", "dy.sum(axis=0)", "dy.mean(axis=0)", 'grads["b"]', "the mean over the batch"),
    ("dRW", "concat(a_prev, x)", "concat(a, x)", 'grads["W_a"]', "`a` in place of `a_prev`"),
    ("A2", "g**2", "g", "v", "without the square of `g`"),
    ("A3", "beta1**t", "beta1", "m_hat", "without the power `t`"),
    ("A4", "beta2**t", "beta1**t", "v_hat", "with `beta1` in place of `beta2`"),
    ("A5", "theta - lr", "theta + lr", "theta", "with the wrong sign"),
    ("bptt", "dstate_t + dstate", "dstate_t", "dc_0", "without the term `dstate`, in the line of `dx_t`"),
    ("bptt", "dx[::-1]", "dx", "dx", "without `[::-1]`, in the line of what is returned"),
    ("bptt", "total.get(name, 0) + grad", "grad", 'grads["W_u"]', "without the term `total.get(name, 0)`"),
    ("peephole", ' + dz_u * p["v_u"]', "", "dc_prev", 'without the term `dz_u * p["v_u"]`, in the line of `dc_prev`'),
    ("reset_after", "dz_c * from_memory", "dz_c * c_prev", "dx", "`c_prev` in place of `from_memory`"),
    ("two_layers", "dstates=dmiddle", "dstates=dstates", "dx", "`dstates` in place of `dmiddle`"),
    ("in_place", "np.subtract(c_tilde, c_prev", "np.subtract(c_prev, c_tilde", "c", "the other way round"),
]


@pytest.mark.parametrize(
    ("exercise", "right", "wrong", "name", "words"), OTHERS, ids=[f"{r[0]} {r[4]}" for r in OTHERS]
)
def test_a_slip_elsewhere_is_named(exercise, right, wrong, name, words):
    text = exercises()[exercise].solution
    place = text.rindex(right)
    said = said_of(exercise, text[:place] + wrong + text[place + len(right) :])
    assert words in said[name], said
