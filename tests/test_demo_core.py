"""The demo without a page: what is asked is checked, and answered the same way each time."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import run_script
from zoo_fixtures import TINY_CONCEPTS, kept_generating_zoo, kept_zoo, tiny_zoo

from initzoo.checkpoints.blend import blend_inits
from initzoo.checkpoints.init import MAX_SEED, Init
from initzoo.demo.api import Answers, error_text
from initzoo.demo.calls import ENDPOINTS, UnknownEndpoint, check_call, complete_call
from initzoo.demo.evidence import bench_html, evidence_html, read_figures
from initzoo.demo.file_store import KeptFiles
from initzoo.demo.leftovers import VisitorFolder, remove_leftovers
from initzoo.demo.quota import Quota
from initzoo.demo.requests import STRENGTHS, Look, read_look, read_seed, read_share, read_upload, read_words
from initzoo.demo.service import Studio
from initzoo.demo.texts import file_name, tell_prospect
from initzoo.demo.turns import Busy, Turns
from initzoo.demo.uploads import MAX_PREVIEW_PIXELS, read_photo
from initzoo.demo.views import Views
from initzoo.errors import (
    ChecksumMismatch,
    InitzooError,
    InvalidImage,
    InvalidInit,
    InvalidPairs,
    InvalidRequest,
    InvalidWords,
    UnknownConcept,
)
from initzoo.files.images import read_image, write_image
from initzoo.generator.request import Request
from initzoo.pairs.sources import Pair
from initzoo.zoo.labels import METHODS, QUESTIONS
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_generating_zoo", "kept_zoo", "tiny_zoo"]  # fixtures


@pytest.fixture(scope="module")
def studio(kept_generating_zoo: Path) -> Studio:
    """A tiny zoo, open."""
    return Studio(Zoo.from_pretrained(kept_generating_zoo), None)


@pytest.fixture
def answers(studio: Studio, tmp_path: Path) -> Answers:
    folder = tmp_path / "kept"
    folder.mkdir()
    return Answers(studio, KeptFiles(folder))


@pytest.fixture
def views(answers: Answers) -> Views:
    return Views(answers.studio, answers.kept)


def a_look(words: str, **query: str) -> Look:
    return read_look({"words": words, **query})


# What is asked.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (None, "words must be a text, found nothing"),
        (7, "found a number"),
        ({"a": 1}, "found an object"),
        (["x"], "found a list"),
        ("x" * 10_000, "words have 10,000 letters, at most 200 are read"),
        ("\ufdfa" * 199, "letters, at most 200"),  # one letter that becomes eighteen
    ],
)
def test_words_that_are_none_are_refused_with_what_to_do(words: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_words(words)


@pytest.mark.parametrize("words", ["", "   ", "\n", "\u200b", "a\x00b", "a\x1b[31m"])
def test_empty_and_invisible_words_are_refused(words: str) -> None:
    with pytest.raises(InvalidWords):
        read_words(words)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**400, 1.5, float("nan"), float("inf"), "3", True, None, [1]])
def test_seeds_that_are_none_are_refused(seed: object) -> None:
    with pytest.raises(InvalidRequest, match="seed must be a whole number from 0 to") as caught:
        read_seed(seed)
    assert len(str(caught.value)) < 300


def test_whole_seeds_pass_whatever_their_type() -> None:
    assert [read_seed(seed) for seed in (0, 4.0, MAX_SEED)] == [0, 4, MAX_SEED]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_shares_that_are_none_are_refused(share: object) -> None:
    with pytest.raises(InvalidRequest, match="share must be a number from 0 to 1"):
        read_share(share)


@pytest.mark.parametrize(
    "named",
    ["../secret.txt", "/etc/passwd", "inside/../../secret.txt", "", "a\0b", "x" * 5000, 7, ["a"], "."],
)
def test_only_uploaded_files_are_read(tmp_path: Path, named: object) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    with pytest.raises(InvalidRequest, match="photo must be an uploaded image file"):
        read_upload({"path": named}, uploads)


def test_a_link_out_of_the_uploads_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "link.png").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InvalidRequest, match="photo must be an uploaded image file"):
        read_upload("link.png", tmp_path / "uploads")


def test_uploads_are_found_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    assert read_upload({"path": str(tmp_path / "a.png")}, tmp_path) == tmp_path / "a.png"
    assert read_upload(None, tmp_path) is None


# Photos.


def image_file(folder: Path, kind: str) -> Path:
    """A file of some kind, good or bad, as visitors upload them."""
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    path = folder / f"{kind}.png"
    if kind == "cmyk":
        path = folder / "cmyk.jpg"
        colour.convert("CMYK").save(path)
    elif kind == "sixteen":
        Image.fromarray(rng.integers(0, 65536, (24, 40)).astype(np.uint16)).save(path)
    elif kind == "rotated":
        exif = Image.Exif()
        exif[274] = 6
        path = folder / "rotated.jpg"
        colour.save(path, exif=exif)
    elif kind == "transparent":
        Image.fromarray(np.dstack([pixels, np.zeros((24, 40), np.uint8)])).save(path)
    elif kind == "animated":
        path = folder / "animated.gif"
        colour.save(path, save_all=True, append_images=[colour.transpose(Image.Transpose.ROTATE_180)])
    elif kind == "corrupt":
        colour.save(path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "text":
        path.write_text("not a photo")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "huge":  # 100 megapixels in a few hundred kilobytes
        Image.new("L", (10_000, 10_000)).save(path)
    elif kind == "svg":
        path = folder / "x.svg"
        path.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    else:
        colour.save(path)
    return path


@pytest.mark.parametrize("kind", ["plain", "cmyk", "sixteen", "transparent", "animated"])
def test_photos_of_any_kind_are_read(tmp_path: Path, kind: str) -> None:
    photo = read_photo(image_file(tmp_path, kind))
    assert photo.pixels.shape == (24, 40, 3)
    assert photo.pixels.dtype == np.uint8
    assert not photo.is_shrunk


def test_a_photo_lies_as_its_camera_was_held(tmp_path: Path) -> None:
    assert read_photo(image_file(tmp_path, "rotated")).pixels.shape == (40, 24, 3)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    assert (read_photo(image_file(tmp_path, "transparent")).pixels == 255).all()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("corrupt", "damaged or cut off"),
        ("text", "not an image of a known kind"),
        ("svg", "not an image of a known kind"),
        ("empty", "is empty"),
        ("huge", "too many pixels .10000 x 10000.; expected at most 50 million"),
    ],
)
def test_bad_photos_are_refused_without_their_folder(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(InvalidImage, match=message) as caught:
        read_photo(image_file(tmp_path, kind))
    assert str(tmp_path) not in str(caught.value)


def test_large_photos_are_shrunk_and_their_size_is_told(views: Views, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (2000, 1500), "teal").save(tmp_path / "large.jpg")
    taken = views.keep_photo(tmp_path / "large.jpg", "large.jpg")
    assert taken["note"].startswith("Shown at 591 x 443 pixels")
    height, width = views.photo_of(taken["photo"]).shape[:2]
    assert height * width <= MAX_PREVIEW_PIXELS
    assert [path.name for path in views.kept.all_files()] == ["photo.png"]  # the photo itself is not kept


@pytest.mark.parametrize("key", ["0" * 32, "../../etc/passwd", "g" * 32, "", "nobody"])
def test_photos_that_are_not_there_are_asked_for_again(views: Views, key: str) -> None:
    with pytest.raises(InvalidRequest, match="photos are kept for an hour. Choose it again"):
        views.look(a_look("pencil sketch"), key, "http://x")


# Calls of programs.


def test_calls_are_completed_and_checked_in_one_line(tmp_path: Path) -> None:
    assert check_call("generate", ["sketch"], tmp_path) == ["sketch", None, 0, "auto"]
    assert check_call("download", {"words": "sketch", "form": "adapter"}, tmp_path) == [
        "sketch",
        0,
        "auto",
        "adapter",
    ]
    with pytest.raises(
        UnknownEndpoint, match="no endpoint '/paint'; there are /generate, /search, /download"
    ):
        complete_call("paint", ["sketch"])
    for values, message in (
        ([], "/search takes 1 to 2 values .words, limit., found 0"),
        ("sketch", "/search takes its values as a list"),
        (None, "/search takes its values as a list"),
        ({"limit": 3}, "/search needs a value for 'words'"),
        ({"word": "sketch"}, "/search has no parameter 'word'; it takes words, limit"),
        (["sketch", 0], "limit must be a whole number from 1 to 50, found 0"),
        ([["sketch"]], "words must be a text, found a list"),
    ):
        with pytest.raises(InvalidRequest, match=message) as caught:
            check_call("search", values, tmp_path)
        assert "\n" not in str(caught.value)


def test_the_examples_of_the_endpoints_pass_their_own_checks(tmp_path: Path) -> None:
    sent = {"path": str(image_file(tmp_path, "plain"))}
    for name, parameters in ENDPOINTS.items():
        # No file of an example is on a server before it was sent.
        examples = [[sent] if one.name in ("before", "after") else one.example for one in parameters]
        check_call(name, examples, tmp_path)


# Many at once.


def test_turns_go_round_in_order_and_the_rest_is_refused() -> None:
    turns, order, is_held, go_on = Turns(1, 2), [], threading.Event(), threading.Event()

    def compute(name: str) -> None:
        with turns.take():
            order.append(name)
            is_held.set()
            go_on.wait(30)

    threads = [threading.Thread(target=compute, args=(name,)) for name in "abc"]
    for n_waiting, thread in enumerate(threads):
        thread.start()
        is_held.wait(30)
        while turns.n_waiting < n_waiting:
            time.sleep(0.005)
    with pytest.raises(Busy, match="Try again in 4 seconds"), turns.take():
        pass
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert order == ["a", "b", "c"]
    with turns.take():
        assert turns.n_waiting == 0


def test_searches_and_refusals_do_not_wait_behind_pictures(studio: Studio, answers: Answers) -> None:
    def hold() -> None:
        with studio.turns.take():
            is_held.release()
            go_on.wait(60)

    is_held, go_on = threading.Semaphore(0), threading.Event()
    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
        is_held.acquire(timeout=60)
    try:
        assert answers.search("pencil", 1)["concepts"]
        with pytest.raises(InvalidRequest):
            answers.generate("night", None, -1)
        with pytest.raises(UnknownConcept):
            answers.generate("faded teal", None, 0, "exact")
        with pytest.raises(InvalidWords):
            answers.generate("картина")
    finally:
        go_on.set()
        for thread in threads:
            thread.join(60)


def test_quotas_hold_for_each_client_and_for_all(tmp_path: Path) -> None:
    quota = Quota(max_bytes=100, max_total=250, seconds=60)
    assert [quota.wait_of("a", 60, now=second) for second in (0, 1, 59, 61)] == [0, 59, 1, 0]
    assert quota.wait_of("b", 100, now=62) == 0
    assert quota.wait_of("c", 90, now=63) == 0
    assert quota.wait_of("d", 10, now=64) > 0  # the disk is shared


_KILLED = """
import os, signal, sys
from pathlib import Path
from initzoo.demo.leftovers import VisitorFolder
folder = VisitorFolder(Path(sys.argv[1]))
(folder.path / "photo.png").write_bytes(b"somebody's")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_photos_are_removed_at_the_next_start_after_a_kill(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*/photo.png"))) == 1
    running = VisitorFolder(tmp_path)  # another server, which still runs
    (running.path / "photo.png").write_bytes(b"somebody else's")
    assert remove_leftovers(tmp_path) == 1
    assert [path.parent for path in tmp_path.glob("*/photo.png")] == [running.path]
    running.remove()
    assert list(tmp_path.iterdir()) == []


# Answers.


def test_a_preview_is_what_the_downloaded_file_makes(answers: Answers, tmp_path: Path) -> None:
    shutil.copy(image_file(tmp_path, "plain"), answers.kept.folder / "mine.png")
    photo = {"path": str(answers.kept.folder / "mine.png")}
    for words, origin in (("pencil sketch", "exact"), ("faded teal charcoal at dusk", "generated")):
        picture, told = answers.generate(words, photo, 3, "auto")
        assert told["origin"] == origin
        file = answers.download(words, 3, "auto", "merged")
        network = Zoo.from_pretrained("starter").editor(Init.load(file))
        edited = network.edit(read_image(answers.kept.folder / "mine.png"))
        assert (read_image(picture) == edited).all()


@pytest.mark.filterwarnings("ignore:weights for .* are generated, far:UserWarning")
def test_both_forms_of_a_file_are_those_of_a_pull(answers: Answers) -> None:
    zoo = answers.studio.zoo
    for form, only in (("merged", False), ("adapter", True)):
        file = answers.download("faded teal", 5, "generated", form)
        assert file.read_bytes() == zoo.pull("faded teal", seed=5, adapter_only=only).to_bytes()
    assert (
        answers.download("faded teal", 5, "generated", "adapter").name
        == "faded-teal-seed5-adapter.safetensors"
    )


def test_the_same_request_is_answered_with_the_same_bytes(answers: Answers) -> None:
    first, told = answers.generate("faded teal", None, 1, "auto")
    again, told_again = answers.generate(" faded  teal "[1:-1].replace("  ", " "), None, 1.0, "auto")
    assert first.read_bytes() == again.read_bytes()
    assert told == told_again


def test_another_seed_gives_another_picture(answers: Answers) -> None:
    pictures = {answers.generate("faded teal", None, seed, "auto")[0].read_bytes() for seed in range(3)}
    assert len(pictures) == 3


def test_origin_exact_refuses_words_that_no_checkpoint_has(answers: Answers) -> None:
    with pytest.raises(UnknownConcept, match="no concept 'faded teal'"):
        answers.generate("faded teal", None, 0, "exact")


@pytest.mark.parametrize(
    "arguments",
    [
        ("pencil sketch", None, 0, "../../etc/passwd"),
        ("pencil sketch", None, "0", "auto"),
        ("pencil sketch", "no-such-file.png", 0, "auto"),
        ("pencil sketch", 5, 0, "auto"),
        (None, None, 0, "auto"),
        ("картина", None, 0, "auto"),
        ("\ud800", None, 0, "auto"),
    ],
)
def test_bad_requests_get_one_line(answers: Answers, arguments: tuple[object, ...]) -> None:
    with pytest.raises(InitzooError) as caught:
        answers.generate(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_forms_that_are_none_are_refused(answers: Answers) -> None:
    with pytest.raises(InvalidRequest, match="form must be one of merged, adapter; found '../../etc/passwd'"):
        answers.download("pencil sketch", 0, "auto", "../../etc/passwd")


def test_search_tells_what_is_like_the_words(answers: Answers) -> None:
    found = answers.search("pencil sketsh", 3)
    first = found["concepts"][0]
    assert (first["concept"], first["family"], first["licence"]) == ("pencil-sketch", "style", "CC0-1.0")
    assert json.loads(json.dumps(found)) == found
    assert answers.search("../../etc/passwd", 3)["concepts"] == []
    with pytest.raises(InvalidRequest, match="limit must be a whole number from 1 to 50, found 0"):
        answers.search("pencil", 0)


def test_browse_filters_and_pages(studio: Studio) -> None:
    assert studio.browse().n_found == len(TINY_CONCEPTS)
    assert [one.concept_id for one in studio.browse(family="colour").concepts] == [
        "gold-to-navy",
        "navy-to-gold",
    ]
    assert studio.browse(licence="MIT").n_found == 0
    assert studio.browse("water colours").concepts[0].concept_id == "watercolour"
    assert studio.browse(page=99).page == 1
    with pytest.raises(InvalidRequest, match="words must be a text"):
        studio.browse(7)


def test_unknown_concepts_have_no_thumbnail(studio: Studio) -> None:
    with pytest.raises(UnknownConcept, match="no concept '../../etc/passwd'"):
        studio.thumbnail("../../etc/passwd")


def test_words_of_visitors_are_escaped(views: Views) -> None:
    words = "faded <img src=x onerror=alert(1)> [teal](javascript:alert(2))' onload='x"
    view = views.look(a_look(words), views.first_photo, "http://x")
    for html in (views.result_html(view), views.page_html(view, origin="http://x", problem="no <b>")):
        assert "<img src=x" not in html
        assert "' onload='" not in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "no &lt;b&gt;" in html
    assert "<b>" not in error_text(InvalidRequest("no <b>"))


def keep_pairs(views: Views, folder: Path, n_pairs: int = 3) -> tuple[Look, list[Pair]]:
    """Photos and their negatives, sent as a visitor sends them; the look of them, and the pairs."""
    rng, keys, pairs = np.random.default_rng(0), [], []
    for number in range(n_pairs):
        before = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        sides = []
        for pixels in (before, 255 - before):
            write_image(folder / "side.png", pixels, force=True)
            sides.append(views.keep_photo(folder / "side.png", "side.png")["photo"])
        keys.append("-".join(sides))
        pairs.append(Pair(str(number), before, 255 - before))
    return read_look({"pairs": ",".join(keys)}), pairs


def test_pairs_of_visitors_give_the_weights_of_a_pull_with_them(views: Views, tmp_path: Path) -> None:
    look, pairs = keep_pairs(views, tmp_path)
    name, data = views.weights(look, "merged")
    (tmp_path / name).write_bytes(data)
    expected = views.studio.zoo.pull(Request(pairs=tuple(pairs)), warn=False)
    init = Init.load(tmp_path / name)
    assert (name, init.metadata.origin) == ("from-pairs.safetensors", "fitted")
    assert init.sha256 == expected.sha256
    (tmp_path / "made.png").write_bytes(views.picture(look, "coffee", kind="png", is_small=False))
    wanted = views.studio.zoo.editor(init).edit(views.photo_of("coffee"))
    assert (read_image(tmp_path / "made.png") == wanted).all()
    assert views.init_of(look) is views.init_of(look), "equal pairs are fitted once"


def test_a_look_of_pairs_is_told_and_named(views: Views, tmp_path: Path) -> None:
    from test_house import check_command

    look, _ = keep_pairs(views, tmp_path)
    view = views.look(look, views.first_photo, "http://x")
    assert (view.words, view.file, view.adapter) == ("your pairs", "from-pairs.safetensors", "")
    assert view.lines[0] == "These weights were fitted to your pairs just now."
    assert re.fullmatch(
        r"They make (more than )?\d+% of the change in the pairs that were held back\.", view.lines[1]
    )
    assert "dB" not in " ".join(view.lines)
    assert dict(view.details)["Begun from"]
    assert view.similar
    assert view.query == look.query
    for line in [*view.use.splitlines(), *view.train.splitlines()]:
        if line.startswith("initzoo "):
            check_command(shlex.split(line, comments=True))
    named = read_look({**look.query, "words": "night"})
    assert views.look(named, views.first_photo, "http://x").words == "night"


def test_odd_pairs_are_said_beside_the_picture(views: Views, tmp_path: Path) -> None:
    look, _ = keep_pairs(views, tmp_path, 2)
    (one, negative), (other, _) = look.pairs
    view = views.look(replace(look, pairs=((one, negative), (one, other))), views.first_photo, "http://x")
    assert any(line.startswith("The pairs: ") for line in view.cannot)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("a-b-c", "pairs must be KEY-KEY,KEY-KEY with keys of uploaded photos, found 'a-b-c'"),
        ("-", "pairs must be KEY-KEY"),
        (",".join(["a-b"] * 21), "at most 20 pairs are taken"),
        ("../../etc/passwd-x", "the photo is not here any more"),
        ("chelsea-chelsea", "before and after are the same image"),
        ("chelsea-coffee", "pair 1.*sides|pair 1.* x "),
    ],
)
def test_pairs_that_are_none_are_refused(views: Views, pairs: str, message: str) -> None:
    with pytest.raises((InvalidRequest, InvalidPairs), match=message):
        views.look(read_look({"pairs": pairs}), views.first_photo, "http://x")
    with pytest.raises(InvalidRequest, match="a look of pairs is not mixed"):
        read_look({"pairs": "chelsea-coffee", "with": "night"})


