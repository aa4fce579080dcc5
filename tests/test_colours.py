"""Colours in words: names, `#hex` values, and their CIE Lab values."""

import gzip

import numpy as np
import pytest

from initzoo.generator.colours import (
    colour_difference,
    colour_names,
    find_colours,
    lab_of,
    lab_values,
)
from initzoo.pairs import catalog_folder, load_colours, normalise_words

PLAIN = {"navy": "#14254d", "gold": "#e0a526", "sky blue": "#6cb8f0", "赤": "#d62828"}


def test_lab_of_agrees_with_scikit_image() -> None:
    from skimage.color import rgb2lab

    for colour in ("#000000", "#ffffff", "#118a8a", "#d62828", "#010203"):
        channels = np.array([[[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]]])
        assert np.allclose(lab_of(colour), rgb2lab(channels)[0, 0], atol=2e-2)


def test_the_list_of_colours_holds_names_as_they_are_compared() -> None:
    names = colour_names()
    assert len(names) > 31_000
    assert all(normalise_words(name) == name for name in list(names)[::97])
    assert (catalog_folder() / "colours" / "LICENSE").read_text().startswith("MIT License")


def test_the_list_of_colours_is_read_once_as_it_is_stored() -> None:
    text = gzip.decompress((catalog_folder() / "colours" / "names.tsv.gz").read_bytes()).decode()
    first = text.splitlines()[0].split("\t")
    assert colour_names()[first[0]] == f"#{first[1]}"


def test_longer_names_win_and_plain_names_win_over_the_list() -> None:
    found = find_colours("Sky blue and gold, not scarlet", PLAIN)
    assert [(colour.name, colour.hex) for colour in found] == [
        ("sky blue", "#6cb8f0"),
        ("gold", "#e0a526"),
        ("scarlet", "#ff2400"),
    ]
    assert [colour.is_plain for colour in found] == [True, True, False]


def test_hex_values_are_found_where_they_stand() -> None:
    found = find_colours("from #ABC over navy to #00ff7f", PLAIN)
    assert [colour.hex for colour in found] == ["#aabbcc", "#14254d", "#00ff7f"]
    assert [colour.index for colour in found] == sorted(colour.index for colour in found)


def test_no_colour_is_found_where_there_is_none() -> None:
    assert find_colours("sharper edges, #12 issue 123456", {}) == []


def test_colours_are_found_inside_words_without_spaces() -> None:
    assert [colour.name for colour in find_colours("赤くする", PLAIN)] == ["赤"]


def test_lab_values_are_scaled_and_in_the_order_of_the_words() -> None:
    values = lab_values("#000000 then #ffffff then #ff0000 then #00ff00")
    assert values.shape == (3, 3)
    assert values.dtype == np.float32
    assert np.allclose(values[:, 0], [-1, 1, 0.06], atol=0.01)


def test_lab_of_refuses_what_is_not_a_colour() -> None:
    with pytest.raises(ValueError, match="expected a colour such as #118a8a, found 'teal'"):
        lab_of("teal")


def test_the_catalog_names_each_colour_once() -> None:
    values = list(load_colours().values())
    assert (
        min(colour_difference(first, second) for i, first in enumerate(values) for second in values[:i]) > 2.3
    )
