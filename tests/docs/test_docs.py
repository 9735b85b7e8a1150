"""The documents: their links, their formulas, and the numbers that they promise."""

from __future__ import annotations

import contextlib
import io
import json
import re

import cuda_on_cpu
import numpy as np
import pytest
from helpers import ROOT, run_script

from minigru.engine.kernels import numpy_kernels

TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), TUTORIAL]


def words(page):
    """Return the Markdown of a page or notebook."""
    text = page.read_text("utf-8")
    if page != TUTORIAL:
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown") + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)", words(page)):
        there = page.parent / target if target else page
        assert "://" in target or there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", words(there), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mathematics_is_written_as_github_renders_it(page):
    text = re.sub(r"^```.*?^```$|`[^`]*`", "code", words(page), flags=re.MULTILINE | re.DOTALL)
    block = re.compile(r"(?<=\n\n)\$\$\n[^$]+\n\$\$\n(?=\n|\Z)")  # a blank line before and after
    assert len(block.findall(text)) == text.count("$$") / 2
    for line in block.sub("", text).splitlines():
        pieces = line.split("$")
        assert len(pieces) % 2 == 1, f"a formula within a line ends on it: {line}"
        for before, formula, after in zip(pieces[::2], pieces[1::2], pieces[2::2], strict=False):
            assert formula == formula.strip() != "", line
            assert not re.search(r"\w$", before), line
            assert not re.match(r"\w", after), line
            assert "|" not in formula or not line.startswith("|"), line


def test_the_layer_of_one_s_own_prints_what_the_page_shows():
    page = (ROOT / "docs" / "gradient-checking.md").read_text("utf-8")
    code, shown = re.search(r"```python\n(.*?)```\n+```\n(.*?)```", page, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == shown


def test_step_size_figure_is_made_and_the_errors_are_as_the_page_says(tmp_path):
    result = run_script("plot_step_size.py", "--out", tmp_path / "figure.png")
    assert result.returncode == 0, result.stderr
    smallest = {line[:18].strip(): float(line.split()[-3]) for line in result.stdout.splitlines()[1:4]}
    assert smallest["complex step"] < 1e-15
    assert 1e-11 < smallest["central, float64"] < 1e-8
    assert 1e-5 < smallest["central, float32"] < 1e-3
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_limits_of_what_is_flushed_to_zero_are_those_of_the_page():
    below, above = np.float32(-(2.0**-100)), np.float32(2.0**-99)
    outside = np.nextafter([below, above], np.float32([-1, 1]))
    d = np.concatenate([[below, above], outside])
    numpy_kernels.flush(d)
    assert [*(d == 0)] == [True, True, False, False]


@pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))
def test_the_kernel_for_readers_of_numpy_multiplies_and_needs_its_barrier(rng, monkeypatch):
    page = (ROOT / "docs" / "gpu.md").read_text("utf-8")
    code = re.search(r"```cuda\n(.*?)```", page, re.DOTALL)[1]
    x, W = rng.random((3, 64), "float32"), rng.random((64, 64), "float32")
    for order in range(3):
        monkeypatch.setattr(cuda_on_cpu, "seed", order)
        for source, right in ((code, True), (code.replace("__syncthreads();", ""), False)):
            y = np.empty_like(x)
            cuda_on_cpu.RawModule(source, ()).get_function("product")((3,), (64,), (x, W, y))
            assert np.allclose(y, x @ W) == right
