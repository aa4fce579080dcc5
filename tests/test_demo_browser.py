"""The page in a real browser: what visitors do, on a desk and on a phone."""

from __future__ import annotations

import io
import random
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest
from cli_running import succeed
from delaying_proxy import delaying_proxy
from demo_fixtures import CHROMIUM_FLAGS, DemoServer

from initzoo.checkpoints.init import Init
from initzoo.files.images import read_image, write_image
from initzoo.zoo.zoo import Zoo

pytestmark = [
    pytest.mark.xdist_group("demo"),  # one server and one browser, in one process of the tests
    pytest.mark.usefixtures("chromium"),
]

ROOT = Path(__file__).parent.parent
_PATIENCE = 240_000  # ms; a busy machine is no failure
_DESK, _PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}
_SERIOUS = {"serious", "critical"}
_FOLDS = ("use", "train", "numbers", "pairs", "mix", "zoo", "how", "figures", "programs")
_MAX_FIRST_LOAD = 800_000


class Window:
    """A page in the browser, and what went wrong in it."""

    def __init__(self, context: Any, url: str) -> None:
        self.url = url
        self.wrong: list[str] = []
        self.hosts: set[str] = set()
        self.page = context.new_page()
        self.page.set_default_timeout(_PATIENCE)
        self.page.on("console", lambda line: self.wrong.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def open(self, query: str = "") -> Any:
        """Go to the page."""
        self.page.goto(f"{self.url}/{query}")
        return self.page

    def check(self) -> None:
        """Nothing went wrong, and nobody else was asked for anything."""
        # How browsers log refusals, which the page shows.
        refused = re.compile(r"the server responded with a status of (4\d\d|503)")
        assert [line for line in self.wrong if not refused.search(line)] == []
        assert self.hosts - {""} == {urlsplit(self.url).netloc}  # "" is of data: and blob: addresses


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Any) -> Any:
    return browser.new_context(viewport=_DESK, accept_downloads=True, reduced_motion="reduce")


@pytest.fixture
def window(context: Any, demo: DemoServer) -> Iterator[Window]:
    """A page on a desk; in the end nothing went wrong in it."""
    window = Window(context, demo.url)
    window.open()
    yield window
    window.check()
    window.page.close()


@pytest.fixture
def page(window: Window) -> Any:
    return window.page


def ask(page: Any, words: str) -> None:
    """Type words and press Enter."""
    page.fill("#words", words)
    page.press("#words", "Enter")


def wait_for(page: Any, words: str) -> None:
    """Wait until a look is on the screen, with its file."""
    page.wait_for_function(
        """words => document.getElementById('result').dataset.words === words
            && !document.getElementById('result').hasAttribute('aria-busy')
            && document.querySelector('.compare .after').naturalWidth > 0""",
        arg=words,
    )


def show(page: Any, words: str) -> None:
    ask(page, words)
    wait_for(page, words)


def fetch(page: Any, address: str) -> bytes:
    with urllib.request.urlopen(urljoin(page.url, address), timeout=120) as answer:
        data: bytes = answer.read()
    return data


