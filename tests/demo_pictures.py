"""The README's pictures of the page, taken in a real browser; `make demo-pictures` makes them anew."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from demo_fixtures import CHROMIUM, CHROMIUM_FLAGS, DemoServer, running_demo
from PIL import Image
from playwright.sync_api import sync_playwright

_FOLDER = Path(__file__).parent.parent / "catalog" / "pictures"
_WORDS = "charcoal at dusk"
_QUALITY = 85
_WIDTH = 1000
"""Pixels: about what a README is shown at."""


def take(page: Any, name: str) -> None:
    """Write what the page shows, without the links at its foot, as a JPEG file."""
    page.add_style_tag(content="footer { display: none !important }")
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)  # pictures fade in
    height = page.evaluate(
        "() => Math.ceil(document.querySelector('main.contain').getBoundingClientRect().bottom)"
    )
    clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": height + 16}
    shot = page.screenshot(full_page=True, clip=clip)
    path = _FOLDER / f"{name}.jpg"
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    size = _WIDTH, round(picture.height * _WIDTH / picture.width)
    picture.resize(size, Image.Resampling.LANCZOS).save(path, quality=_QUALITY, optimize=True)
    sys.stdout.write(f"{path.name}  {path.stat().st_size:,} bytes\n")


def visit(page: Any, demo: DemoServer) -> None:
    """Generate, then browse, and take a picture of each."""
    page.set_default_timeout(120_000)
    page.goto(demo.url)
    page.wait_for_selector("#words input")
    page.fill("#words input", _WORDS)
    page.press("#words input", "Enter")
    page.wait_for_selector("#file:not([disabled]):not(.disabled)")
    page.evaluate("() => document.activeElement.blur()")
    take(page, "demo-generate")
    page.click("button[role=tab]:has-text('Browse the zoo')")
    page.wait_for_selector("#zoo button.thumbnail-item")
    take(page, "demo-browse")


def main() -> None:
    """Take the pictures and print their sizes."""
    with running_demo() as demo, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        visit(browser.new_page(viewport={"width": 1240, "height": 900}), demo)
        browser.close()


if __name__ == "__main__":
    main()
