"""The layout of the page, and the wiring of events to answers. The answers are in `api`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from initzoo.demo.api import Answers, error_text
from initzoo.demo.evidence import bench_html, evidence_html, read_figures
from initzoo.demo.requests import MAX_WORDS
from initzoo.demo.service import FORMS, Listing
from initzoo.errors import InitzooError
from initzoo.files import IMAGE_SUFFIXES

__all__ = ["N_AT_ONCE", "build_page"]

N_AT_ONCE = 2
"""Number of requests computed at the same time: one per core of a small machine."""

_TRIES = (
    "charcoal at dusk",
    "watercolour",
    "faded teal film",
    "pencil sketch",
    "neon edges at night",
    "old sepia",
)
_N_SUGGESTIONS = 400
_FORM_NAMES = {"merged": "whole network, ready to use", "adapter": "adapter alone, small"}
_ALL = "all"
_INTRO = (
    "# initzoo\nType a look, see it on your photo, take the weights home: "
    "they start a small image-to-image network where others start from noise."
)
_HOW = Path(__file__).with_name("how.md")


def build_page(answers: Answers, *, keep_seconds: int) -> gr.Blocks:
    """Build the page of an open zoo; `serve` launches it.

    Args:
        answers: the answers to the page's events.
        keep_seconds: seconds to keep files that were shown.
    """
    sweep = (max(1, keep_seconds // 10), keep_seconds)
    with gr.Blocks(title="initzoo", analytics_enabled=False, delete_cache=sweep) as page:
        gr.Markdown(_INTRO)
        photo = gr.State(None)
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate"):
                try_words = _generate_tab(answers, photo)
            with gr.Tab("Browse the zoo", id="browse") as tab:
                _browse_tab(answers, tabs, tab, try_words)
            with gr.Tab("Blend", id="blend"):
                _blend_tab(answers, photo)
            with gr.Tab("How it works", id="how"):
                n_concepts = f"{len(answers.studio.zoo.index):,}"
                gr.Markdown(_HOW.read_text("utf-8").format(n_concepts=n_concepts))
                zoo = answers.studio.zoo
                gr.HTML(evidence_html(read_figures(zoo, "evaluation.json")))
                gr.HTML(bench_html(read_figures(zoo, "bench.json")))
        _endpoints(answers)
    return page


Chain = Callable[[Any], Any]
"""Takes an event that fills in the words, and continues as the Generate button does."""


@dataclass(frozen=True)
class _Asking:
    """The components with the visitor's input and the picture."""

    words: gr.Textbox
    go: gr.Button
    tries: gr.Dataset
    picture: gr.ImageSlider
    examples: gr.Gallery
    upload: gr.UploadButton
    seed: gr.Number
    anew: gr.Checkbox


@dataclass(frozen=True)
class _Telling:
    """The components with the description, the neighbours and the download."""

    told: gr.HTML
    nearest: gr.Gallery
    variations: gr.Gallery
    form: gr.Radio
    file: gr.DownloadButton
    code: gr.Code


def _generate_tab(answers: Answers, photo: gr.State) -> tuple[gr.Textbox, Chain]:
    known = "".join(
        f"<option value='{escape(words)}'>" for words in answers.studio.suggestions(_N_SUGGESTIONS)
    )
    gr.HTML(f"<datalist id='known-words'>{known}</datalist>", padding=False, elem_id="known")
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            asking = _asking_side(answers)
        with gr.Column(scale=4, min_width=300):
            telling = _telling_side()
    return asking.words, _wire(answers, photo, asking, telling)


