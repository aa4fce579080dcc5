"""The live page: an exported network on a webcam, in a real browser with a fake camera."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_picture import FAKE_CAMERA, frames_a_second, served, set_up


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, set up as its README says, in a folder of its own."""
    if shutil.which("npm") is None:
        pytest.skip("the live page needs npm")
    folder = tmp_path_factory.mktemp("live") / "live"
    set_up(folder, "negative", precision="int8")
    return folder


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


MEAN = """id => {
  const canvas = document.getElementById(id);
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const sums = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sums[c] += data[i + c];
  return sums.map(sum => sum / (data.length / 4));
}"""


@pytest.mark.slow
def test_the_look_is_seen_on_the_camera(address: str, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FAKE_CAMERA))
        page = browser.new_page(viewport={"width": 960, "height": 560})
        rate = frames_a_second(page, address)
        given, edited = (page.evaluate(MEAN, name) for name in ("given", "edited"))
        browser.close()
    assert rate > 0
    assert all(abs(255 - one - other) < 25 for one, other in zip(given, edited, strict=True))  # the negative


@pytest.mark.slow
def test_without_a_camera_the_page_says_what_it_needs(address: str, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_function(
            "document.getElementById('status').textContent.includes('needs a camera')", timeout=60_000
        )
        browser.close()
