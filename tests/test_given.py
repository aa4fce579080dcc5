"""What a user gives: files are files, schemes are schemes, slips are refused, and all else is words."""

from __future__ import annotations

from pathlib import Path

import pytest

from initzoo.errors import UnknownInitialization
from initzoo.generator.given import SCHEMES, File, Scheme, parse_given
from initzoo.generator.request import Request


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "latest_net_G.pth",
        "MINE.SAFETENSORS",
        "mine.safetensor",
        "mine.safetnsors",
        "out/mine",
        "out/mine.pt",
        "checkpoints/sketch.ckpt",
        "photo of me.jpg",
        "pytorch_model.bin",
        "model.onnx",
        "config.json",
        "~/mine",
        "~nobody-has-this-name",
        ".",
        "..",
        "./mine",
        ".hidden",
        "/tmp",
        "black/white at dusk",
    ],
)
def test_what_looks_like_a_path_is_a_file(text: str) -> None:
    assert isinstance(parse_given(text), File)
    assert isinstance(parse_given(Path(text)), File)


@pytest.mark.parametrize(
    "text",
    [
        "pencil sketch",
        "Faded teal, at dusk.",
        "8.5 mm film",
        "it's a 1:1.5 crop",
        "navy -> gold",
        "эскиз",
        "素描",
        "",
        "  ",
        "w" * 5000,
        "faded\0teal",
        "faded\nteal",
        "\udcff",
        "faded \ud800 teal",
        "meaner",
        "basic",
        "neat",
    ],
)
def test_all_else_is_words(text: str) -> None:
    assert parse_given(text) == Request(text)


def test_a_file_that_exists_is_a_file_whatever_its_name() -> None:
    for name in ("pencil sketch", "base", "he_norma", "эскиз"):
        Path(name).write_bytes(b"")
        assert parse_given(name, is_wording=lambda text: True) == File(Path(name))


def test_a_folder_goes_after_a_scheme_and_a_wording_unless_it_holds_weights() -> None:
    for name in ("night", "base", "my model"):
        Path(name).mkdir()
    assert parse_given("night", is_wording=lambda text: text == "night") == Request("night")
    assert parse_given("night") == File(Path("night"))
    assert parse_given("base") == Scheme("base")
    for name in ("night", "base", "my model"):
        for file in ("config.json", "model.safetensors"):
            (Path(name) / file).write_bytes(b"")
        assert parse_given(name, is_wording=lambda text: True) == File(Path(name))


def test_a_wording_of_the_zoo_stays_words_though_it_looks_like_something_else() -> None:
    for text in ("black/white", "he_norma", "look.gif", "zero"):
        assert parse_given(text, is_wording=lambda text: True) == Request(text)
    assert parse_given("zeros", is_wording=lambda text: True) == Scheme("zeros")


@pytest.mark.parametrize("name", SCHEMES)
def test_names_of_schemes_are_schemes(name: str) -> None:
    assert parse_given(name) == Scheme(name)
    assert Scheme(name).needs_words == (name in ("nearest", "generated"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("he_norma", "he_normal"),
        ("HE-Normal", "he_normal"),
        ("he normal", "he_normal"),
        ("Base", "base"),
        ("zero", "zeros"),
        (" mean ", "mean"),
        ("nearst", "nearest"),
        ("generate", "generated"),
        ("xavier_unifrom", "xavier_uniform"),
    ],
)
def test_a_slip_in_the_name_of_a_scheme_is_refused_with_the_name(text: str, meant: str) -> None:
    with pytest.raises(
        UnknownInitialization, match=f"^no initialization scheme '{text}'. Did you mean '{meant}'\\?"
    ):
        parse_given(text)


def test_the_home_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_given("~/mine.safetensors") == File(tmp_path / "mine.safetensors")


def test_the_zoo_is_asked_only_where_it_matters() -> None:
    def fail(text: str) -> bool:
        raise AssertionError(text)

    for text in ("pencil sketch", "he_normal"):
        parse_given(text, is_wording=fail)