def test_similar_looks_have_wordings_and_are_never_none(views: Views) -> None:
    view = views.look(a_look("pencil sketch"), views.first_photo, "http://x")
    words = [one["words"] for one in view.similar]
    assert words
    assert "pencil sketch" not in words
    assert not any("--" in one for one in words)
    assert views.look(a_look("asdf qwer"), views.first_photo, "http://x").similar


def test_a_picture_is_what_the_downloaded_file_makes_at_any_strength(views: Views, tmp_path: Path) -> None:
    shutil.copy(image_file(tmp_path, "plain"), tmp_path / "mine.png")
    key = views.keep_photo(tmp_path / "mine.png", "mine.png")["photo"]
    for words in ("pencil sketch", "faded teal"):
        name, data = views.weights(a_look(words), "merged")
        (tmp_path / name).write_bytes(data)
        network = Zoo.from_pretrained("starter").editor(Init.load(tmp_path / name))
        for strength in STRENGTHS:
            look = a_look(words, strength=f"{strength:g}")
            (tmp_path / "made.png").write_bytes(views.picture(look, key, kind="png", is_small=False))
            wanted = network.edit(views.photo_of(key), strength=strength)
            assert (read_image(tmp_path / "made.png") == wanted).all()


def test_words_of_degree_set_the_strength_of_a_picture(tmp_path: Path) -> None:
    answers = Answers(Studio(Zoo.from_pretrained("starter"), None), KeptFiles(tmp_path))
    views = Views(answers.studio, answers.kept)
    whole, half = (
        views.picture(a_look(words), views.first_photo, kind="png", is_small=True)
        for words in ("engraving", "slightly engraving")
    )
    lighter = a_look("engraving", strength="0.5")
    assert half == views.picture(lighter, views.first_photo, kind="png", is_small=True) != whole
    view = views.look(a_look("slightly engraving"), views.first_photo, "http://x")
    assert "The words ask for strength 0.5." in view.lines
    assert "--strength 0.5" in view.use
    mixed = views.look(a_look("slightly engraving", **{"with": "night"}), views.first_photo, "http://x")
    assert not any("strength" in line for line in mixed.lines)
    path, info = answers.generate("slightly engraving")
    assert (info["strength"], info["concept"]) == (0.5, "engraving")
    run_commands(info["commands"], tmp_path)
    made = read_image(tmp_path / "engraving.png")
    network = answers.studio.zoo.editor(answers.studio.init_of(Request("engraving")))
    assert (made == network.edit(read_image(tmp_path / "photo.png"), strength=0.5)).all()
    assert path.read_bytes() != answers.generate("engraving")[0].read_bytes()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"strength": "0.7"}, "strength must be one of 0.5, 1, 1.5; found '0.7'"),
        ({"strength": "much"}, "strength must be a number, found 'much'"),
        ({"with": "night", "share": "2"}, "share must be a number from 0 to 1"),
        ({"with": "night", "share": "nan"}, "share must be a number from 0 to 1"),
    ],
)
def test_looks_that_are_none_are_refused(query: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_look({"words": "night", **query})


def test_limits_of_the_zoo_are_said_for_words_that_it_does_not_hold(views: Views, answers: Answers) -> None:
    view = views.look(a_look("add a hat, faded teal"), views.first_photo, "http://x")
    assert view.cannot == ("The zoo knows no objects: it changes the look of the whole photo.",)
    assert answers.search("add a hat")["cannot"] == [
        "knows no objects: it changes the look of the whole photo"
    ]
    assert views.look(a_look("pencil sketch"), views.first_photo, "http://x").cannot == ()
    assert answers.search("pencil sketch")["cannot"] == []


# What is told, and the commands.


def run_commands(commands: str, folder: Path) -> None:
    """Run the commands of the page in a folder, with a photo that is there instead of one of a server."""
    shutil.copy(image_file(folder, "plain"), folder / "photo.png")
    lines = [line for line in commands.splitlines() if not line.startswith("curl ")]
    run_script("\n".join(lines), folder, folder / "tools")


@pytest.mark.parametrize("words", ["pencil sketch", "--help faded \"teal\" $(touch pwned) `x` 'y' !z"])
def test_the_commands_give_exactly_the_file_and_the_picture_of_the_page(
    views: Views, tmp_path: Path, words: str
) -> None:
    view = views.look(a_look(words, strength="0.5"), views.first_photo, "http://x")
    run_commands(view.use, tmp_path)
    name, data = views.weights(a_look(words), "merged")
    assert (tmp_path / name).read_bytes() == data
    edited = read_image(tmp_path / name.replace(".safetensors", ".png"))
    network = Zoo.from_pretrained("starter").editor(Init.load(tmp_path / name))
    wanted = network.edit(read_image(tmp_path / "photo.png"), strength=0.5)
    assert (edited == wanted).all()
    assert not (tmp_path / "pwned").exists()


def test_the_commands_of_a_mix_give_exactly_its_file(views: Views, tmp_path: Path) -> None:
    look = a_look("pencil sketch", **{"with": "faded teal", "share": "0.3"})
    view = views.look(look, views.first_photo, "http://x")
    run_commands(view.use, tmp_path)
    name, data = views.weights(look, "merged")
    assert (tmp_path / name).read_bytes() == data
    assert (tmp_path / name.replace(".safetensors", ".png")).is_file()


def test_the_commands_to_train_are_ones_that_exist(views: Views) -> None:
    from test_house import check_command

    view = views.look(a_look("faded teal"), views.first_photo, "http://x")
    assert f"revision {views.studio.zoo.revision}" in view.use
    for line in [*view.use.splitlines(), *view.train.splitlines()]:
        if line.startswith("initzoo "):
            check_command(shlex.split(line, comments=True))


def test_far_words_are_told_to_be_far(views: Views) -> None:
    init = views.studio.init_of(Request("asdf qwer"))
    assert init.metadata.generation is not None
    assert init.metadata.generation.is_far
    assert "far from everything that the zoo knows" in tell_prospect(init)
    assert views.look(a_look("asdf qwer"), views.first_photo, "http://x").is_far


def test_evidence_is_that_of_the_evaluation() -> None:
    evaluation = read_figures(Zoo.from_pretrained("starter"), "evaluation.json")
    assert evaluation is not None
    html = evidence_html(evaluation)
    for split in ("train-unseen-wordings", "heldout-composed", "heldout-new"):
        assert f"{evaluation[split]['psnr']['generated']:.1f}" in html
    assert html.count("<svg") == sum(
        method in evaluation[split]["psnr"]
        for split in QUESTIONS
        if split in evaluation
        for method in METHODS
    )


def test_a_zoo_without_evaluation_says_so(kept_zoo: Path) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    assert "no evaluation" in evidence_html(read_figures(zoo, "evaluation.json"))
    assert bench_html(read_figures(zoo, "bench.json")) == ""


def test_the_worth_of_a_start_is_that_of_the_benchmark() -> None:
    figures = {"ratio": 3.14, "interval": [2.0, 4.0], "n_at_least": 0}
    bench = {"n_concepts": 24, "ratio": {"base": {"within_3db": figures, "within_1db": "odd"}, "else": {}}}
    html = bench_html(bench)
    assert "<td class='figure'>3.1 <small>[2.0, 4.0]</small></td><td class='figure'>-</td>" in html
    assert "over 24 concepts" in html
    assert bench_html({"ratio": {"base": None}}) == ""


# Blends.


def test_blends_lie_on_the_line_between_their_ends(kept_zoo: Path) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    for only in (False, True):
        first, second = (zoo.pull(words, adapter_only=only) for words in ("pencil sketch", "watercolour"))
        blend = blend_inits(first, second, 0.25)
        for name, value in blend.weights.items():
            assert np.allclose(value, 0.75 * first.weights[name] + 0.25 * second.weights[name], atol=1e-6)
    ends = blend_inits(first, second, 0), blend_inits(first, second, 1)
    for end, whole in zip(ends, (first, second), strict=True):
        assert all((end.weights[name] == value).all() for name, value in whole.weights.items())


def test_a_blend_of_adapters_is_the_blend_of_what_they_are_merged_to(kept_zoo: Path) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    merged = blend_inits(zoo.pull("night"), zoo.pull("watercolour"), 0.4)
    adapters = [zoo.pull(words, adapter_only=True) for words in ("night", "watercolour")]
    other = zoo.merge(blend_inits(*adapters, 0.4))
    assert all(np.allclose(value, other.weights[name], atol=1e-5) for name, value in merged.weights.items())


def test_a_blend_is_read_back_as_it_was(kept_zoo: Path, tmp_path: Path) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    blend = blend_inits(zoo.pull("night"), zoo.pull("watercolour"), 0.4)
    blend.save(tmp_path / "blend.safetensors")
    again = Init.load(tmp_path / "blend.safetensors")
    assert again.metadata == blend.metadata
    assert again.metadata.origin == "blended"
    assert file_name(again) == "night-60-watercolour-40.safetensors"


def test_what_does_not_fit_together_is_not_blended(kept_zoo: Path) -> None:
    zoo = Zoo.from_pretrained(kept_zoo)
    night = zoo.pull("night")
    with pytest.raises(InvalidInit, match="cannot blend 'night' .merged. and 'night' .adapter."):
        blend_inits(night, zoo.pull("night", adapter_only=True), 0.5)
    with pytest.raises(ChecksumMismatch, match="made for different bases"):
        blend_inits(night, Zoo.from_pretrained("starter").pull("night"), 0.5)
    with pytest.raises(ValueError, match="share must be from 0 to 1, found nan"):
        blend_inits(night, night, float("nan"))