def picture(data: bytes) -> np.ndarray[Any, Any]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def download(page: Any, selector: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click(selector)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def applied(file: Path, pixels: np.ndarray[Any, Any], folder: Path, *options: str) -> np.ndarray[Any, Any]:
    """The picture that `initzoo apply` makes of a photo."""
    photo, out = folder / "photo.png", folder / "out.png"
    write_image(photo, pixels, force=True)
    succeed("apply", file, photo, *options, "-o", out, "--force")
    return read_image(out)


def lossless(page: Any) -> np.ndarray[Any, Any]:
    """The picture on the screen as it can be saved."""
    return picture(fetch(page, page.get_attribute("#use a[download$='.png']", "href")))


def given(page: Any) -> np.ndarray[Any, Any]:
    """The photo before, as the commands of the page fetch it."""
    address = re.search(r'"(http\S+/photo\.png\S*)"', page.text_content("#use code"))
    assert address is not None
    return picture(fetch(page, address[1]))


# The first paint.


def test_the_first_paint_has_a_result_and_its_file(browser: Any, demo: DemoServer, tmp_path: Path) -> None:
    """Without a script even: the look and the link to its weights are in the page itself."""
    context = browser.new_context(java_script_enabled=False, accept_downloads=True)
    page = context.new_page()
    page.goto(demo.url)
    words = page.get_attribute("#result", "data-words")
    assert page.locator(".compare .after").evaluate("image => image.naturalWidth") > 300
    file = download(page, "#file", tmp_path)
    assert file.name == words.replace(" ", "-") + ".safetensors"
    assert (applied(file, given(page), tmp_path) == lossless(page)).all()
    context.close()


@pytest.mark.long
def test_the_first_load_is_light(browser: Any, demo: DemoServer) -> None:
    context = browser.new_context(viewport=_DESK)
    page, sizes = context.new_page(), []
    page.on("response", lambda answer: sizes.append(answer))
    page.goto(demo.url)
    page.wait_for_load_state("networkidle")
    n_bytes = sum(answer.request.sizes()["responseBodySize"] for answer in sizes)
    assert len(sizes) > 10
    assert n_bytes < _MAX_FIRST_LOAD, n_bytes
    context.close()


# Looks.


@pytest.mark.parametrize(
    "words", [pytest.param("faded teal charcoal at dusk", marks=pytest.mark.long), "pencil sketch"]
)
def test_the_file_that_is_taken_home_gives_the_picture_that_was_shown(
    page: Any, tmp_path: Path, words: str
) -> None:
    show(page, words)
    file = download(page, "#file", tmp_path)
    assert file.name == words.replace(" ", "-") + ".safetensors"
    assert (applied(file, given(page), tmp_path) == lossless(page)).all()
    page.click("[data-strength='0.5']")
    page.wait_for_selector("[data-strength='0.5'][aria-pressed=true]")
    assert "--strength 0.5" in page.text_content("#use code")
    assert (applied(file, given(page), tmp_path, "--strength", "0.5") == lossless(page)).all()


@pytest.mark.parametrize(
    "n_looks", [pytest.param(10, marks=pytest.mark.long), pytest.param(60, marks=pytest.mark.slow)]
)
def test_no_look_gets_stuck_where_answers_end_late(browser: Any, demo: DemoServer, n_looks: int) -> None:
    """Looks through a proxy that ends each answer late, by a visitor who pauses now and then."""
    rng, looks = random.Random(1), ("night", "pencil sketch", "watercolour", "sepia", "charcoal at dusk")
    with delaying_proxy(demo.url, low=0.1, high=0.3) as url:
        window = Window(browser.new_context(viewport=_DESK, accept_downloads=True), url)
        page = window.open()
        page.set_default_timeout(60_000)
        for number in range(n_looks):
            words = looks[number % len(looks)]
            ask(page, words)
            wait_for(page, words)
            href = page.get_attribute("#file", "href")
            assert f"words={words.replace(' ', '+')}" in href
            if number % 5 == 0:
                with page.expect_download() as waiting:
                    page.click("#file")
                assert waiting.value.suggested_filename == f"{words.replace(' ', '-')}.safetensors"
                assert waiting.value.failure() is None
            page.wait_for_timeout(rng.choice((0, 0, 50, 150, 250, 400)))
        window.check()
        page.context.close()


@pytest.mark.long
def test_what_is_asked_last_is_what_is_shown(page: Any) -> None:
    """However slow the first answer is: it comes after the second."""
    held: list[Any] = []
    page.route("**/look?*night*", lambda route: held.append(route))
    ask(page, "night")
    page.wait_for_function("() => document.getElementById('result').hasAttribute('aria-busy')")
    show(page, "sepia")
    for route in held:
        route.abort()
    page.unroute("**/look?*night*")
    page.wait_for_timeout(300)
    assert page.get_attribute("#result", "data-words") == "sepia"
    assert page.is_hidden("#problem")


@pytest.mark.long
def test_a_full_server_is_asked_again(page: Any) -> None:
    n_asked = 0

    def answer(route: Any) -> None:
        nonlocal n_asked
        n_asked += 1
        if n_asked == 1:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "many people are here"})
        else:
            route.continue_()

    page.route("**/look?*", answer)
    show(page, "night")
    assert n_asked == 2


