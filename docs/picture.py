"""A picture of report.html for README.md: `python docs/picture.py PAGE TARGET`. It needs Chromium."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright._impl._api_structures import Clip
from playwright.sync_api import sync_playwright

WIDTH = 1080
LAST = "#tradeoff"
"""The last section in the picture."""
COLOURS = 200


def main() -> None:
    page, target = (Path(argument) for argument in sys.argv[1:])
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium: run make browser")
    if not page.is_file():
        sys.exit(f"there is no {page}: run make demo-qat")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme="light")
        tab.goto(page.absolute().as_uri())
        box = tab.locator(LAST).bounding_box()
        assert box
        area: Clip = {"x": 0, "y": 0, "width": WIDTH, "height": box["y"] + box["height"] + 24}
        taken = tab.screenshot(full_page=True, clip=area)
        browser.close()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
