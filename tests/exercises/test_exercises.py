"""Each exercise can be solved, none is right before; the command says in one sentence what it cannot grade."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import cuda_on_cpu
import numpy as np
import pytest
from calling import assert_one_sentence, call
from helpers import ROOT

from minigru.exercises import __main__ as command
from minigru.exercises import check, cuda, derivation
from minigru.exercises.apart import grade_apart
from minigru.exercises.catalogue import answer, exercises, find
from minigru.exercises.report import grade
from minigru.exercises.source import FUNCTIONS, tags_of
from minigru.reference import *  # noqa: F403  what a notebook has imported

EXERCISES = exercises()
needs_compiler = pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))
NAMES = [pytest.param(name, marks=needs_compiler if e.suffix == ".cu" else ()) for name, e in EXERCISES.items()]


def run(*arguments):
    return call(SimpleNamespace(__name__="exercises", main=command.main), "--timeout", 60, *arguments)


def test_every_tag_of_the_reference_has_an_exercise():
    tags = {tag for function in FUNCTIONS for tag in tags_of(function)}
    assert {find(tag).name for tag in tags} == {*EXERCISES} & tags == tags - {"G5"}  # (G5) is on the line of (G4)
    assert {"R1", "dGW", "A5", "bptt", "peephole"} <= {*EXERCISES}


@pytest.mark.parametrize("name", NAMES)
def test_the_original_lines_are_right_and_the_blank_ones_are_not(name):
    exercise = EXERCISES[name]
    report = grade(exercise, exercise.solution, f"{name}{exercise.suffix}")
    assert report.right, report
    begun = grade(exercise, exercise.start + "\n", f"{name}{exercise.suffix}")
    assert not begun.right
    assert not grade(exercise, exercise.start, "").verdicts
    assert answer(exercise)
    assert exercise.hint
    assert max(map(len, exercise.start.splitlines())) <= 120


def solved(name, *changes):
    """Return the solution of an exercise with something else in it."""
    text = EXERCISES[name].solution
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


LINE = "c = gamma_u * c_tilde + (1 - gamma_u) * c_prev"
BAD = {
    "another shape": (solved("G4", (LINE, "c = gamma_u.T")), r"c is wrong: its shape is \(5, 3\), expected"),
    "None": (solved("G4", (LINE, "c = None")), "c is None; expected an array"),
    "a text": (solved("G4", (LINE, "c = 'c'")), r"c is a str; expected an array of shape \(3, 5\)"),
    "NaN": (solved("G4", (LINE, "c = np.nan * c_prev")), "c is wrong: it has NaN"),
    "nothing": (solved("G4", (LINE, "pass")), "^Nothing is filled in yet.$"),
    "another constant": (solved("G4", (LINE, f"{LINE[:4]}3 * ({LINE[4:]})")), "it is 3 times the right value"),
    "a given line": (solved("G4", ('p["b_c"]', "0")), r"The line `c_tilde = .*` of gru_cell was given and has changed"),
    "another function": ("def f():\n    pass\n", "The function gru_cell is missing"),
    "no Python": ("def gru_cell(:\n", r"Line 1: this is not Python \(invalid syntax\)"),
    "an exit": (solved("G4", (LINE, "raise SystemExit")), "Your file ends the program"),
    "a fault": (
        solved("G4", (LINE, "c = gamma_u @ c_tilde")),
        r'(?s)File "own.py", line \d+, in <module>\n.*Your code raises ValueError',
    ),
    "in helper": (
        solved("G4", (LINE, "c = helper()")) + "\ndef helper():\n    return unknown\n",
        r'(?s)in helper\n.*NameError: name .unknown. is not defined\nYour code raises NameError',
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_solution_is_a_sentence_and_its_own_traceback(what):
    text, words = BAD[what]
    report = grade(EXERCISES["G4"], text, "own.py")
    said = "\n".join(report.lines())
    assert not report.right
    assert re.search(words, said), said
    assert "minigru/exercises" not in said.replace("\\", "/")


def test_other_ways_to_write_a_right_line_are_right():
    loop = "np.array([d * m for d, m in zip(drc, c_prev)])"
    text = solved(
        "dG3",
        ("dc_prev = dc_prev + drc * gamma_r", "dc_prev += drc * gamma_r"),
        ("    dz_c = dc_tilde * (1", "    slope = (1"),
        ("    drc, dx = split(", "    dz_c = dc_tilde\n    dz_c = dz_c * slope\n    both = split("),
        ("    dgamma_r = drc * c_prev", f"    drc = both[0]; dx = both[1]\n    dgamma_r = {loop}"),
    )
    assert grade(EXERCISES["dG3"], text, "own.py").right


def test_a_name_is_graded_with_the_right_values_before_it():
    text = solved("dG3", ("dz_c = dc_tilde *", "dz_c = dc *"))
    verdicts = grade(EXERCISES["dG3"], text, "own.py").verdicts
    assert [verdict.name for verdict in verdicts if not verdict.right] == ["dz_c"]


def test_the_names_before_a_fault_are_graded():
    text = solved("dG3", ("dc_tilde * (1", "dc * (1"), ("dgamma_r = drc * c_prev", "dgamma_r = drc @ c_prev"))
    said = "\n".join(grade(EXERCISES["dG3"], text, "own.py").lines())
    assert re.search(r"(?s)^dz_c is wrong.*`dc` in place.*drc is right.*Traceback.*raises ValueError\.$", said), said


def test_the_complex_step_finds_what_the_values_do_not_show():
    report = grade(EXERCISES["G4"], solved("G4", (LINE, LINE.replace("c_prev", "c_prev.real"))), "own.py")
    assert [verdict.name for verdict in report.verdicts if not verdict.right] == ["The complex step"]
    report = grade(
        EXERCISES["R1"], solved("R1", ("a = np.tanh(", "a = np.real(np.tanh("), ('p["b_a"])', 'p["b_a"]))')), ""
    )
    assert "is f analytic" in str(report.verdicts[-1])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import time\ntime.sleep(60)\n", "has not ended after 1 seconds"),
        ("import os\nos._exit(3)\n", r"ended Python itself \(exit status 3\)"),
        ("print('here', end='')\ninput()\n", "(?s)Your file printed:\nhere\n.*EOFError"),
        ("print('x' * 9999)\n", r"(?s)^Your file printed:\nx{2000}\nc is right.*The complex step agrees"),
    ],
)
def test_a_solution_that_hangs_crashes_or_prints_is_graded_apart(code, words, tmp_path):
    path = tmp_path / "G4.py"
    path.write_text(solved("G4", ("import numpy as np\n", f"import numpy as np\n{code}")))
    assert re.search(words, "\n".join(grade_apart(EXERCISES["G4"], path, timeout=1 if "sleep" in code else 60).lines()))


def grade_here(exercise, path, timeout):
    return grade(exercise, path.read_text("utf-8"), str(path))


def test_the_command_from_the_list_to_the_next_exercise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "exercises" / "R1.py"
    assert "[ ] R1 " in run().stdout
    assert not own.parent.exists()
    written = run("r1")
    assert (written.returncode, own.read_text()) == (0, EXERCISES["R1"].start)
    own.write_text(EXERCISES["R1"].start + "# edited\n")
    assert run("R1").returncode == 1
    assert own.read_text().endswith("# edited\n")
    assert "[-] R1 " in run().stdout
    own.write_text(EXERCISES["R1"].solution)
    right = run("R1")
    assert right.returncode == 0, right.stdout
    for words in ("a is right", "(R1) Activation", "    a = np.tanh(", "Next: python -m minigru.exercises G1"):
        assert words in right.stdout
    assert "[x] R1 " in run().stdout
    monkeypatch.setattr(command, "grade_apart", grade_here)
    (own.parent / "G1.py").write_text(EXERCISES["G1"].start)
    checked = run("--check")
    assert (checked.returncode, checked.stdout.split()) == (1, ["R1", "right", "G1", "not", "right"])
    reports = json.loads(run("--json").stdout)
    assert [(report["exercise"], report["right"]) for report in reports] == [("R1", True), ("G1", False)]
    assert reports[0]["verdicts"][0] == {"name": "a", "right": True, "says": "is right (exactly)", "slip": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["G99"], "'G99' is not an exercise"),
        (["--hint"], "need the name of an exercise"),
        (["G1", "--timeout", "0"], "'0' is not a number of seconds above 0"),
        (["--check"], "there is no exercise in exercises"),
        (["G1", "--dir", "file"], "file"),
        (["--dir", "damaged"], "progress.json is not a list of exercises; remove it"),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "progress.json").write_text("[")
    assert_one_sentence(run(*arguments), 2, words)


def test_a_folder_that_cannot_be_written_is_graded_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "grade_apart", grade_here)
    (tmp_path / "R1.py").write_text(EXERCISES["R1"].solution)
    assert run("R1", "--json", "--dir", tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["R1.py"]
    (tmp_path / "progress.json.tmp").mkdir()
    monkeypatch.setattr(command, "note", lambda *_: (tmp_path / "progress.json.tmp").write_text(""))
    graded = run("R1", "--dir", tmp_path)
    assert (graded.returncode, "R1 is right" in graded.stdout) == (0, True)
    assert "your progress cannot be noted: Is a directory" in graded.stderr


def test_hint_and_solution_are_printed_and_a_missing_file_is_not_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "tanh' = 1 - tanh^2" in run("dG3", "--hint").stdout
    assert run("dG3", "--solution").stdout.count("# (dG3)") == 4
    assert run("barrier", "--solution").stdout.count("+        __syncthreads();") == 1
    missing = run("G1", "--check")
    assert (missing.returncode, "is not there" in missing.stdout) == (1, True)
    assert [*tmp_path.iterdir()] == []


def test_without_the_repository_the_derivation_has_an_address_and_cuda_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(derivation, "DOCS", tmp_path)
    monkeypatch.setattr(cuda, "TOOL", tmp_path / "no.py")
    assert derivation.derivation("dG3") == (
        "The derivation is in docs/equations.md of minigru's repository, under (dG3)."
    )
    report = grade(EXERCISES["barrier"], EXERCISES["barrier"].solution, "")
    assert report.problem == "this exercise needs the tests folder of the repository, and this package is without it"


@needs_compiler
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("__syncthreads();", "__syncthreads()"), "G.. does not compile it"),
        (("r * c_prev;", "r * c_prev; __syncthreads();"), "ome threads of gru_forward wait at a barrier that"),
        (("r * c_prev;", "r;"), r"c of gru_forward is wrong in 4 of 4 orders"),
    ],
)  # fmt: skip
def test_a_kernel_that_cannot_run_or_is_wrong_is_a_sentence(change, words):
    report = grade(EXERCISES["barrier"], solved("barrier", change), "")
    assert re.search(words, "\n".join(report.lines()))


def gru_cell(x, c_prev, p, inside=1.0):  # as a cell of a notebook has it
    gamma_u = inside * sigmoid(concat(c_prev, x) @ p["W_u"] + p["b_u"])  # noqa: F405
    gamma_r = sigmoid(concat(c_prev, x) @ p["W_r"] + p["b_r"])  # noqa: F405
    c_tilde = np.tanh(concat(gamma_r * c_prev, x) @ p["W_c"] + p["b_c"])  # noqa: F405
    return gamma_u * c_tilde + (1 - gamma_u) * c_prev, None


def test_a_function_of_a_notebook_is_graded(capsys):
    assert check("gru_cell", gru_cell)
    assert capsys.readouterr().out.endswith("gru_cell is right.\n")
    with pytest.raises(ValueError, match="'G0' is not an exercise"):
        check("G0", gru_cell)
    with pytest.raises(ValueError, match="has no source text"):
        check("gru_cell", len)


def test_a_fault_in_a_notebook_is_shown_at_its_own_line(capsys, tmp_path):
    cell = tmp_path / "cell.py"
    cell.write_text(solved("G4", (LINE, "c = gamma_u @ c_tilde")))
    given: dict = {}
    exec(compile(cell.read_text(), str(cell), "exec"), given)
    assert not check("G4", given["gru_cell"])
    assert re.search(r"line \d+, in <module>\n +c = gamma_u @ c_tilde", capsys.readouterr().out)


def test_a_slip_is_named_beside_a_gradient_that_is_missing():
    text = solved("peephole", (' + dz_u * p["v_u"]', ""), ('        "v_u": (dz_u * c_prev).sum(axis=0),\n', ""))
    said = {verdict.name: str(verdict) for verdict in grade(EXERCISES["peephole"], text, "own.py").verdicts}
    assert 'without the term `dz_u * p["v_u"]`' in said["dc_prev"]
    assert said['grads["v_u"]'] == 'grads["v_u"] is not filled in yet.'


@pytest.mark.parametrize("tag", [exercise.tag for exercise in EXERCISES.values() if exercise.tag])
def test_a_derivation_in_the_terminal_has_no_latex(tag):
    assert not re.search(r"\\|\$", derivation.derivation(tag))


def test_the_page_shows_what_the_command_prints():
    page = (ROOT / "docs" / "exercises.md").read_text("utf-8")
    shown = re.search(r"```\n(dgamma_u .*?)\n```", page, re.DOTALL)[1]
    text = solved("dG4", ("dc * (c_tilde - c_prev)", "dc * c_tilde"), ("dc_prev = dc * (1 - gamma_u)", "dc_prev = ..."))
    assert "\n".join(grade(EXERCISES["dG4"], text, "own.py").lines()) == shown
