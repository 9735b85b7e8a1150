"""The site builds with warnings as errors, and a browser without a network reads every page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers import ROOT

pytest.importorskip("sphinx", reason="Sphinx is not installed: the extra docs brings it")
sys.path.append(str(ROOT / "docs" / "_ext"))
from listing import files_with_tags, read_docstrings, read_units

PACKAGE = ROOT / "minigru"
TAGGED = {path.relative_to(PACKAGE).as_posix(): tags for path, tags in files_with_tags(PACKAGE).items()}


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages of a folder, without anything from an earlier build."""
    command = [sys.executable, "-m", "sphinx", "-W", "-E", "-q", "-d", str(out / "doctrees"), "-b", "html"]
    return subprocess.run([*command, str(docs), str(out)], capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    result = build(ROOT / "docs", out)
    assert (result.returncode, result.stderr) == (0, "")
    return out


class Anchors(HTMLParser):
    """The links of a page, and the names that a link can lead to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names |= {found["id"]} if "id" in found else set()
        self.links += [found[key] for key in ("href", "src") if found.get(key)]


def test_every_link_leads_somewhere_and_a_link_to_the_code_to_its_page(site):
    pages = {path: Anchors(path) for path in site.rglob("*.html")}
    broken = []
    for path, found in pages.items():
        for link in found.links:
            target, _, name = unquote(link).partition("#")
            if "://" in target or target.startswith(("data:", "mailto:")):
                continue
            there = (path.parent / target.partition("?")[0]).resolve() if target else path
            state = "=" in name  # of the page with the demo, not a place in it
            if not there.exists() or (name and not state and name not in pages[there].names):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []
    assert [*site.glob("_downloads/*/reference.py")] == []


# A formula that begins left of what can be scrolled to.
CUT_OFF = """() => [...document.querySelectorAll("div.math")].filter((box) =>
  [...box.children].some((part) => part.getBoundingClientRect().left < box.getBoundingClientRect().left - 1)).length"""


def test_no_page_asks_for_the_network_fails_or_is_wider_than_a_phone(site, page):
    page.set_viewport_size({"width": 390, "height": 844})
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert page.locator("merror").count() == 0, path
        assert page.evaluate(CUT_OFF) == 0, path
    assert page.complaints == []
    assert {url.partition(":")[0] for url in page.asked} <= {"file", "data"}


def formulas(html: str) -> list[str]:
    """Return the markup of the formulas that a piece of a page begins with."""
    block = r'\s*<div class="math-wrapper[^>]*>\s*<div class="math">((?:<math.*?</math>)+)</div>\s*</div>'
    return re.findall(block, re.match(rf"(?:{block})*", html)[0])


HOLES = """() => {
  const lines = [...document.querySelectorAll(".row .line")].filter((line) => line.checkVisibility());
  return lines.slice(1).filter((line, i) => lines[i].closest("section") === line.closest("section") &&
    line.getBoundingClientRect().top - lines[i].getBoundingClientRect().bottom > 100).map((line) => line.id);
}"""


def assert_begins_at_the_first_equation_without_docstrings_and_without_holes(name, page):
    """The page shows what is worth reading beside equations, and folds the rest."""
    assert page.evaluate(HOLES) == []
    visible = "lines => lines.filter(line => line.checkVisibility()).map(line => +line.dataset.line)"
    lines, units = page.locator(".line").evaluate_all(visible), read_units(PACKAGE / name)
    first = min(TAGGED[name])
    assert lines[0] == next(unit.first for unit in units if unit.first <= first <= unit.last)
    for start, end in read_docstrings(PACKAGE / name).items():
        assert not {*range(start + 1, end + 1)} & {*lines}


@pytest.mark.parametrize("name", TAGGED)
def test_every_line_is_shown_and_beside_a_tag_stands_the_equation_of_its_derivation(name, site, page):
    path = site / "code" / f"{name}.html"
    html, lines = path.read_text("utf-8"), (PACKAGE / name).read_text("utf-8").splitlines()
    page.goto(path.as_uri())
    assert_begins_at_the_first_equation_without_docstrings_and_without_holes(name, page)
    texts = page.locator(".line").evaluate_all("lines => lines.map(line => [+line.dataset.line, line.textContent])")
    assert {number: text.rstrip() for number, text in texts if text.strip()} == {
        number: line.rstrip() for number, line in enumerate(lines, start=1) if line.strip()
    }
    links = page.evaluate(
        """() => [...document.querySelectorAll(".line a")].map(a => [
          +a.closest(".line").dataset.line, a.dataset.tags,
          document.getElementById(a.getAttribute("href").slice(1)).dataset.tags, a.ariaLabel])"""
    )
    expected = [(line, tag, tag) for line, tags in TAGGED[name].items() for tag in tags]
    assert [tuple(link[:3]) for link in links] == expected
    assert all(label for *_, label in links)

    head = r'<div class="equation" id="[^"]+" data-tags="(\w+)"><p>.*?class="derivation" href="([^"#]+)#([^"]+)".*?</p>'
    found = [*re.finditer(head, html)]
    assert {match[1] for match in found} == {tag for _, tag, _ in expected}
    shown, last = defaultdict(list), {match[1]: match for match in found}
    for match in found:
        tag, target, place = match.groups()
        there = path.parent.joinpath(target).resolve().read_text("utf-8")
        title, after = re.search(rf'<section id="{place}">\s*<h3>(.*?)<a .*?</h3>(.*)', there, re.DOTALL).groups()
        assert title.startswith(f"({tag}) ")
        assert formulas(after) or tag.startswith("F"), tag
        shown[tag] += [formulas(html[match.end() :])]
        assert shown[tag][-1] in ([], formulas(after)), tag
        assert formulas(after) in shown[tag] or match != last[tag], tag


@pytest.mark.parametrize(
    ("name", "tag", "result", "helpers"),
    [
        ("engine/kernels/numpy_kernels.py", "G3", "gru-memory-G3", ["gru-gates-G3"]),
        ("engine/gru.py", "G1", "forward-G1", []),
    ],
)
def test_a_formula_stands_where_its_result_is_computed_and_not_at_a_helper(name, tag, result, helpers, site, page):
    page.goto((site / "code" / f"{name}.html").as_uri())
    shown = page.locator(f'.equation[data-tags="{tag}"]:has(math)').evaluate_all("all => all.map(e => e.id)")
    assert shown == [result]
    for helper in helpers:
        assert page.locator(f"#{helper}").count() == 1


def test_the_tutorial_is_a_page_with_its_code_its_outputs_and_its_figures(site, page):
    page.goto((site / "tutorial.html").as_uri())
    cells = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text("utf-8"))["cells"]
    code = []
    for cell in cells:
        text = "".join(cell["source"])
        solutions = re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)
        code += [text.rstrip()] if cell["cell_type"] == "code" else solutions
    blocks = page.locator("div.highlight-python pre").evaluate_all("all => all.map(e => e.textContent.trimEnd())")
    assert blocks == code
    figures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))
    assert page.locator('article img[alt^="The figure"]').count() == figures > 0


def lines_with(tag: str) -> set[str]:
    return {f"L{number}" for number, tags in TAGGED["reference.py"].items() if tag in tags}


def test_a_mouse_or_a_key_on_one_side_marks_the_other_and_a_wide_window_has_both_side_by_side(site, page):
    def marked() -> set[str]:
        return {*page.locator(".marked").evaluate_all("all => all.map(e => e.id || e.dataset.tags)")}

    page.goto((site / "code" / "reference.py.html").as_uri())
    page.hover("#gru-cell-backward-dG3 math >> nth=0")
    assert marked() == {"gru-cell-backward-dG3"} | lines_with("dG3")
    (line,) = lines_with("G3")
    page.hover(f"#{line}")
    assert marked() == {line, "gru-cell-G3"}
    page.locator("#gru-cell-G2 .derivation").focus()
    assert marked() == {"gru-cell-G2"} | lines_with("G2")
    page.keyboard.press("Tab")  # from the equation to its line of code
    page.keyboard.press("Enter")
    assert page.url.endswith("#gru-cell-G2")
    boxes = "[...document.querySelector('.row.tagged').children].map(e => e.getBoundingClientRect())"
    equation, code = page.evaluate(boxes)
    assert equation["bottom"] <= code["top"]
    page.set_viewport_size({"width": 1800, "height": 900})
    equation, code = page.evaluate(boxes)
    assert equation["right"] <= code["left"]
    assert equation["top"] == code["top"]


LOWEST_CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) =>
    sum + weight * (rgb[i] <= 10 ? rgb[i] / 3294.6 : ((rgb[i] / 255 + 0.055) / 1.055) ** 2.4), 0);
  const ground = (element) => {
    const [r, g, b, alpha = 1] = parts(getComputedStyle(element).backgroundColor);
    return alpha || !element.parentElement ? [r, g, b] : ground(element.parentElement);
  };
  const contrast = (element) => {
    const both = [parts(getComputedStyle(element).color), ground(element)].map(luminance);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  };
  return Math.min(...[...document.querySelectorAll(".row *")].filter((e) => e.innerText?.trim()).map(contrast));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_and_equations_have_the_contrast_of_wcag_marked_or_not(scheme, site, page):
    page.emulate_media(color_scheme=scheme)
    page.goto((site / "code" / "reference.py.html").as_uri())
    assert page.evaluate(LOWEST_CONTRAST) >= 4.5
    page.evaluate("document.querySelectorAll('.row [data-tags]').forEach(e => e.classList.add('marked'))")
    assert page.evaluate(LOWEST_CONTRAST) >= 4.5


CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "docs" / "_ext")!r})
extensions = ["myst_parser", "mathml", "beside"]
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"
"""


@pytest.mark.parametrize(
    ("code", "formula", "words"),
    [("y = f(2)  # (G2)\n", "1", "(G2) has no heading"), ("y = f(2)  # (G1)\n", r"\half{1}", r"equations.md:")],
)
def test_a_tag_without_a_partner_or_a_wrong_formula_ends_the_build(code, formula, words, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "minigru").mkdir()
    (tmp_path / "minigru" / "a.py").write_text(code)
    (docs / "conf.py").write_text(CONF)
    (docs / "equations.md").write_text(f"# Equations\n\n## All\n\n### (G1) Half\n\n$$\n{formula}\n$$\n")
    (docs / "index.rst").write_text("All\n===\n\n.. toctree::\n\n   equations\n\n.. beside:: minigru/a.py\n")
    result = build(docs, tmp_path / "out")
    assert result.returncode != 0
    assert words in result.stderr
