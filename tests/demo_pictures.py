"""The README's pictures of the page, taken in a real browser; `make demo-pictures` makes them anew."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from demo_fixtures import CHROMIUM, CHROMIUM_FLAGS, DemoServer, running_demo
from PIL import Image
from playwright.sync_api import sync_playwright

_FOLDER = Path(__file__).parent.parent / "catalog" / "pictures"
_WORDS = "charcoal at dusk"
_QUALITY = 85


def take(page: Any, name: str, *, width: int) -> None:
    """Write the first screen of the page as a JPEG file."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)  # pictures come one by one
    shot = page.screenshot()
    path = _FOLDER / f"{name}.jpg"
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    size = width, round(picture.height * width / picture.width)
    picture.resize(size, Image.Resampling.LANCZOS).save(path, quality=_QUALITY, optimize=True)
    sys.stdout.write(f"{path.name}  {path.stat().st_size:,} bytes\n")


def visit(page: Any, demo: DemoServer, scheme: str) -> None:
    """Open the page with a look, and wait for its pictures."""
    page.set_default_timeout(120_000)
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{demo.url}/?{urlencode({'words': _WORDS})}")
    page.wait_for_load_state("networkidle")


def main() -> None:
    """Take the pictures and print their sizes."""
    with running_demo() as demo, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        page = browser.new_page(viewport={"width": 1240, "height": 970})
        visit(page, demo, "light")
        take(page, "demo-generate", width=1000)
        page = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
        visit(page, demo, "dark")
        take(page, "demo-phone", width=390)
        browser.close()


if __name__ == "__main__":
    main()