@pytest.mark.long
def test_looks_are_a_click_away_and_the_address_names_them(page: Any) -> None:
    page.click("#tries .card >> nth=1")
    words = page.get_attribute("#tries .card >> nth=1", "data-words")
    wait_for(page, words)
    assert f"words={words.replace(' ', '+')}" in page.url
    similar = page.eval_on_selector_all("#similar .card", "cards => cards.map(card => card.innerText.trim())")
    assert 4 <= len(similar) <= 6
    assert not any("--" in text for text in similar)  # wordings, not ids
    page.click("#similar .card >> nth=0")
    wait_for(page, similar[0])
    page.go_back()
    wait_for(page, words)
    page.reload()
    wait_for(page, words)
    assert page.input_value("#words") == words


@pytest.mark.long
def test_an_address_with_words_opens_their_look(window: Window) -> None:
    page = window.open("?words=faded+teal+film")
    assert page.get_attribute("#result", "data-words") == "faded teal film"
    assert page.title() == "faded teal film · initzoo"
    page = window.open("?words=night&with=sepia&share=0.25")
    assert page.get_attribute("#result", "data-words") == "night + sepia"
    page = window.open(f"?words={'x' * 300}")
    assert "at most 200" in page.inner_text("#problem")
    assert page.locator(".compare .after").evaluate("image => image.complete")


@pytest.mark.long
def test_words_that_ask_for_what_no_look_does_are_told(page: Any) -> None:
    show(page, "add a hat to the cat")
    assert "The zoo knows no objects: it changes the look of the whole photo." in page.inner_text(".side")
    show(page, "pencil sketch")
    assert page.locator(".side .warning").count() == 0


@pytest.mark.long
def test_words_far_from_everything_have_similar_looks_too(page: Any) -> None:
    show(page, "qqq xzw")
    assert page.locator("#similar .card").count() >= 4
    assert "far from everything" in page.inner_text(".side")


@pytest.mark.long
def test_examples_are_spoiled_for_restorations_and_photos_of_visitors_are_not(
    page: Any, photo_path: Path, tmp_path: Path
) -> None:
    show(page, "denoise")
    row = Zoo.from_pretrained("starter").find("denoise")
    assert row.family == "restoration"
    assert "spoiled first" in page.inner_text(".side")
    chelsea = read_image(ROOT / "catalog" / "photos" / "chelsea.png")
    assert (given(page) != chelsea).any()
    file = download(page, "#file", tmp_path)
    assert (applied(file, given(page), tmp_path) == lossless(page)).all()
    page.set_input_files("#file-input", str(photo_path))
    page.wait_for_function("() => document.getElementById('result').dataset.photo.length === 32")
    assert "spoiled" not in page.inner_text(".side")


@pytest.mark.long
def test_words_no_visitor_needs_stay_in_details(page: Any) -> None:
    show(page, "charcoal at dusk")
    assert " dB" not in page.evaluate("() => document.body.innerText")
    page.click("#numbers summary")
    assert " dB" in page.inner_text("#numbers")


# Photos.


def test_own_photos_are_edited_and_bad_ones_are_told_beside_the_result(
    page: Any, photo_path: Path, tmp_path: Path
) -> None:
    show(page, "night")
    (tmp_path / "notes.png").write_text("not a photo")
    page.set_input_files("#file-input", str(tmp_path / "notes.png"))
    page.wait_for_selector("#problem:not([hidden])")
    assert "'notes.png': it is not an image of a known kind" in page.inner_text("#problem")
    assert page.get_attribute("#result", "data-words") == "night"  # the good result stays
    page.set_input_files("#file-input", str(photo_path))
    pixels = read_image(photo_path)
    page.wait_for_function(
        "n => document.querySelector('.compare .before').naturalWidth === n", arg=pixels.shape[1]
    )
    assert page.is_hidden("#problem")
    file = download(page, "#file", tmp_path)
    assert (applied(file, pixels, tmp_path) == lossless(page)).all()
    # Similar looks and looks to begin with are shown on this photo.
    key = page.get_attribute("#result", "data-photo")
    for selector in ("#similar .card img", "#tries .card img"):
        sources = page.eval_on_selector_all(selector, "images => images.map(image => image.src)")
        assert all(f"photo={key}" in source for source in sources)
    assert picture(fetch(page, sources[0])).shape[:2] == pixels.shape[:2]  # it is small already


