"""The page in a real browser: what visitors do, on a desk and on a phone."""

from __future__ import annotations

import io
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from demo_fixtures import CHROMIUM, CHROMIUM_FLAGS, DemoServer, demo, photo_path

from initzoo.images import read_image

__all__ = ["demo", "photo_path"]  # fixtures

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="the browser tests need Debian's chromium: apt-get install chromium"
)

ROOT = Path(__file__).parent.parent
_PATIENCE = 90_000  # ms; a busy machine is no failure
_DESK, _PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, demo: DemoServer) -> Iterator[Any]:
    """Opens the page; in the end nothing went wrong in it, and nobody else was asked for anything."""
    wrong: list[str] = []
    hosts: set[str] = set()
    contexts: list[Any] = []

    def open_it(size: dict[str, int] = _DESK, **options: Any) -> Any:
        context = browser.new_context(viewport=size, accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(demo.url)
        page.wait_for_selector("#words input")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert wrong == []
    assert hosts - {""} == {urlsplit(demo.url).netloc}  # "" is of data: and blob: addresses


def generate(page: Any, words: str) -> None:
    """Type words, press Enter, and wait for the picture and the file."""
    page.fill("#words input", words)
    page.press("#words input", "Enter")
    page.wait_for_function("words => document.querySelector('#told').innerText.includes(words)", arg=words)
    page.wait_for_selector("#file:not([disabled]):not(.disabled)")


def shown(page: Any, box: str = "#picture") -> list[np.ndarray[Any, Any]]:
    """The pictures of a before/after slider, before first."""
    from PIL import Image

    page.wait_for_function("box => document.querySelectorAll(`${box} img`).length >= 2", arg=box)
    sources = page.eval_on_selector_all(f"{box} img", "images => images.map(image => image.src)")
    pictures = []
    for source in dict.fromkeys(sources):
        with urllib.request.urlopen(source, timeout=60) as answer:
            pictures.append(np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB")))
    return pictures


def download(page: Any, button: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click(button)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


@pytest.mark.parametrize("words", ["faded teal charcoal at dusk", "pencil sketch"])
def test_the_file_that_is_taken_home_gives_the_picture_that_was_shown(
    open_page: Any, tmp_path: Path, words: str
) -> None:
    page = open_page()
    generate(page, words)
    before, after = shown(page)
    assert (before == read_image(ROOT / "catalog" / "photos" / "chelsea.png")).all()
    file = download(page, "#file", tmp_path)
    assert file.name == words.replace(" ", "-") + ".safetensors"
    photo, out = ROOT / "catalog" / "photos" / "chelsea.png", tmp_path / "out.png"
    command = [sys.executable, "-m", "initzoo", "apply", str(file), str(photo), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert (read_image(out) == after).all()
    code = page.inner_text("#code")
    assert f'initzoo pull "{words}"' in code
    assert "initzoo finetune" in code


def test_own_photos_are_edited_and_bad_ones_are_told(
    open_page: Any, photo_path: Path, tmp_path: Path
) -> None:
    page = open_page()
    (tmp_path / "notes.png").write_text("not a photo")
    page.set_input_files("#upload input, input#upload, input[type=file]", str(tmp_path / "notes.png"))
    page.wait_for_function("() => document.body.innerText.includes('not an image of a known kind')")
    page.set_input_files("#upload input, input#upload, input[type=file]", str(photo_path))
    page.wait_for_selector("#file:not([disabled]):not(.disabled)")
    before, after = shown(page)
    assert (before == read_image(photo_path)).all()
    assert before.shape == after.shape


def test_examples_neighbours_and_seeds_are_a_click_away(open_page: Any) -> None:
    page = open_page()
    generate(page, "charcoal at dusk")
    first = shown(page)
    page.click("#examples button.thumbnail-item >> nth=1")
    shape = "box => document.querySelector(`${box} img`).naturalWidth !== 451"
    page.wait_for_function(shape, arg="#picture")  # the width of the first example
    other = shown(page)
    assert other[0].shape == other[1].shape != first[0].shape
    page.click("#variations button.thumbnail-item >> nth=0")
    page.wait_for_function("() => document.querySelector('#told').innerText.includes('with seed 1')")
    page.click("#nearest button.thumbnail-item >> nth=0")
    page.wait_for_function("() => document.querySelector('#code').innerText.includes('initzoo pull')")
    page.wait_for_function("() => !document.querySelector('#told').innerText.includes('charcoal at dusk')")


def test_markup_in_words_stays_text(open_page: Any) -> None:
    page = open_page()
    words = "sketch <img src=x onerror=window.hacked=1> **bold**"
    generate(page, words)
    assert page.evaluate("() => window.hacked") is None
    assert page.query_selector("#told img") is None
    page.fill("#words input", "карандаш <img src=x onerror=window.hacked=1>")
    page.press("#words input", "Enter")
    page.wait_for_function("() => document.body.innerText.includes('of an alphabet that no wording')")
    assert page.evaluate("() => window.hacked") is None


def test_the_zoo_is_browsed_by_words_family_and_page(open_page: Any) -> None:
    page = open_page()
    page.click("button[role=tab]:has-text('Browse the zoo')")
    page.wait_for_function("() => document.querySelectorAll('#zoo button.thumbnail-item').length === 24")
    assert "page 1 of" in page.inner_text("#count")
    page.click("#next")
    page.wait_for_function("() => document.querySelector('#count').innerText.includes('page 2 of')")
    page.fill("#search input, #search textarea", "watercolour")
    page.press("#search input, #search textarea", "Enter")
    page.wait_for_function(
        "() => document.querySelector('#zoo .caption-label')?.innerText.includes('watercolour')"
    )
    page.click("#zoo button.thumbnail-item >> nth=0")
    page.wait_for_function("() => document.querySelector('#told').innerText.includes('exact checkpoint')")
    assert len(shown(page)) == 2


def test_two_looks_are_blended_and_taken_home(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    page.click("button[role=tab]:has-text('Blend')")
    page.fill("#first input", "pencil sketch")
    page.fill("#second input", "night")
    page.click("#mix")
    page.wait_for_selector("#blend-file:not([disabled]):not(.disabled)")
    _, after = shown(page, "#blended")
    file = download(page, "#blend-file", tmp_path)
    photo, out = ROOT / "catalog" / "photos" / "chelsea.png", tmp_path / "out.png"
    command = [sys.executable, "-m", "initzoo", "apply", str(file), str(photo), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert (read_image(out) == after).all()


def test_how_it_works_shows_what_was_measured(open_page: Any) -> None:
    page = open_page()
    page.click("button[role=tab]:has-text('How it works')")
    page.wait_for_selector("table.evidence:visible")
    assert page.locator("table.evidence:visible").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(open_page: Any, scheme: str) -> None:
    page = open_page(_PHONE, color_scheme=scheme, has_touch=True)
    generate(page, "pencil sketch")
    assert page.evaluate("() => document.scrollingElement.scrollWidth <= window.innerWidth")
    box = page.locator("#go").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= _PHONE["width"]
    assert box["y"] + box["height"] <= _PHONE["height"]
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.strip("rgba()").split(",")[:3])
    assert (brightness > 380) == (scheme == "light"), background


def test_keys_are_enough_and_everything_has_a_name(open_page: Any) -> None:
    page = open_page()
    page.focus("#words input")
    page.keyboard.type("pencil sketch")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "go"
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#told').innerText.includes('pencil sketch')")
    page.wait_for_selector("#file:not([disabled]):not(.disabled)")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, a')]
        .filter(one => one.offsetParent !== null && one.type !== 'file')
        .filter(one => !(one.innerText || '').trim() && !one.getAttribute('aria-label') && !one.title
            && !(one.labels && [...one.labels].some(label => label.innerText.trim()))
            && !one.getAttribute('aria-labelledby')
            && !one.querySelector('img[alt]:not([alt=""]), [aria-label], [title]')
            && !one.closest('.cm-editor'))
        .map(one => one.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    assert page.get_attribute("#told [role=status]", "aria-live") == "polite"
    assert page.evaluate("() => document.documentElement.lang") == "en"
