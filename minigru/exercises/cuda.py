"""Exercises in the CUDA source of the engine, compiled by g++ for a CPU as the tests of the repository do."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .. import reference
from ..engine import kernels
from .exercise import Exercise
from .trace import Env
from .verdicts import TOLERANCE, Unfinished, Verdict
from .words import HINTS, TASKS

LEVEL = "Builds: on a GPU, without one"
SOURCE = resources.files(kernels).joinpath("gru_persistent.cu").read_text("utf-8")
BARRIER = "__syncthreads();"
TOOL = Path(__file__).parents[2] / "tests" / "cuda_on_cpu.py"
ORDERS = 4  # of the threads: forward, backward, and two at random
STORED = "            rc[i] = rc_all[s][j] = r * c_prev;  // (G3)\n        }\n"
EARLY = "            from_x_c = c_tilde[i];\n        }\n"
ROW = "threadIdx.x / GROUP * ROWS + row"


def cuda_exercises() -> list[Exercise]:
    """Return the builds in CUDA."""
    missing = SOURCE.replace(f"{STORED}        {BARRIER}\n", STORED)
    more = SOURCE.replace(EARLY, f"{EARLY}        {BARRIER}\n")
    moved = ROW.replace(" * ROWS + row", " + row * SLICES")
    solved = SOURCE.replace(ROW, moved).replace("slice * ROWS + row", "slice + row * SLICES")
    return [
        _of_cuda("barrier", "one barrier is missing: find its place", missing, SOURCE),
        _of_cuda("barriers", "one barrier is not needed: find it", more, SOURCE),
        _of_cuda("tile", "the tiles have moved: let the product follow", SOURCE.replace(ROW, moved), solved, moved),
    ]


def _of_cuda(name: str, what: str, start: str, solution: str, must_have: str = "") -> Exercise:
    command = f"Change this file. Then run: python -m minigru.exercises {name}"
    words = textwrap.wrap(f"{name}: {TASKS[name]} {command}", 115)
    head, count = "".join(f"// {line}\n" for line in words) + "\n", solution.count(BARRIER)
    grade = partial(_grade, count, must_have)
    return Exercise(name, LEVEL, what, head + start, head + solution, HINTS[name], grade, ".cu")


def _grade(barriers: int, must_have: str, text: str, path: str, given: Env) -> list[Verdict]:
    count = len(re.findall(r"__syncthreads\(\)", re.sub(r"//[^\n]*", "", text)))
    says = f"is {count}" + (f", expected {barriers}" if count != barriers else "")
    verdicts = [Verdict("The number of barriers", count == barriers, says)]
    if must_have not in text:
        raise Unfinished(f"the line of load with `{must_have}` was given and has changed; write it there again")
    tool = _tool()
    try:
        for name, errors in _errors(tool, text).items():
            wrong = sum(not error < TOLERANCE for error in errors)
            says = (
                f"is wrong in {wrong} of {ORDERS} orders of the threads"
                if wrong
                else "is right in whatever order the threads run"
            )
            verdicts.append(Verdict(name, not wrong, says))
    except SyntaxError as error:
        raise Unfinished(f"g++ does not compile it: {_first_error(str(error))}") from None
    except RuntimeError as error:
        raise Unfinished(str(error)) from None
    return verdicts


def _tool() -> Any:
    """Return the module that compiles CUDA for a CPU.

    Raises
    ------
    Unfinished
        It is not there, or has no compiler.
    """
    if not TOOL.exists():
        raise Unfinished("this exercise needs the tests folder of the repository, and this package is without it")
    spec = importlib.util.spec_from_file_location("cuda_on_cpu", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    if tool.missing:
        raise Unfinished(tool.missing)
    return tool


def _first_error(text: str) -> str:
    found = re.search(r"kernel\.cpp:\d+:\d+: error: (.*)", text)
    return found[1] if found else text.strip().splitlines()[0]


def _errors(tool: Any, code: str, T: int = 3, B: int = 3, D: int = 2, H: int = 33) -> dict[str, list[float]]:
    """Return for each array that the kernels write the relative errors, one for each order of the threads."""
    rng = np.random.default_rng(0)
    p = {f"W_{k}": rng.standard_normal((H + D, H)) / np.sqrt(H) for k in "urc"}
    p |= {f"b_{k}": rng.standard_normal(H) for k in "urc"}
    x, c_0, dstates = (rng.standard_normal(shape) for shape in ((T, B, D), (B, H), (T, B, H)))
    states, caches = reference.gru_forward(x, c_0, p)
    _, dc_0, grads = reference.gru_backward(dstates, caches)
    module = tool.RawModule(code, ("-DREAL=double", "-DWIDTH=64", "-DSAMPLES=2", "-DROWS=16", "-DCOLUMNS=2"))
    W = np.stack([np.vstack([p[f"W_{k}"], p[f"b_{k}"]]) for k in "urc"])
    sizes, launch = (*map(np.int32, (T, B, D, H)), np.int64(T * B * H)), ((-(-B // 2),), (128,))
    found: dict[str, list[float]] = {}
    for tool.seed in range(ORDERS):
        shapes = (T + 1, B, H), (T, B, H), (3, T, B, H), (B, H)
        c, rc, dz, dc = (np.full(shape, np.nan) for shape in shapes)
        gates = x @ W[:, None, H:-1] + W[:, None, -1:]
        module.get_function("gru_forward")(*launch, (W, c_0, c, gates, rc, *sizes))
        module.get_function("gru_backward")(*launch, (W, c, gates, rc, None, dstates, dz, dc, *sizes))
        pairs = {"c of gru_forward": (c[1:], states), "dc of gru_backward": (dc, dc_0)}
        pairs |= {f"dz_{k} of gru_backward": (d.sum((0, 1)), grads[f"b_{k}"]) for d, k in zip(dz, "urc", strict=True)}
        for name, (value, right) in pairs.items():
            found.setdefault(name, []).append(float(np.linalg.norm(value - right) / np.linalg.norm(right)))
    return found
