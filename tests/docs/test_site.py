"""The site is built with warnings as errors, and a real browser without a network reads every page of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers import ROOT

pytest.importorskip("sphinx", reason="Sphinx is not installed: the extra docs brings it")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DOCUMENTS = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem != "README"]
CODE = [path for path in sorted((ROOT / "minigru").rglob("*.*")) if path.suffix in (".py", ".cu", ".cuh")]
TAGS = re.compile(r"(?:#|//)((?: \(d?[A-Z]{1,2}\d*\))+)\s*$")


def tags_of(line: str) -> list[str]:
    found = TAGS.search(line)
    return re.findall(r"\w+", found[1]) if found else []


TAGGED = [
    path.relative_to(ROOT / "minigru").as_posix()
    for path in CODE
    if any(map(tags_of, path.read_text("utf-8").splitlines()))
]


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages of a folder as the documents say, with nothing kept from an earlier build."""
    command = [sys.executable, "-m", "sphinx", "-W", "-E", "-q", "-d", str(out / "doctrees"), "-b", "html"]
    return subprocess.run([*command, str(docs), str(out)], capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    result = build(ROOT / "docs", out)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return out


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: the extra browser brings it")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A tab without a network; whatever it asks for or complains about is written down."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.context.set_offline(True)
    tab.asked, tab.complaints = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("requestfailed", lambda request: tab.complaints.append(f"failed: {request.url}"))
    tab.on("pageerror", lambda error: tab.complaints.append(f"error: {error}"))
    tab.on("console", lambda message: tab.complaints.append(message.text) if message.type == "error" else None)
    yield tab
    tab.close()


class Anchors(HTMLParser):
    """What a page links to, and where it can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names |= {found["id"]} if "id" in found else set()
        self.links += [found[key] for key in ("href", "src") if found.get(key)]


def test_every_link_of_every_page_leads_somewhere(site):
    pages = {path: Anchors(path) for path in site.rglob("*.html")}
    assert len(pages) > 40
    broken = []
    for path, found in pages.items():
        for link in found.links:
            target, _, name = unquote(link).partition("#")
            if "://" in target or target.startswith(("data:", "mailto:")):
                continue
            there = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not there.exists() or (name and name not in pages[there].names):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_every_document_and_module_has_its_page_and_the_first_page_leads_to_every_document(site):
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for path in DOCUMENTS:
        assert (site / f"{path.stem}.html").exists()
        assert f"({path.name})" in index
    for path in (ROOT / "minigru").rglob("[!_]*.py"):
        assert (site / "api" / f"{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}.html").exists()


def test_no_file_of_the_package_is_shipped_beside_its_page(site):
    shipped = {path.name: path.read_bytes() for path in (site / "_downloads").rglob("*.*")}
    assert [path.name for path in CODE if shipped.get(path.name) == path.read_bytes()] == []


def test_no_page_asks_for_the_network_fails_or_is_wider_than_a_phone(site, page):
    paths = sorted(site.rglob("*.html"))
    for path in paths:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(path.as_uri())
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert page.complaints == []
    assert {url.partition(":")[0] for url in page.asked} <= {"file", "data"}
    assert len(page.asked) > len(paths)


@pytest.mark.parametrize("name", [path.stem for path in DOCUMENTS if "$$" in path.read_text("utf-8")])
def test_the_mathematics_is_there_as_mathematics(name, site, page):
    page.goto((site / f"{name}.html").as_uri())
    text = re.sub(r"```.*?```|`[^`]*`", "", (ROOT / "docs" / f"{name}.md").read_text("utf-8"), flags=re.DOTALL)
    blocks = re.findall(r"\$\$(.*?)\$\$", text, flags=re.DOTALL)
    inline = re.findall(r"\$[^$]+\$", re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL))
    assert page.locator("math[display=block]").count() == sum(block.count(r"\qquad") + 1 for block in blocks)
    assert page.locator("math").count() == page.locator("math[display=block]").count() + len(inline)
    assert page.locator("merror").count() == 0
    assert page.evaluate("document.fonts.check('16px \"STIX Two Math subset\"')")
    prose = page.locator("article").evaluate(
        "a => (a.querySelectorAll('code, pre').forEach(e => e.remove()), a.innerText)"
    )
    assert "$" not in prose
    assert "\\" not in prose


@pytest.mark.parametrize("name", TAGGED)
def test_every_line_is_shown_and_each_tag_s_two_sides_are_linked(name, site, page):
    page.goto((site / "code" / f"{name}.html").as_uri())
    lines = (ROOT / "minigru" / name).read_text("utf-8").splitlines()
    shown = page.locator(".line").evaluate_all("lines => lines.map(line => [+line.dataset.line, line.textContent])")
    assert [text.rstrip() for _, text in shown if text.strip()] == [line.rstrip() for line in lines if line.strip()]
    assert all(text.rstrip() == lines[number - 1].rstrip() for number, text in shown)
    sides = page.evaluate(
        """() => {
          const to = (link) => document.getElementById(link.getAttribute("href").slice(1));
          const links = (where) => [...document.querySelectorAll(where)];
          return {
            code: links(".line a").map(a => [+a.closest(".line").dataset.line, a.dataset.tags, to(a).dataset.tags]),
            equations: links(".equation .tag").map(a => [a.parentNode.parentNode.dataset.tags, +to(a).dataset.line]),
            labels: links(".row a").map(a => a.ariaLabel ?? a.textContent),
            without: links(".equation[id]").filter(e => !e.querySelector("math")).map(e => e.dataset.tags),
          };
        }"""
    )
    expected = [(number, tag) for number, line in enumerate(lines, start=1) for tag in tags_of(line)]
    assert [(line, tag) for line, tag, _ in sides["code"]] == expected
    assert all(tag == there for _, tag, there in sides["code"])
    assert {tag for tag, _ in sides["equations"]} == {tag for _, tag in expected}
    assert all(tag in tags_of(lines[line - 1]) for tag, line in sides["equations"])
    assert all(sides["labels"])
    assert [tag for tag in sides["without"] if not tag.startswith("F")] == []


def formulas(html: str) -> list[str]:
    """Return the markup of each of the formulas that a piece of a page begins with."""
    block = r'\s*<div class="math-wrapper[^>]*>\s*<div class="math">((?:<math.*?</math>)+)</div>\s*</div>'
    return re.findall(block, re.match(rf"(?:{block})*", html)[0])


@pytest.mark.parametrize("name", TAGGED)
def test_beside_a_tag_stands_the_equation_that_its_derivation_begins_with(name, site):
    page = (site / "code" / f"{name}.html").read_text("utf-8")
    head = r'<div class="equation" id="[^"]+" data-tags="(\w+)"><p>.*?class="derivation" href="([^"#]+)#([^"]+)".*?</p>'
    found = list(re.finditer(head, page))
    assert {match[1] for match in found} == {
        tag for line in (ROOT / "minigru" / name).read_text("utf-8").splitlines() for tag in tags_of(line)
    }
    for match in found:
        tag, target, place = match.groups()
        there = (site / "code" / name).parent.joinpath(target).resolve().read_text("utf-8")
        title, after = re.search(rf'<section id="{place}">\s*<h3>(.*?)<a .*?</h3>(.*)', there, re.DOTALL).groups()
        assert title.startswith(f"({tag}) ")
        assert formulas(page[match.end() :]) == formulas(after), tag
        assert formulas(after) or tag.startswith("F")


def marked(page) -> set[str]:
    return set(page.locator(".marked").evaluate_all("all => all.map(e => e.id || e.dataset.tags)"))


def lines_with(name: str, tag: str) -> set[str]:
    lines = (ROOT / "minigru" / name).read_text("utf-8").splitlines()
    return {f"L{number}" for number, line in enumerate(lines, start=1) if tag in tags_of(line)}


def test_a_mouse_or_a_key_on_one_side_marks_the_other(site, page):
    page.goto((site / "code" / "reference.py.html").as_uri())
    assert marked(page) == set()
    edges = page.locator(".line").evaluate_all("all => all.map(e => [e.id, getComputedStyle(e).borderLeftColor])")
    lines = (ROOT / "minigru" / "reference.py").read_text("utf-8").splitlines()
    assert {place for place, colour in edges if colour != "rgba(0, 0, 0, 0)"} == {
        f"L{number}" for number, line in enumerate(lines, start=1) if tags_of(line)
    }
    page.hover("#gru-cell-backward-dG3 math >> nth=0")
    assert marked(page) == {"gru-cell-backward-dG3"} | lines_with("reference.py", "dG3")
    (line,) = lines_with("reference.py", "G3")
    page.hover(f"#{line}")
    assert marked(page) == {line, "gru-cell-G3"}
    page.mouse.move(5, 5)
    assert marked(page) == set()

    page.locator("#gru-cell-G2 .derivation").focus()
    assert marked(page) == {"gru-cell-G2"} | lines_with("reference.py", "G2")
    page.keyboard.press("Tab")  # from the equation to its line of code
    assert page.evaluate("document.activeElement.ariaLabel") == "Equation (G2), Reset gate"
    page.keyboard.press("Enter")
    assert page.url.endswith("#gru-cell-G2")
    assert page.evaluate("getComputedStyle(document.querySelector(':target')).borderLeftColor") != "rgba(0, 0, 0, 0)"
    for _ in range(4):  # its tag, its derivation, its line, and the next equation
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == f"(G3), line {line[1:]} of the code"


def test_the_columns_stand_side_by_side_on_a_desk_and_one_above_the_other_on_a_phone(site, page):
    page.goto((site / "code" / "gru.py.html").as_uri())
    box = "[...document.querySelector('.row.tagged').children].map(e => e.getBoundingClientRect())"
    equations, shapes, code = page.evaluate(box)
    assert equations["right"] <= code["left"]
    assert equations["top"] == code["top"]
    assert equations["bottom"] <= shapes["top"]
    page.set_viewport_size({"width": 390, "height": 844})
    equations, shapes, code = page.evaluate(box)
    assert equations["bottom"] <= shapes["top"] < shapes["bottom"] <= code["top"]
    page.set_viewport_size({"width": 1800, "height": 900})
    equations, shapes, code = page.evaluate(box)
    assert equations["right"] <= shapes["left"] < shapes["right"] <= code["left"]


CONTRASTS = """() => {
  const luminance = ([r, g, b]) => [[r, 0.2126], [g, 0.7152], [b, 0.0722]].reduce((sum, [value, weight]) =>
    sum + weight * (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4), 0);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    const [r, g, b, alpha = 1] = parts(getComputedStyle(element).backgroundColor);
    return alpha || !element.parentElement ? [r, g, b] : ground(element.parentElement);
  };
  const contrast = (colour, element) => {
    const [low, high] = [luminance(parts(colour)), luminance(ground(element))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = {paper: luminance(ground(document.body))};
  const note = (text, element, part) => {
    found[text] = Math.min(found[text] ?? 99, contrast(getComputedStyle(element, part).color, element));
  };
  for (const element of document.querySelectorAll(".row *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (own) note(element.outerHTML, element);
    if (element.matches(".line")) note("number", element, "::before");
  }
  return found;
}"""


@pytest.mark.parametrize(
    "media", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"media": "print", "color_scheme": "dark"}]
)
def test_text_and_mathematics_have_the_contrast_of_wcag_in_light_dark_and_print(media, site, page):
    page.emulate_media(**media)
    for path, place in (("reference.py", "gru-cell-G1"), ("kernels/gru_persistent.cu", "gru-forward-G1")):
        page.goto(f"{(site / 'code' / path).as_uri()}.html#{place}")
        page.wait_for_function("document.querySelector('.row :target')")
        for mark in ("remove", "add"):
            page.evaluate(f"document.querySelectorAll('.row [data-tags]').forEach(e => e.classList.{mark}('marked'))")
            found = page.evaluate(CONTRASTS)
            assert (found.pop("paper") < 0.1) == ("media" not in media and media["color_scheme"] == "dark")
            assert len(found) > 100
            assert {text: ratio for text, ratio in found.items() if ratio < 4.5} == {}


def test_the_numbers_of_the_lines_are_silent_to_a_screen_reader(site, page):
    page.goto((site / "code" / "adam.py.html").as_uri())
    content = page.evaluate("getComputedStyle(document.querySelector('.line'), '::before').content")
    assert content == '"1" / ""'


def test_shapes_are_those_of_the_run(site):
    def shapes(name: str, tag: str) -> str:
        rows = (site / "code" / f"{name}.html").read_text("utf-8").split('<div class="row tagged"')
        (row, *_) = (row for row in rows if f'data-tags="{tag}"' in row)
        return re.sub(r"<[^>]+>", "", re.search(r'<ul class="shapes".*?</ul>', row, re.DOTALL)[0].replace("</li>", ";"))

    assert shapes("reference.py", "G1") == "gamma_u, c_prev (B, H);x (B, D);W_u (H + D, H);b_u (H,);"
    assert shapes("gru.py", "G1") == "cx1[t] (B, H + D + 1);W_u (H + D + 1, H);gamma_u[t] (B, H);"
    assert shapes("gru.py", "F2") == (
        "cx1.T, rcx1.T (H + D + 1, T B);dz_u, dz_r, dz_c (T B, H);dW_u, dW_r, dW_c (H + D + 1, H);"
    )
    assert shapes("kernels/cupy_kernels.py", "A1") == "theta, m, v (N,);"
    assert shapes("kernels/gru_persistent.cu", "dG4") == "dz_u (T, B, H);c (T + 1, B, H);"
    assert 'class="shapes"' not in (site / "code" / "backend.py.html").read_text("utf-8")  # bytes, not numbers


CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_parser", "mathml", "beside"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
"""
CUDA = """// A kernel.
#include <math.h>

__device__ float half_of(float x) { return x / 2; }

// Halves everything.
extern "C" __global__
void __launch_bounds__(128) halve(float* y,  // (B, H)
                                  int n) {
  if (threadIdx.x < n) {
    y[threadIdx.x] = half_of(y[threadIdx.x]);  // (G1)
  }
}
"""


def small_project(
    root: Path, name: str = "a.py", code: str = "y = f(2)  # (G1)\n", formula: str = r"\frac{1}{2}"
) -> Path:
    """Write a project of one file and one equation."""
    docs = root / "docs"
    docs.mkdir()
    (root / "minigru").mkdir()
    (root / "minigru" / name).write_text(code)
    (docs / "conf.py").write_text(CONF.format(extensions=str(ROOT / "docs" / "_ext")))
    (docs / "equations.md").write_text(f"# Equations\n\n## All\n\n### (G1) Half\n\n$$\n{formula}\n$$\n")
    (docs / "index.rst").write_text(f"All\n===\n\n.. toctree::\n\n   equations\n\n.. beside:: minigru/{name}\n")
    return docs


def test_a_cuda_file_is_shown_like_any_other(tmp_path):
    docs = small_project(tmp_path, "a.cu", CUDA)
    result = build(docs, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    html = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert re.findall(r'<section id="([\w-]+)">', html) == ["all", "half-of", "halve"]
    assert '<a href="#halve-G1" data-tags="G1" aria-label="Equation (G1), Half">(G1)</a>' in html
    assert "<code>y</code> <span>(B, H)</span>" in html
    lines = re.findall(r'<span class="line.*?data-line="(\d+)"[^>]*>(.*?)\n</span>', html)
    shown = {int(number): unescape(re.sub("<[^>]*>", "", text)) for number, text in lines if text}
    assert shown == {number: line for number, line in enumerate(CUDA.splitlines(), start=1) if line}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code": "y = f(2)  # (G1)\nz = g(y)  # (G2)\n"}, "a.py:2: (G2) has no heading in docs/*.md"),
        ({"code": "y = f(2)\n"}, "(G1) Half: no line carries this tag"),
        ({"formula": r"\half{1}"}, r"Unknown command"),
        ({"formula": r"\frac{1}{2"}, r"equations.md:"),
    ],
)
def test_a_tag_without_a_partner_or_a_formula_that_is_none_ends_the_build(change, words, tmp_path):
    result = build(small_project(tmp_path, **change), tmp_path / "out")
    assert result.returncode != 0
    assert words in result.stderr


def test_a_heading_without_its_equation_ends_the_build(tmp_path):
    docs = small_project(tmp_path)
    (docs / "equations.md").write_text("# Equations\n\n## All\n\n### (G1) Half\n\nHalf of it.\n")
    result = build(docs, tmp_path / "out")
    assert result.returncode != 0
    assert "(G1) Half: no equation stands under the heading" in result.stderr
