"""Pictures of the HTML report: `python -m benchmarks.screenshots report.html FOLDER`.

Needs the test extra and a Chromium on the PATH. Makes one picture for each width and colour scheme, and the
top of the page as `report.png`, as the README shows it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
TOP = 1260  # pixels of the page that the README shows, down to the end of the heatmap
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def main() -> None:
    """Open the page at each width in each scheme, and keep what it looks like."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for width in WIDTHS:
            for scheme in SCHEMES:
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.goto(arguments.report.resolve().as_uri())
                page.screenshot(path=arguments.folder / f"{width}-{scheme}.png", full_page=True)
                if (width, scheme) == (WIDTHS[0], SCHEMES[0]):
                    page.set_viewport_size({"width": width, "height": TOP})
                    page.screenshot(path=arguments.folder / "report.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
