"""Options made from settings: every field has one, and what is wrong is said of the option."""

from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result

from initzoo.cli.main import main
from initzoo.cli.settings_options import argument_docs, settings_options
from initzoo.errors import FinetuneError
from initzoo.evaluation.benchmark import BenchmarkSettings
from initzoo.evaluation.generator import EvaluationSettings
from initzoo.training.finetune import FinetuneSettings
from initzoo.training.generator import GeneratorSettings
from initzoo.training.harvest import HarvestRecipe


class Shade(Enum):
    """A choice."""

    DARK = "dark"
    LIGHT = "light"


@dataclass(frozen=True)
class Bread:
    """What a loaf is made of.

    Args:
        n_grains: number of grains.
        flour: kind of flour.
        shade: how brown it gets; two
            lines say so.
    """

    n_grains: int
    flour: Literal["rye", "wheat"] = "rye"
    shade: Shade = Shade.DARK


@dataclass(frozen=True)
class Meal:
    """What there is to eat.

    Args:
        bread: the loaf.
        water: litres of water.
        is_hot: serve it hot.
        with_salt: add salt.
        spices: names of spices.
        spread: two numbers.
        recipe: file to read.
        guest: name of a guest; nobody by default.
    """

    bread: Bread = field(default_factory=lambda: Bread(3))
    water: float = 0.5
    is_hot: bool = False
    with_salt: bool = True
    spices: tuple[str, ...] = ("thyme", "sage")
    spread: tuple[int, int] = (1, 2)
    recipe: Path | None = None
    guest: str | None = None

    def __post_init__(self) -> None:
        if self.water < 0:
            raise ValueError(f"water must be at least 0, found {self.water}")
        if len(self.spices) > 2:
            raise FinetuneError(f"spices must be two at most, found {len(self.spices)}.")


def serve(*words: str, **options: Any) -> Result:
    """Run a command that prints the meal it is given."""

    @click.command()
    @settings_options(Meal, argument="meal", **options)
    def command(meal: Meal) -> None:
        click.echo(repr(meal))

    return CliRunner().invoke(command, list(words))


def served(*words: str, **options: Any) -> str:
    result = serve(*words, **options)
    assert result.exit_code == 0, result.output
    return result.stdout.rstrip()


def test_without_options_settings_are_the_defaults() -> None:
    assert served() == repr(Meal())


def test_every_kind_of_field_has_an_option() -> None:
    words = ["--bread-grains", "5", "--bread-flour", "wheat", "--bread-shade", "LIGHT", "--water", "2"]
    words += ["--is-hot", "--no-with-salt", "--spices", "mint", "--spread", "3, 4", "--recipe", "a.txt"]
    assert served(*words, "--guest", "me") == repr(
        Meal(Bread(5, "wheat", Shade.LIGHT), 2.0, True, False, ("mint",), (3, 4), Path("a.txt"), "me")
    )


def test_help_has_the_words_of_the_dataclass_and_its_defaults() -> None:
    text = " ".join(served("--help", skip=["guest"]).split())
    assert "--bread-flour [rye|wheat] Kind of flour. [default: rye]" in text
    assert "How brown it gets; two lines say so." in text
    assert "--spices TEXT,... Names of spices. [default: thyme, sage]" in text
    assert "--spread INTEGER,INTEGER Two numbers." in text
    assert "--with-salt / --no-with-salt Add salt. [default: with-salt]" in text
    assert "guest" not in text


def test_names_can_be_chosen_for_fields_and_for_all_of_a_nested_dataclass() -> None:
    names = {"bread": "loaf", "bread.flour": "--flour", "with_salt": "--salt/--plain", "water": "--litres"}
    words = ["--loaf-grains", "1", "--flour", "wheat", "--plain", "--litres", "1"]
    assert served(*words, names=names) == repr(Meal(Bread(1, "wheat"), 1.0, with_salt=False))


def test_options_precede_what_quick_says_and_quick_precedes_defaults() -> None:
    quick = {"water": 0.1, "bread": {"n_grains": 1}}
    assert served("--quick", quick=quick) == repr(Meal(Bread(1), 0.1))
    said = served("--quick", "--water", "0.5", "--bread-flour", "wheat", quick=quick)
    assert said == repr(Meal(Bread(1, "wheat"), 0.5))
    assert served("--water", "0.5", quick=quick) == repr(Meal())


