"""`initzoo operators`: list the filters of which concepts are composed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from initzoo.cli.options import echo_json, example, json_option

if TYPE_CHECKING:
    from initzoo.pairs import Operator, Parameter

__all__ = ["command"]

SECTION = "Make your own zoo"


@click.command("operators", epilog=example("initzoo operators sepia --family colour"))
@click.argument("words", nargs=-1)
@click.option("--family", help="Only operators of this family, e.g. style or restoration.")
@json_option
def command(words: tuple[str, ...], family: str | None, as_json: bool) -> None:
    """List the operators of concepts files, with their parameters.

    Each operator has a line with its family and description, and one line per parameter with its default and
    its valid values. With WORDS, only operators with all of these words in their name or description.
    """
    from initzoo.pairs import FAMILIES, OPERATORS

    if family is not None and family not in FAMILIES:
        raise click.BadParameter(
            f"no family '{family}'; the families are {', '.join(FAMILIES)}", param_hint="--family"
        )
    wanted = [word.casefold() for word in words]
    chosen = [
        operator
        for operator in sorted(OPERATORS.values(), key=lambda one: (FAMILIES.index(one.family), one.name))
        if family in (None, operator.family)
        and all(word in f"{operator.name} {operator.summary}".casefold() for word in wanted)
    ]
    if as_json:
        echo_json([_listed(operator) for operator in chosen])
        return
    if not chosen:
        click.echo("no operator has all these words. List all: initzoo operators", err=True)
    for operator in chosen:
        click.echo(f"{operator.name}  ({operator.family})  {operator.summary}")
        for name, parameter in operator.parameters.items():
            click.echo(f"    {name} = {_toml(parameter.default)}  {_limits(parameter)}")


def _toml(value: float | str) -> str:
    """Format a value for a concepts file."""
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _limits(parameter: Parameter) -> str:
    if parameter.choices:
        return f"one of {', '.join(map(_toml, parameter.choices))}"
    if parameter.is_colour:
        return "a colour"
    return f"{parameter.low:g} to {parameter.high:g}"


def _listed(operator: Operator) -> dict[str, object]:
    return {
        "operator": operator.name,
        "family": operator.family,
        "summary": operator.summary,
        "parameters": {name: _parameter(one) for name, one in operator.parameters.items()},
    }


def _parameter(parameter: Parameter) -> dict[str, object]:
    if parameter.choices:
        return {"default": parameter.default, "choices": list(parameter.choices)}
    if parameter.is_colour:
        return {"default": parameter.default, "kind": "colour"}
    return {"default": parameter.default, "low": parameter.low, "high": parameter.high}