@pytest.mark.long
@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_photos_of_phones_are_read(page: Any, photo_path: Path, tmp_path: Path, kind: str) -> None:
    from PIL import Image

    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.open(photo_path).save(tmp_path / f"photo.{kind}")
    page.set_input_files("#file-input", str(tmp_path / f"photo.{kind}"))
    page.wait_for_function("() => document.getElementById('result').dataset.photo.length === 32")
    assert page.inner_text("#photo-note") == f"photo.{kind}"


@pytest.mark.long
@pytest.mark.parametrize("way", ["drop", "paste"])
def test_photos_are_dropped_and_pasted(page: Any, photo_path: Path, way: str) -> None:
    page.evaluate(
        """async ([way, letters]) => {
            const bytes = Uint8Array.from(atob(letters), letter => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "mine.png", { type: "image/png" }));
            const event = way === "drop"
                ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [way, __import__("base64").b64encode(photo_path.read_bytes()).decode()],
    )
    page.wait_for_function("() => document.getElementById('result').dataset.photo.length === 32")
    assert page.inner_text("#photo-note") == "mine.png"


# The slider.


@pytest.mark.long
def test_the_slider_moves_by_keys_and_by_touch(browser: Any, demo: DemoServer) -> None:
    context = browser.new_context(viewport=_PHONE, has_touch=True, is_mobile=True)
    window = Window(context, demo.url)
    page = window.open()
    at = "() => getComputedStyle(document.querySelector('.compare')).getPropertyValue('--at')"
    assert page.evaluate(at) == "50%"
    page.focus(".slider")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(at) == "51%"
    page.keyboard.press("End")
    assert page.evaluate(at) == "100%"
    box = page.locator(".compare").bounding_box()
    page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_function(f"() => Math.abs(parseFloat(({at})()) - 25) < 4")
    # A finger that moves up scrolls the page, wherever it is.
    assert page.evaluate("() => getComputedStyle(document.querySelector('.slider')).touchAction") == "pan-y"
    context.close()


# Mixes and the zoo.


@pytest.mark.long
def test_two_looks_are_mixed_and_taken_home(page: Any, tmp_path: Path) -> None:
    page.click("#mix summary")
    page.fill("#mix [name=words]", "pencil sketch")
    page.fill("#mix [name=with]", "night")
    page.click("#mix button")
    wait_for(page, "pencil sketch + night")
    file = download(page, "#file", tmp_path)
    assert file.name == "pencil-sketch-50-night-50.safetensors"
    assert (applied(file, given(page), tmp_path) == lossless(page)).all()


@pytest.mark.long
def test_pairs_give_a_network_that_edits_the_photo(page: Any, tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), {"before": [], "after": []}
    for number in (2, 10):  # in the order of numbers, not of letters
        before = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        for side, pixels in (("before", before), ("after", 255 - before)):
            path = tmp_path / side / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            write_image(path, pixels, force=True)
            names[side].append(path)
    page.click("#pairs summary")
    page.set_input_files("#pairs [name=before]", names["before"])
    page.set_input_files("#pairs [name=after]", names["after"][:1])
    page.click("#pairs button")
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == "There are 2 photos before and 1 after. Choose as many of each."
    page.set_input_files("#pairs [name=after]", names["after"][::-1])
    page.click("#pairs button")
    wait_for(page, "your pairs")
    assert page.is_hidden("#problem")
    assert "pairs=" not in page.url, "the address is for everybody, and the pairs are not"
    with page.expect_download() as started:
        page.click("#file")
    started.value.save_as(tmp_path / "mine.safetensors")
    assert Init.load(tmp_path / "mine.safetensors").metadata.fitting.n_pairs == 1  # the other is held back
    show(page, "night")
    page.go_back()
    wait_for(page, "your pairs")


@pytest.mark.long
def test_the_zoo_is_browsed_by_words_kind_and_page(page: Any) -> None:
    page.click("#zoo summary")
    page.wait_for_function("() => document.querySelectorAll('#zoo-page .card').length === 36")
    assert page.is_disabled("#zoo [data-step='-1']")
    page.click("#zoo [data-step='1']")
    page.wait_for_selector("#zoo-page[data-page='2']")
    n_found = sum(row.family == "restoration" for row in Zoo.from_pretrained("starter").index.rows())
    page.select_option("#zoo select", "restoration")
    page.wait_for_function(
        "n => document.querySelector('#zoo-page p').innerText.startsWith(n)", arg=f"{n_found} "
    )
    page.select_option("#zoo select", "")
    page.fill("#zoo [name=words]", "watercolour")
    page.press("#zoo [name=words]", "Enter")
    page.wait_for_selector("#zoo-page .card[data-words=watercolour]")
    page.click("#zoo-page .card[data-words=watercolour]")
    wait_for(page, "watercolour")


# For all visitors.


@pytest.mark.long
def test_markup_in_words_stays_text(page: Any) -> None:
    words = "sketch <img src=x onerror=window.hacked=1> **bold** 'quoted'"
    show(page, words)
    assert page.evaluate("() => window.hacked") is None
    assert page.locator(".side img[src=x]").count() == 0
    assert page.inner_text(".side h2").lower() == words.lower()
    ask(page, "карандаш <img src=x onerror=window.hacked=1>")
    page.wait_for_function(
        "() => document.getElementById('problem').innerText.includes('to an alphabet that no')"
    )
    assert page.evaluate("() => window.hacked") is None
    assert page.get_attribute("#result", "data-words") == words


def violations(page: Any) -> list[tuple[str, str, Any]]:
    """Serious faults that axe-core finds."""
    import axe_playwright_python

    script = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    page.evaluate(script.read_text("utf-8") + "; 0")
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [
        (one["id"], one["impact"], [node["target"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in _SERIOUS
    ]


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(_DESK, "light", id="desk-light"),
        pytest.param(_DESK, "dark", id="desk-dark", marks=pytest.mark.long),
        pytest.param(_PHONE, "light", id="phone-light", marks=pytest.mark.long),
        pytest.param(_PHONE, "dark", id="phone-dark", marks=pytest.mark.long),
    ],
)
def test_every_state_is_accessible_and_fits(
    browser: Any, demo: DemoServer, scheme: str, size: dict[str, int]
) -> None:
    context = browser.new_context(
        viewport=size, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    )
    window = Window(context, demo.url)
    page = window.open()

    def check(state: str) -> None:
        assert violations(page) == [], state
        assert page.evaluate("() => document.scrollingElement.scrollWidth <= window.innerWidth"), state

    check("first")
    button = page.locator("#file").bounding_box()
    assert button["y"] + button["height"] <= size["height"]  # within the first screen
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.strip("rgba()").split(",")[:3])
    assert (brightness < 380) == (scheme == "dark"), background
    for fold in _FOLDS:
        page.evaluate("fold => { document.getElementById(fold).open = true; }", fold)
    page.wait_for_selector("#zoo-page .card")
    check("all unfolded")
    show(page, "add a hat and qqq xzw")
    check("with warnings")
    ask(page, "карандаш")
    page.wait_for_selector("#problem:not([hidden])")
    check("with a problem")
    page.route("**/look?*", lambda route: None)
    ask(page, "night")
    page.wait_for_function("() => document.getElementById('result').hasAttribute('aria-busy')")
    check("while it works")
    context.close()


@pytest.mark.long
def test_keys_are_enough(page: Any) -> None:
    page.focus("#words")
    page.keyboard.press("Control+A")
    page.keyboard.type("crayon drawing")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "go"
    page.keyboard.press("Enter")
    wait_for(page, "crayon drawing")
    assert page.inner_text("#status") == "crayon drawing is shown"
    page.focus("[data-strength='1.5']")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-strength='1.5'][aria-pressed=true]")
    # Whoever moves by keys is where they were, in the new result.
    assert page.evaluate("() => document.activeElement.dataset.strength") == "1.5"
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@pytest.mark.long
def test_boxes_of_words_suggest_what_the_zoo_knows(page: Any) -> None:
    known = page.eval_on_selector_all("#known option", "options => options.map(option => option.value)")
    assert len(known) == 300
    assert "watercolour" in known
    for box in ("#words", "#mix [name=words]", "#mix [name=with]"):
        assert page.get_attribute(box, "list") == "known"


@pytest.mark.long
def test_a_visitor_who_leaves_midway_does_not_disturb_others(
    context: Any, demo: DemoServer, page: Any
) -> None:
    other = Window(context, demo.url).open()
    ask(other, "faded navy film")
    other.close()
    show(page, "faded navy film")
