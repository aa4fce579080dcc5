"""The page in a real browser: what visitors do, on a desk and on a phone."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from cli_running import succeed
from demo_fixtures import CHROMIUM_FLAGS, DemoServer

from initzoo.files.images import read_image, write_image
from initzoo.zoo.zoo import Zoo

pytestmark = [
    pytest.mark.xdist_group("demo"),  # one server and one browser, in one process of the tests
    pytest.mark.usefixtures("chromium"),
]

ROOT = Path(__file__).parent.parent
_PATIENCE = 240_000  # ms; a busy machine is no failure
_STILL = """
addEventListener("DOMContentLoaded", () => {
    const style = document.createElement("style");
    style.textContent = "*, *::before, *::after { animation: none !important; transition: none !important }";
    document.head.append(style);
});
"""
"""Run by every page: without a graphics card, to draw what moves while the server works takes a core."""

_DESK, _PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}


class Window:
    """A page in the browser, and what went wrong in it."""

    def __init__(self, context: Any, url: str) -> None:
        self.url = url
        self.wrong: list[str] = []
        self.hosts: set[str] = set()
        self.page = context.new_page()
        self.page.set_default_timeout(_PATIENCE)
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def open(self) -> Any:
        """Go to the demo."""
        self.page.goto(self.url)
        self.page.wait_for_selector("#words input")
        return self.page

    def check(self) -> None:
        """Nothing went wrong, and nobody else was asked for anything."""
        assert self.wrong == []
        assert self.hosts - {""} == {urlsplit(self.url).netloc}  # "" is of data: and blob: addresses


@pytest.fixture(scope="module")
def context(chromium: str, demo: DemoServer) -> Iterator[Any]:
    """One browser, with one cache: to load a page anew is what takes the time here."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        context = browser.new_context(viewport=_DESK, accept_downloads=True)
        context.add_init_script(_STILL)
        yield context
        browser.close()


@pytest.fixture(scope="module")
def window(context: Any, demo: DemoServer) -> Window:
    """The page of most tests, as their visitors left it."""
    window = Window(context, demo.url)
    window.open()
    return window


@pytest.fixture
def page(window: Window) -> Iterator[Any]:
    """The page on its first tab; in the end nothing went wrong in it."""
    window.wrong.clear()
    window.page.click("button[role=tab]:has-text('Generate')")
    yield window.page
    window.check()


@pytest.fixture
def new_window(context: Any, demo: DemoServer) -> Iterator[Window]:
    """A page of one's own, not yet opened."""
    window = Window(context, demo.url)
    yield window
    window.page.close()


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


def applied(file: Path, pixels: np.ndarray[Any, Any], folder: Path) -> np.ndarray[Any, Any]:
    """What `initzoo apply` makes of a photo."""
    photo, out = folder / "photo.png", folder / "out.png"
    write_image(photo, pixels, force=False)
    succeed("apply", file, photo, "-o", out)
    return read_image(out)


@pytest.mark.parametrize("words", ["faded teal charcoal at dusk", "pencil sketch"])
def test_the_file_that_is_taken_home_gives_the_picture_that_was_shown(
    page: Any, tmp_path: Path, words: str
) -> None:
    generate(page, words)
    before, after = shown(page)
    file = download(page, "#file", tmp_path)
    assert file.name == words.replace(" ", "-") + ".safetensors"
    assert (applied(file, before, tmp_path) == after).all()
    code = page.inner_text("#code")
    assert f'initzoo pull "{words}"' in code
    assert "initzoo finetune" in code


