"""Film the page ``docs/play`` in a browser: a 7 is drawn, and then read row by row."""

from __future__ import annotations

import argparse
import io
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from minigru import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "play" / "index.html"
SEVEN = [(0.27, 0.25), (0.72, 0.23), (0.42, 0.82)]  # its corners, as shares of the drawing pad
SIZE = {"width": 1100, "height": 510}
FRAMES = 8  # of the drawing, per line
FILMED = ".hold, .look, .unit, .way, header, footer, #digits, #note, .help, .buttons { display: none !important; }"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__)
    out = "WebP file (default: %(default)s)"
    parser.add_argument("--out", type=cli.output_file, default="docs/figures/play.webp", metavar="FILE", help=out)
    return parser.parse_args()


def film() -> list[Image.Image]:
    """Return the pictures: those of the drawing, then one after every row."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=next(filter(None, map(shutil.which, BROWSERS)), None))
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"{PAGE.as_uri()}#digit=own")
        page.add_style_tag(content=FILMED)
        pictures = []

        def take() -> None:
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))

        pad = page.locator("#pad").bounding_box()
        corners = np.array(SEVEN) * (pad["width"], pad["height"]) + (pad["x"], pad["y"])
        page.mouse.move(*corners[0])
        page.mouse.down()
        for start, end in pairwise(corners):
            for share in np.linspace(0, 1, FRAMES + 1)[1:]:
                page.mouse.move(*(start + share * (end - start)))
                take()
        page.mouse.up()
        for row in range(1, 29):
            page.locator("[name=row]").fill(str(row))
            take()
        browser.close()
    return pictures


def main() -> int:
    """Write the film."""
    options = parse_args()
    with cli.exit_on(2, ImportError, OSError):
        first, *rest = film()
        durations = [80] * (2 * FRAMES) + [160] * 27 + [2500]
        small = {"lossless": True, "method": 2, "minimize_size": True}
        first.save(options.out, save_all=True, append_images=rest, duration=durations, loop=0, **small)
        print(f"File: {options.out} ({Path(options.out).stat().st_size:,} bytes)")
    return 0


if __name__ == "__main__":
    cli.run(main)
