"""The exercises that come from the tags of `minigru.reference`, one for each."""

from __future__ import annotations

import ast
import re
import textwrap
from functools import partial

import numpy as np

from .exercise import Exercise, own_function
from .grade import grade_tag, regions
from .inputs import SIZES
from .oracle import by_complex_step
from .source import FUNCTIONS, LINES, blanked, imports, lines_of, names, on_paper, tagged, tags_of
from .trace import Env, trace
from .verdicts import Verdict
from .words import BACKWARD, FORWARD, HINTS, IN_WORDS, OF_RESET, OF_SLOPES, OF_TERMS, OF_WEIGHTS

PRODUCT = re.compile(r"\b[UVW](_\w)? ")  # a weight and what it multiplies, on paper
LEVELS = {  # the functions in the order in which one learns them; those of a new cell come after these
    "rnn_cell": "Forward: the plain RNN",
    "gru_cell": "Forward: the GRU",
    "linear": "Forward: from a memory to scores",
    "softmax_cross_entropy": "Forward: from scores to a loss",
    "linear_backward": "Backward: the linear layer",
    "softmax_cross_entropy_backward": "Backward: the loss",
    "rnn_cell_backward": "Backward: the plain RNN",
    "gru_cell_backward": "Backward: the GRU",
    "gru_after_cell": "Forward: the GRU of PyTorch",
    "gru_after_cell_backward": "Backward: the GRU of PyTorch",
}


def by_tag() -> list[Exercise]:
    """Return one exercise for each line or group of lines that carry one tag, in order."""
    order = [*LEVELS, *(name for name in FUNCTIONS if name not in (*LEVELS, "adam")), "adam"]
    found = []
    for function in order:
        lines: list[list[int]] = []
        tags = tags_of(function)
        for tag in tags if function.endswith("_backward") else sorted(tags):  # (G6) stands before (G2) in the code
            if tags[tag] not in lines:  # (G5) stands on the line of (G4)
                lines.append(tags[tag])
                found.append(_of_tag(function, tag))
    return found


def _of_tag(function: str, tag: str) -> Exercise:
    statements = tagged(function, tag)
    assigned = [name for statement in statements for name in _names_of(statement)]
    head = f'"""({tag}): {", ".join(assigned)} in `{function}`.\n\n'
    head += f"Replace each `...` in a line that ends with ({tag}). Then run: python -m minigru.exercises {tag}\n\n"
    head += f'{_equations(function, tag)}\n{_shapes(function, statements)}"""\n\n{imports(function)}\n\n'
    solved = "\n".join(LINES[number - 1] for number in lines_of(FUNCTIONS[function])) + "\n"
    summary = (ast.get_docstring(FUNCTIONS[function]) or function).partition("\n")[0].rstrip(".")
    level = "Adam" if function == "adam" else LEVELS.get(function, summary)
    hint = HINTS.get(tag, "Differentiate the equation in the head of the file, one symbol at a time.")
    start = head + blanked(function, tag)
    grade = partial(_grade_tag, function, tag)
    return Exercise(tag, level, ", ".join(assigned), start, head + solved, hint, grade, tag=tag)


def _names_of(statement: ast.stmt) -> list[str]:
    value = getattr(statement, "value", None)
    if isinstance(value, ast.Dict):
        return [f"d{ast.literal_eval(key)}" for key in value.keys if key is not None]
    return ["what is returned"] if isinstance(statement, ast.Return) else names(statement)


def _equations(function: str, tag: str) -> str:
    """Return the equations that a tag is derived from: its own, or those of the forward pass."""
    forward, own = function.removesuffix("_backward"), tag.removeprefix("d")
    tags = [tag] if forward == function else [own] if own in tags_of(forward) else [*tags_of(forward)]
    equations: dict[ast.stmt, str] = {}
    for name in tags:
        for statement in tagged(forward, name):
            equations.setdefault(statement, name)  # (G4), not (G5)
    lines: list[str] = []
    for statement, name in equations.items():
        text = IN_WORDS[name] if name in IN_WORDS and forward == function else on_paper(statement)
        lines += textwrap.wrap(f"{text}  ({name})", 112, initial_indent="    ", subsequent_indent="      ")
    text = "\n".join(lines)
    if forward == function:
        return f"The equation:\n\n{text}\n{FORWARD if PRODUCT.search(text) else ''}"
    return f"The forward pass computes:\n\n{text}\n\n{BACKWARD}{_words(text, tagged(function, tag))}"


def _words(text: str, statements: list[ast.stmt]) -> str:
    """Return what a reader needs to know of the names in the equations and in the lines to be written."""
    assigned = {name for statement in statements for name in names(statement)}
    slopes = re.findall(r"(tanh|sigmoid)\(.*?([VW])_(\w)", text)
    more = ", and so on" if len(slopes) > 1 else ""
    said = [OF_SLOPES.format(z=f"z_{letter}", f=f, W=f"{W}_{letter}", more=more) for f, W, letter in slopes[:1]]
    said += [OF_RESET] if "drc" in assigned else []
    said += [OF_TERMS] if any(name.startswith("dx_") for name in assigned) else []
    lines = textwrap.wrap(" ".join(said), 120) + ([OF_WEIGHTS] if PRODUCT.search(text) else [])
    return "".join(f"{line}\n" for line in lines)


def _shapes(function: str, statements: list[ast.stmt]) -> str:
    """Return a line with the shapes of all arrays that the statements read or assign."""
    size, end = SIZES[0], trace(function, 0)[-1]
    letters = {size[letter]: letter for letter in "TBDHK"} | {size["H"] + size["D"]: "H + D", 1: "1"}
    used = {node.id: end.get(node.id) for s in statements for node in ast.walk(s) if isinstance(node, ast.Name)}
    p, text = used.pop("p", None) or {}, "".join(map(ast.unparse, statements))
    used |= {name: value for name, value in p.items() if repr(name) in text}
    written = [
        f"{name} ({', '.join(letters[n] for n in value.shape)}{',' * (value.ndim == 1)})".replace(" ", "~")
        for name, value in used.items()
        if isinstance(value, np.ndarray) and value.ndim and {*value.shape} <= {*letters}
    ]
    occurring = [letter for letter in "BDHK" if re.search(rf"\b{letter}\b", "".join(written))]
    first = f" The first test has {', '.join(f'{letter}~=~{size[letter]}' for letter in occurring)}."
    lines = textwrap.wrap(f"Shapes: {', '.join(written)}.{first}", 112)  # no name apart from its shape
    return "\n".join(lines).replace("~", " ") + "\n" if written else ""


def _grade_tag(function: str, tag: str, text: str, path: str, given: Env) -> list[Verdict]:
    env, node = own_function(text, path, given, function)
    regions(function, tag, node)
    verdicts = grade_tag(function, tag, node, env, path)
    return verdicts + (by_complex_step(function, env[function]) if all(v.right for v in verdicts) else [])
