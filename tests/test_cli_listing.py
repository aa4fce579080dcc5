"""The commands that list: concepts of the catalog or of a zoo, and operators with their parameters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_running import fail, run, succeed
from zoo_fixtures import kept_zoo

from initzoo.pairs.concepts import load_concepts
from initzoo.pairs.teachers import FAMILIES, OPERATORS, Step, check_step
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo"]


def test_a_zoo_lists_the_concepts_of_its_index(kept_zoo: Path) -> None:
    rows = Zoo.from_pretrained(kept_zoo).index.rows()
    listed = json.loads(succeed("list", "--zoo", kept_zoo, "--json"))
    assert [one["concept"] for one in listed] == [row.concept_id for row in rows]
    assert [one["prompts"] for one in listed] == [list(row.prompts) for row in rows]
    lines = succeed("list", "--zoo", kept_zoo).splitlines()
    assert [line.split()[0] for line in lines] == [row.concept_id for row in rows]


def test_the_variable_names_the_zoo_that_is_listed(kept_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITZOO_ZOO", str(kept_zoo))
    of_zoo, of_catalog = succeed("list"), succeed("list", "--zoo", "starter")
    assert of_zoo == succeed("list", "--zoo", kept_zoo)
    assert len(of_catalog.splitlines()) == len(load_concepts()) != len(of_zoo.splitlines())


def test_a_zoo_lists_one_family_and_one_split(kept_zoo: Path) -> None:
    rows = Zoo.from_pretrained(kept_zoo).index.rows(split="train")
    family = rows[0].family
    lines = succeed("list", "--zoo", kept_zoo, "--split", "train", "--family", family).splitlines()
    assert [line.split()[0] for line in lines] == [row.concept_id for row in rows if row.family == family]
    wrong = run("list", "--zoo", kept_zoo, "--family", "stile")
    assert wrong.exit_code == 2
    assert f"no family 'stile'; the families are {family}" in wrong.stderr or family in wrong.stderr


def test_a_zoo_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fail("list", "--zoo", "./nowhere").startswith("no zoo './nowhere'")


def test_operators_lists_every_operator_with_defaults_that_may_be_used() -> None:
    listed = json.loads(succeed("operators", "--json"))
    assert {one["operator"] for one in listed} == set(OPERATORS)
    for one in listed:
        defaults = tuple((name, parameter["default"]) for name, parameter in one["parameters"].items())
        check_step(Step(one["operator"], defaults), OPERATORS)
        assert set(one["parameters"]) == set(OPERATORS[one["operator"]].parameters)
        assert one["summary"] == OPERATORS[one["operator"]].summary


def test_operators_shows_limits_choices_and_colours() -> None:
    lines = succeed("operators").splitlines()
    assert sum(not line.startswith(" ") for line in lines) == len(OPERATORS)
    assert lines[lines.index("posterize  (tone)  A few flat levels.") + 1] == "    levels = 4  2 to 10"
    assert '    order = "bgr"  one of "bgr", "grb", "rbg", "gbr", "brg"' in lines
    assert '    colour = "#88aadd"  a colour' in lines


@pytest.mark.parametrize("family", FAMILIES)
def test_operators_of_one_family(family: str) -> None:
    listed = json.loads(succeed("operators", "--family", family, "--json"))
    assert {one["operator"] for one in listed} == {
        name for name, operator in OPERATORS.items() if operator.family == family
    }


def test_operators_are_found_by_words() -> None:
    assert [one["operator"] for one in json.loads(succeed("operators", "FLAT", "levels", "--json"))] == [
        "posterize"
    ]
    nothing = run("operators", "no-such-word")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr == "no operator has all these words. List all: initzoo operators\n"
    wrong = run("operators", "--family", "stile")
    assert wrong.exit_code == 2
    assert "no family 'stile'; the families are colour" in wrong.stderr