def _asking_side(answers: Answers) -> _Asking:
    with gr.Row(equal_height=True):
        words = gr.Textbox(
            label="What should the photo look like?",
            placeholder="charcoal at dusk",
            max_lines=1,
            max_length=MAX_WORDS,
            elem_id="words",
            scale=4,
            min_width=180,
            autofocus=True,
        )
        go = gr.Button("Generate", variant="primary", elem_id="go", scale=1, min_width=110)
    tries = gr.Dataset(
        components=[words], samples=[[words_] for words_ in _TRIES], label="Try", type="values"
    )
    picture = gr.ImageSlider(label="Before and after", interactive=False, elem_id="picture", max_height=420)
    with gr.Row(equal_height=True):
        examples = gr.Gallery(
            value=_example_pictures(answers),
            label="Example photos",
            elem_id="examples",
            scale=4,
            min_width=240,
            **_gallery(columns=6),
        )
        upload = gr.UploadButton(
            "Use my photo",
            file_types=["image", *IMAGE_SUFFIXES],  # some of these no browser knows as images
            type="filepath",
            elem_id="upload",
            min_width=130,
        )
    with gr.Accordion("Seed and origin", open=False):
        seed = gr.Number(0, label="Seed of a generated init", precision=0, elem_id="seed")
        anew = gr.Checkbox(False, label="Generate even where the zoo has a checkpoint", elem_id="anew")
    return _Asking(words, go, tries, picture, examples, upload, seed, anew)


def _telling_side() -> _Telling:
    told = gr.HTML("<p>Type a look and press Generate.</p>", elem_id="told")
    nearest = gr.Gallery(label="Nearest in the zoo: click one", elem_id="nearest", **_gallery(columns=4))
    variations = gr.Gallery(
        label="Other seeds: click one", visible=False, elem_id="variations", **_gallery(columns=4)
    )
    with gr.Row(equal_height=True, elem_id="home"):
        form = gr.Radio(
            [(_FORM_NAMES[form], form) for form in FORMS],
            value=FORMS[0],
            label="File to take home",
            elem_id="form",
            scale=3,
        )
        file = gr.DownloadButton(
            "Download", variant="primary", interactive=False, elem_id="file", min_width=120
        )
    code = gr.Code(
        label="Get it and fine-tune it",
        language="shell",
        wrap_lines=True,
        interactive=False,
        elem_id="code",
    )
    return _Telling(told, nearest, variations, form, file, code)


def _wire(answers: Answers, photo: gr.State, asking: _Asking, telling: _Telling) -> Chain:
    """Connect the events. Each shows a preview, then its file and other seeds."""
    request, near_ids, seeds = gr.State(None), gr.State([]), gr.State([])
    words, file = asking.words, telling.file

    def preview(*asked: Any) -> tuple[Any, ...]:
        # The file follows; until then the button would still offer the previous one.
        return (*answers.show(*asked), gr.DownloadButton(interactive=False))

    show: dict[str, Any] = {
        "fn": _polite(preview),
        "inputs": [words, asking.seed, asking.anew, photo],
        "outputs": [asking.picture, telling.told, telling.nearest, near_ids, telling.code, request, file],
        **_COMPUTES,
    }

    def more(request: Any, photo: Any, form: Any) -> tuple[Any, ...]:
        pictures, drawn = answers.variations(request, photo)
        shown = gr.Gallery(value=pictures, visible=bool(pictures))  # a checkpoint has no other seeds
        return _button(answers.download(**request, form=form)), shown, drawn

    def take(request: Any, form: Any) -> Any:
        return gr.skip() if request is None else _button(answers.download(**request, form=form))

    then: dict[str, Any] = {
        "fn": _polite(more),
        "inputs": [request, photo, telling.form],
        "outputs": [file, telling.variations, seeds],
        **_COMPUTES,
        "show_progress": "hidden",
    }

    def chain(event: Any) -> Any:
        return event.success(**show).success(**then)

    gr.on([asking.go.click, words.submit], **show).success(**then)
    chain(asking.tries.click(lambda sample: sample[0], [asking.tries], [words], **_QUIET))
    chain(telling.nearest.select(_pick, [near_ids], [words], **_QUIET))
    chain(telling.variations.select(_pick_seed, [seeds], [asking.seed], **_QUIET))
    telling.form.change(_polite(take), [request, telling.form], [file], **_COMPUTES, show_progress="hidden")
    # A new photo is edited with the current words, or with an example.
    raw = _COMPUTES | {"preprocess": False}
    for event in (
        asking.upload.upload(_polite(answers.take_photo), [asking.upload], [photo], **raw),
        asking.examples.select(_example_picker(answers), None, [photo], **_QUIET),
    ):
        event.success(_first_words, [words], [words], **_QUIET).success(**show).success(**then)
    return chain