def test_own_photos_are_edited_and_bad_ones_are_told(page: Any, photo_path: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a photo")
    page.set_input_files("#upload input, input#upload, input[type=file]", str(tmp_path / "notes.png"))
    page.wait_for_function("() => document.body.innerText.includes('not an image of a known kind')")
    page.set_input_files("#upload input, input#upload, input[type=file]", str(photo_path))
    width = read_image(photo_path).shape[1]
    page.wait_for_function("n => document.querySelector('#picture img')?.naturalWidth === n", arg=width)
    before, after = shown(page)
    assert (before == read_image(photo_path)).all()
    assert before.shape == after.shape


def test_examples_neighbours_and_seeds_are_a_click_away(page: Any) -> None:
    generate(page, "charcoal at dusk")
    for number, name in ((1, "coffee"), (0, "chelsea")):
        photo = read_image(ROOT / "catalog" / "photos" / f"{name}.png")
        page.click(f"#examples button.thumbnail-item >> nth={number}")
        width = photo.shape[1]
        page.wait_for_function("n => document.querySelector('#picture img').naturalWidth === n", arg=width)
        before, after = shown(page)
        assert (before == photo).all()
        assert after.shape == photo.shape
    page.wait_for_selector("#file:not([disabled]):not(.disabled)")
    page.click("#variations button.thumbnail-item >> nth=0")
    page.wait_for_function("() => document.querySelector('#told').innerText.includes('with seed 1')")
    page.click("#nearest button.thumbnail-item >> nth=0")
    page.wait_for_function("() => document.querySelector('#code').innerText.includes('initzoo pull')")
    # A seed that was picked is no wish for generated weights where there is a checkpoint.
    page.wait_for_function("() => document.querySelector('#told').innerText.includes('exact checkpoint')")


def test_markup_in_words_stays_text(page: Any) -> None:
    words = "sketch <img src=x onerror=window.hacked=1> **bold**"
    generate(page, words)
    assert page.evaluate("() => window.hacked") is None
    assert page.query_selector("#told img") is None
    page.fill("#words input", "карандаш <img src=x onerror=window.hacked=1>")
    page.press("#words input", "Enter")
    page.wait_for_function("() => document.body.innerText.includes('to an alphabet that no wording')")
    assert page.evaluate("() => window.hacked") is None


def test_the_zoo_is_browsed_by_words_family_and_page(page: Any) -> None:
    page.click("button[role=tab]:has-text('Browse the zoo')")
    page.wait_for_function("() => document.querySelectorAll('#zoo button.thumbnail-item').length === 40")
    assert "page 1 of" in page.inner_text("#count")
    page.click("#next")
    page.wait_for_function("() => document.querySelector('#count').innerText.includes('page 2 of')")
    n_found = sum(row.family == "restoration" for row in Zoo.from_pretrained("starter").index.rows())
    page.click("#family input")
    page.click("#family [role=option]:has-text('restoration'), ul [role=option]:has-text('restoration')")
    page.wait_for_function("n => document.querySelector('#count').innerText.startsWith(n)", arg=f"{n_found} ")
    page.click("#family input")
    page.click("#family [role=option]:has-text('all'), ul [role=option]:has-text('all')")
    page.fill("#search input, #search textarea", "watercolour")
    page.press("#search input, #search textarea", "Enter")
    page.wait_for_function(
        "() => document.querySelector('#zoo .caption-label')?.innerText.includes('watercolour')"
    )
    page.click("#zoo button.thumbnail-item >> nth=0")
    page.wait_for_function("() => document.querySelector('#told').innerText.includes(\"'watercolour'\")")
    assert len(shown(page)) == 2


def test_what_is_asked_last_is_what_is_shown(page: Any) -> None:
    """However slow the answers are: each time the first question waits until all are asked."""

    def ask(box: str, *asked: str) -> None:
        held: list[Any] = []
        page.route("**/queue/join*", lambda request: held.append(request))
        for words in asked:
            page.fill(box, words)
            page.press(box, "Enter")
            # What a key sets off is done within two frames; the first question is then on its way.
            page.evaluate(
                "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            if words == asked[0] and not held:
                page.wait_for_event("request", lambda request: "/queue/join" in request.url)
        assert held
        for request in held:
            request.continue_()
        page.unroute("**/queue/join*")

    ask("#words input", "night", "charcoal at dusk")
    page.wait_for_function("() => document.querySelector('#told').innerText.includes('charcoal at dusk')")
    page.wait_for_selector("#file:not([disabled]):not(.disabled)")
    assert "charcoal at dusk" in page.inner_text("#code")
    page.click("button[role=tab]:has-text('Browse the zoo')")
    page.wait_for_selector("#zoo button.thumbnail-item")
    ask("#search input, #search textarea", "night", "watercolour")
    page.wait_for_function(
        "() => document.querySelector('#zoo .caption-label')?.innerText.includes('watercolour')"
    )


def test_two_looks_are_blended_and_taken_home(page: Any, tmp_path: Path) -> None:
    page.click("button[role=tab]:has-text('Blend')")
    page.fill("#first input", "pencil sketch")
    page.fill("#second input", "night")
    page.click("#mix")
    page.wait_for_selector("#blend-file:not([disabled]):not(.disabled)")
    before, after = shown(page, "#blended")
    file = download(page, "#blend-file", tmp_path)
    assert (applied(file, before, tmp_path) == after).all()


def test_how_it_works_shows_what_was_measured(page: Any) -> None:
    page.click("button[role=tab]:has-text('How it works')")
    page.wait_for_selector("table.evidence:visible")
    assert page.locator("table.evidence:visible").count() >= 3


def test_boxes_of_words_suggest_what_the_zoo_knows(page: Any) -> None:
    page.wait_for_selector("#words input[list=known-words]")
    known = page.eval_on_selector_all("#known-words option", "options => options.map(one => one.value)")
    assert len(known) == 400
    assert {"watercolour", "charcoal drawing"} <= set(known)
    page.click("button[role=tab]:has-text('Blend')")
    page.wait_for_selector("#first input[list=known-words]")
    page.wait_for_selector("#second input[list=known-words]")


def test_a_visitor_who_leaves_midway_does_not_disturb_others(new_window: Window, page: Any) -> None:
    other = new_window.open()
    other.fill("#words input", "faded navy film")
    other.press("#words input", "Enter")
    other.close()
    generate(page, "faded navy film")
    assert len(shown(page)) == 2


@pytest.fixture(scope="module")
def dark_window(context: Any, demo: DemoServer) -> Iterator[Window]:
    """The page in the dark, opened on a phone."""
    window = Window(context, demo.url)
    window.page.set_viewport_size(_PHONE)
    window.page.emulate_media(color_scheme="dark")
    window.open()
    yield window
    window.page.close()


def check_phone(page: Any, *, is_dark: bool) -> None:
    """Nothing is wider than the screen, and the colours are those that the phone asks for."""
    assert page.evaluate("() => document.scrollingElement.scrollWidth <= window.innerWidth")
    assert page.locator("button[role=tab]:visible").all_inner_texts() == [
        "Generate",
        "Browse the zoo",
        "Blend",
        "How it works",
    ]
    box = page.locator("#go").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= _PHONE["width"]
    assert box["y"] + box["height"] <= _PHONE["height"]
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.strip("rgba()").split(",")[:3])
    assert (brightness < 380) == is_dark, background


def test_the_page_fits_a_phone_in_the_dark(dark_window: Window) -> None:
    dark_window.page.set_viewport_size(_PHONE)
    check_phone(dark_window.page, is_dark=True)
    dark_window.check()


def test_the_page_fits_a_phone_with_a_picture(new_window: Window) -> None:
    new_window.page.set_viewport_size(_PHONE)
    new_window.page.emulate_media(color_scheme="light")
    page = new_window.open()
    generate(page, "pencil sketch")
    check_phone(page, is_dark=False)
    new_window.check()


def test_the_view_for_programs_names_the_endpoints_and_asks_no_other_host(dark_window: Window) -> None:
    dark_window.page.set_viewport_size(_DESK)  # a phone does not offer it
    dark_window.page.click("footer button:has-text('Use via API')")
    for name in ("/generate", "/search", "/download"):
        dark_window.page.wait_for_selector(f".api-docs :text-is('{name}')")
    assert dark_window.hosts - {""} == {urlsplit(dark_window.url).netloc}


def test_keys_are_enough_and_everything_has_a_name(page: Any) -> None:
    page.fill("#words input", "")
    page.focus("#words input")
    page.keyboard.type("crayon drawing")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "go"
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#told').innerText.includes('crayon drawing')")
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
    names = page.eval_on_selector_all(
        "#examples button.thumbnail-item", "pictures => pictures.map(one => one.getAttribute('aria-label'))"
    )
    assert names == ["chelsea", "coffee", "flower", "rocket", "astronaut", "china"]
    alts = page.eval_on_selector_all("#picture img", "pictures => pictures.map(one => one.alt)")
    assert alts == ["the photo before", "the photo after"]
    assert page.evaluate("() => document.documentElement.lang") == "en"