def test_options_change_the_defaults_that_are_given() -> None:
    assert served("--water", "1", default=Meal(guest="you")) == repr(Meal(water=1.0, guest="you"))


def test_defaults_may_depend_on_another_option() -> None:
    @click.command()
    @click.option("--menu")
    @settings_options(
        Meal,
        argument="meal",
        default=lambda values: Meal(Bread(7), guest=values.pop("menu")),
        quick={"water": 0},
    )
    def command(meal: Meal) -> None:
        click.echo(repr(meal))

    result = CliRunner().invoke(command, ["--menu", "big", "--bread-flour", "wheat", "--quick"])
    assert result.stdout.rstrip() == repr(Meal(Bread(7, "wheat"), water=0, guest="big"))
    assert "default" not in CliRunner().invoke(command, ["--help"]).stdout.replace("by default", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--litres", "-1"], 2, "--litres must be at least 0, found -1.0"),
        (["--bread-flour", "oats"], 2, "'oats' is not one of 'rye', 'wheat'"),
        (["--spread", "1"], 2, "expected 2 whole numbers separated by commas, found '1'"),
        (["--spread", "1,x"], 2, "expected 2 whole numbers separated by commas, found '1,x'"),
    ],
)
def test_wrong_values_are_said_of_the_option(words: list[str], code: int, said: str) -> None:
    result = serve(*words, names={"water": "--litres"})
    assert (result.exit_code, said in result.stderr) == (code, True), result.output


def test_our_own_errors_stay_what_they_are() -> None:
    result = serve("--herbs", "a,b,c", names={"spices": "--herbs"})
    assert isinstance(result.exception, FinetuneError)
    assert str(result.exception) == "--herbs must be two at most, found 3."


def test_mistakes_of_the_program_show_at_import() -> None:
    @dataclass
    class Wrong:
        """Args: none."""

        table: dict[str, int] = field(default_factory=dict)

    with pytest.raises(TypeError, match="Wrong has no 'Args:' text for table"):
        settings_options(Wrong)
    Wrong.__doc__ = "W.\n\nArgs:\n    table: a table."
    with pytest.raises(TypeError, match="no option can hold table"):
        settings_options(Wrong)
    settings_options(Wrong, skip=["table"])
    with pytest.raises(TypeError, match="Meal has no field bred"):
        settings_options(Meal, names={"bred": "loaf"})


def paths_of(kind: type, above: str = "") -> set[str]:
    """All fields of a dataclass, and of those in its fields."""
    paths = set()
    for one in fields(kind):
        default = one.default_factory() if callable(one.default_factory) else one.default
        path = f"{above}{one.name}"
        paths |= paths_of(type(default), f"{path}.") if is_dataclass(default) else {path}
    return paths


@pytest.mark.parametrize(
    ("words", "kind", "skipped"),
    [
        (["finetune"], FinetuneSettings, set()),
        (["bench"], BenchmarkSettings, {"photos.split"}),
        (["generator", "train"], GeneratorSettings, {"pairs.pure_share"}),
        (["generator", "evaluate"], EvaluationSettings, {"photos.split"}),
        (["harvest"], HarvestRecipe, {"name", "network", "ranks", "photo_size", "fit.gan"}),
    ],
)
def test_commands_reach_every_field_of_their_settings(words, kind, skipped) -> None:
    command: Any = main
    for word in words:
        command = command.get_command(click.Context(command), word)
    reached = {
        parameter.name.partition("__")[2].replace("__", ".")
        for parameter in command.params
        if "__" in parameter.name and not parameter.name.endswith("__quick")
    }
    assert reached == paths_of(kind) - skipped


def test_docs_of_arguments_end_where_the_section_does() -> None:
    assert argument_docs(Bread)["shade"] == "how brown it gets; two lines say so."
    assert list(argument_docs(FinetuneSettings)) == [one.name for one in fields(FinetuneSettings)]