def _browse_tab(answers: Answers, tabs: gr.Tabs, tab: gr.Tab, try_words: tuple[gr.Textbox, Chain]) -> None:
    words, chain = try_words
    ids, page = gr.State([]), gr.State(1)
    with gr.Row(equal_height=True):
        asked = gr.Textbox(
            label="Search the zoo", placeholder="sketch", max_length=MAX_WORDS, elem_id="search", scale=3
        )
        family = gr.Dropdown([_ALL, *answers.studio.families], value=_ALL, label="Family", elem_id="family")
        licence = gr.Dropdown(
            [_ALL, *answers.studio.licences], value=_ALL, label="Licence", elem_id="licence"
        )
    gallery = gr.Gallery(label="Click one to see it on your photo", elem_id="zoo", **_gallery(columns=10))
    with gr.Row(equal_height=True):
        back = gr.Button("Previous", elem_id="back", min_width=90, scale=1)
        count = gr.HTML("", elem_id="count", elem_classes="count")
        on = gr.Button("Next", elem_id="next", min_width=90, scale=1)

    def listing(asked: Any, family: Any, licence: Any, page: Any, step: int) -> tuple[Any, ...]:
        page_of_concepts = answers.studio.browse(
            asked or "",  # None if the box was never shown
            family=None if family == _ALL else family,
            licence=None if licence == _ALL else licence,
            page=page + step if step else 1,
        )
        names, pictures = answers.pictures_of([concept.concept_id for concept in page_of_concepts.concepts])
        return pictures, names, page_of_concepts.page, _count_html(page_of_concepts)

    outputs = [gallery, ids, page, count]
    filters = [asked, family, licence, page]
    for event, step in ((back.click, -1), (on.click, 1)):
        event(_polite(partial(listing, step=step)), filters, outputs, **_COMPUTES)
    first = _polite(partial(listing, step=0))
    gr.on([asked.submit, family.change, licence.change], first, filters, outputs, **_COMPUTES)
    tab.select(_only_when_empty(first), [*filters, ids], outputs, **_COMPUTES)
    picked = gallery.select(_pick, [ids], [words], **_QUIET)
    chain(picked.success(lambda: gr.Tabs(selected="generate"), None, [tabs], **_QUIET))


def _blend_tab(answers: Answers, photo: gr.State) -> None:
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            with gr.Row():
                box: dict[str, Any] = {"max_length": MAX_WORDS, "max_lines": 1, "min_width": 140}
                first = gr.Textbox("watercolour", label="One look", elem_id="first", **box)
                second = gr.Textbox("night", label="Another look", elem_id="second", **box)
            share = gr.Slider(0, 1, 0.5, step=0.05, label="Share of the other look", elem_id="share")
            go = gr.Button("Blend", variant="primary", elem_id="mix")
            picture = gr.ImageSlider(
                label="Before and after",
                interactive=False,
                elem_id="blended",
                max_height=420,
            )
        with gr.Column(scale=4, min_width=300):
            told = gr.HTML("<p>Name two looks: the weights between theirs make a look between theirs.</p>")
            file = gr.DownloadButton(
                "Download the blend", variant="primary", interactive=False, elem_id="blend-file"
            )
            code = gr.Code(
                label="Make it and fine-tune it", language="shell", wrap_lines=True, interactive=False
            )

    def show(*asked: Any) -> tuple[Any, ...]:
        pictures, text, path, commands = answers.show_blend(*asked)
        return pictures, text, _button(path), commands

    inputs, outputs = [first, second, share, photo], [picture, told, file, code]
    gr.on([go.click, first.submit, second.submit, share.release], _polite(show), inputs, outputs, **_COMPUTES)


def _endpoints(answers: Answers) -> None:
    """Define the endpoints for programs. Hidden components give the types; values are passed unprocessed."""
    text, upload = gr.Textbox(visible=False, label="words"), _raw_file()
    number = gr.Number(0, visible=False, precision=0, label="seed")
    origin = gr.Textbox("auto", visible=False, label="origin")
    form = gr.Textbox(FORMS[0], visible=False, label="form")
    limit = gr.Number(10, visible=False, precision=0, label="limit")
    picture = gr.Image(visible=False, format="png", type="filepath", label="picture")
    told, found = gr.JSON(visible=False, label="told"), gr.JSON(visible=False, label="found")
    file, press = gr.File(visible=False, label="file"), gr.Button(visible=False)
    public: dict[str, Any] = {
        "preprocess": False,
        "concurrency_limit": N_AT_ONCE,
        "concurrency_id": "compute",
    }

    def generate(words: Any, photo: Any = None, seed: Any = 0, origin: Any = "auto") -> tuple[str, Any]:
        """Edit a photo with the weights that words name or that are made from them."""
        path, told = answers.generate(words, photo, seed, origin)
        return str(path), told

    def search(words: Any, limit: Any = 10) -> Any:
        """Concepts of the zoo with wordings like some words, nearest first."""
        return answers.search(words, limit)

    def download(words: Any, seed: Any = 0, origin: Any = "auto", form: Any = "merged") -> str:
        """The weights as a file, as `initzoo pull` writes it."""
        return str(answers.download(words, seed, origin, form))

    for function, inputs, outputs in (
        (_on_gpu(generate), [text, upload, number, origin], [picture, told]),
        (search, [text, limit], [found]),
        (download, [text, number, origin, form], [file]),
    ):
        press.click(_polite(function), inputs, outputs, api_name=function.__name__, **public)


def _raw_file() -> gr.File:
    """A file component that passes values unprocessed: its model would refuse bad ones without a reason."""
    upload = gr.File(visible=False, type="filepath", label="photo")
    info, upload.data_model = upload.api_info(), None
    upload.api_info = lambda: info
    return upload


_COMPUTES: dict[str, Any] = {
    "concurrency_limit": N_AT_ONCE,
    "concurrency_id": "compute",
    "api_visibility": "private",
    # By default gradio drops events while an answer is computed; here the last one must win.
    "trigger_mode": "always_last",
}
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": 8}


def _gallery(*, columns: int) -> dict[str, Any]:
    return {
        "columns": columns,
        "height": "auto",
        "allow_preview": False,
        "buttons": [],
        "object_fit": "cover",
        "interactive": False,
    }


def _polite(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an `InitzooError` into a message for the visitor."""

    @wraps(function, updated=())
    def answer(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except InitzooError as error:
            raise gr.Error(error_text(error), title="That did not work", print_exception=False) from error

    return answer


def _on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Request a GPU for a function on Spaces with shared GPUs, which have the package `spaces`."""
    spec = find_spec("spaces")
    if spec is None or spec.origin is None:  # a folder named spaces counts as a namespace package
        return function
    from spaces import GPU

    decorated: Callable[..., Any] = GPU(function)
    return decorated


def _button(path: Any) -> Any:
    return gr.DownloadButton(value=str(path), interactive=True)


def _pick(names: list[str], event: gr.SelectData) -> str:
    index = event.index
    if not isinstance(index, int) or not 0 <= index < len(names):
        raise gr.Error("that picture is not there any more. Search again", print_exception=False)
    return names[index]


def _pick_seed(seeds: list[int], event: gr.SelectData) -> int:
    if not isinstance(event.index, int) or not 0 <= event.index < len(seeds):
        raise gr.Error("that picture is not there any more. Generate again", print_exception=False)
    return seeds[event.index]


def _example_picker(answers: Answers) -> Callable[[gr.SelectData], Any]:
    def pick(event: gr.SelectData) -> Any:
        return answers.take_example(event.index if isinstance(event.index, int) else 0)

    return pick


def _first_words(words: Any) -> Any:
    return words if isinstance(words, str) and words.strip() else _TRIES[0]


def _only_when_empty(listing: Callable[..., Any]) -> Callable[..., Any]:
    """List the zoo when its tab is opened for the first time."""

    def fill(*values: Any) -> Any:
        *filters, ids = values
        return tuple(gr.skip() for _ in range(4)) if ids else listing(*filters)

    return fill


def _example_pictures(answers: Answers) -> list[tuple[str, str]]:
    return [
        (answers.take_example(number)["path"], photo.name)
        for number, photo in enumerate(answers.studio.examples)
    ]


def _count_html(listing: Listing) -> str:
    noun = "concept" if listing.n_found == 1 else "concepts"
    return f"<span role='status'>{listing.n_found:,} {noun}, page {listing.page} of {listing.n_pages}</span>"
