"""Options made from a settings dataclass: one per field, with its text in the `Args:` section as help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click
from click.core import ParameterSource

from initzoo.errors import InitzooError

__all__ = ["CommaList", "argument_docs", "settings_options"]

_MAX_SEED = 2**63 - 1
"""The largest seed of torch's generators that files of inits hold, too."""

_MAX_COUNT = 10**9

S = TypeVar("S")
Values = dict[str, Any]


def settings_options(
    kind: type[S],
    *,
    default: S | Callable[[Values], S] | None = None,
    argument: str = "settings",
    names: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    quick: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option per field of a settings dataclass, and pass the settings to the command.

    The field `n_warmup` becomes `--warmup`, `batch_size` becomes `--batch-size`. The annotation determines
    the type: a `Literal` or an `Enum` gives choices, `bool` a flag, a tuple comma-separated values. Nested
    dataclasses are flattened: `fit.n_steps` becomes `--fit-steps`. A field whose type no option supports must
    be in `skip`; otherwise the import fails.

    Args:
        kind: the dataclass. Its `__post_init__` checks values; its messages start with the name of the field.
        default: settings that the options override; `kind()` by default. A function gets the other values of
            the command as a dictionary, removes those that it uses, and returns the settings.
        argument: name of the command's parameter for the settings.
        names: names of options by path of the field, e.g. `{"fit.n_steps": "--steps"}`, or the prefix of all
            options of a nested dataclass, e.g. `{"fit": "adapter"}`.
        skip: paths of fields or nested dataclasses without options.
        quick: values of fields, nested like the dataclasses, for an option `--quick`. Other options override
            them. If the command has a parameter `quick`, it gets the flag.

    Example:
        >>> @dataclass(frozen=True)
        ... class Walk:
        ...     '''How a walk goes.
        ...
        ...     Args:
        ...         n_steps: number of steps.
        ...         pace: steps per second.
        ...     '''
        ...
        ...     n_steps: int = 100
        ...     pace: float = 2.0
        >>> @click.command()
        ... @settings_options(Walk, quick={"n_steps": 3})
        ... def walk(settings):
        ...     click.echo(settings)
        >>> walk(["--quick", "--pace", "1"], standalone_mode=False)
        Walk(n_steps=3, pace=1.0)
    """
    make_default = default if callable(default) else None
    fixed = None if callable(default) else default
    options = list(_find_options(kind, fixed, names or {}, frozenset(skip), argument))
    prefixes = {option.path.rpartition(".")[0] for option in options}
    unknown = {*(names or {})} - {option.path for option in options} - prefixes
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))} to name an option after")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        takes = inspect.signature(function).parameters

        @wraps(function)
        def with_settings(**values: Any) -> Any:
            context = click.get_current_context()
            is_quick = values.pop(f"{argument}__quick", False)
            chosen = _merge({}, quick or {}) if is_quick else {}
            for option in options:
                value = values.pop(option.parameter)
                if context.get_parameter_source(option.parameter) is not ParameterSource.DEFAULT:
                    _merge(chosen, option.nest(value))
            start = make_default(values) if make_default else fixed
            values[argument] = _build(kind, start, chosen, {one.path: one.name for one in options})
            if "quick" in takes:
                values["quick"] = is_quick
            return function(**values)

        command: Callable[..., Any] = with_settings
        if quick is not None:
            command = click.option(
                "--quick",
                f"{argument}__quick",
                is_flag=True,
                help="Do very little work, to test that everything runs; other options override it.",
            )(command)
        for option in reversed(options):
            command = option.add_to(command, shows_default=make_default is None)
        return command

    return decorate


def argument_docs(kind: type) -> dict[str, str]:
    """Parse the `Args:` section of a docstring to one line of text per name.

    Example:
        >>> argument_docs(click.Choice)
        {}
    """
    docs: dict[str, str] = {}
    _, _, section = (inspect.getdoc(kind) or "").partition("\nArgs:\n")
    for line in section.splitlines():
        entry = re.match(r"    (\w+): (.*)", line)
        if entry:
            docs[name := entry[1]] = entry[2]
        elif line.startswith(" " * 8):
            docs[name] += " " + line.strip()
        else:
            break
    return docs


class CommaList(click.ParamType):
    """Comma-separated values, as a tuple.

    Args:
        kind: type of the values.
        length: number of values; None for any number.

    Example:
        >>> CommaList(int).convert("1, 2,3", None, None)
        (1, 2, 3)
    """

    def __init__(self, kind: type, length: int | None = None) -> None:
        self.kind = kind
        self.length = length
        noun = {int: "INTEGER", float: "FLOAT"}.get(kind, "TEXT")
        self.name = ",".join([noun] * (length or 1)) + ("" if length else ",...")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split a text; return a tuple unchanged."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        try:
            values = tuple(self.kind(part) for part in parts if part)
        except ValueError:
            values = None
        if values is None or self.length not in (None, len(values)):
            noun = {int: "whole numbers", float: "numbers"}.get(self.kind, "texts")
            count = f"{self.length} " if self.length else ""
            self.fail(f"expected {count}{noun} separated by commas, found {value!r}", param, ctx)
        return values


class _Count(click.types.IntParamType):
    """A whole number that is no slip: what is counted fits into memory and life."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a text."""
        number = super().convert(value, param, ctx)
        if abs(number) > _MAX_COUNT:
            self.fail(f"{number} is too large.", param, ctx)
        return number


@dataclass(frozen=True)
class _Option:
    """The option of a field.

    Args:
        path: path of the field, with dots for nested dataclasses.
        name: name of the option; two names with a slash between them for a flag that is on by default.
        parameter: name of the click parameter.
        type: click type of the value; None for a flag.
        default: default of the field.
        help: text of the field in the `Args:` section.
    """

    path: str
    name: str
    parameter: str
    type: click.ParamType | None
    default: Any
    help: str

    def nest(self, value: Any) -> Values:
        """Put a value into dictionaries nested like the dataclasses."""
        for part in reversed(self.path.split(".")):
            value = {part: value}
        return dict(value)

    def add_to(self, command: Callable[..., Any], *, shows_default: bool) -> Callable[..., Any]:
        """Add the option to a command."""
        settings: Values = {"default": self.default, "help": self.help, "show_default": shows_default}
        settings |= {"is_flag": True} if self.type is None else {"type": self.type}
        return click.option(self.name, self.parameter, **settings)(command)


def _find_options(
    kind: Any, default: Any, names: Mapping[str, str], skip: frozenset[str], argument: str, above: str = ""
) -> Iterator[_Option]:
    """The options of a dataclass and of nested dataclasses, in the order of the fields."""
    hints, docs = get_type_hints(kind), argument_docs(kind)
    for field in fields(kind):
        path = f"{above}{field.name}"
        if path in skip or not field.init:
            continue
        hint, value = _without_none(hints[field.name]), _default_of(field, default)
        if is_dataclass(hint):
            yield from _find_options(hint, value, names, skip, argument, above=f"{path}.")
            continue
        if field.name not in docs:
            raise TypeError(f"{kind.__name__} has no 'Args:' text for {field.name}")
        text = docs[field.name]
        name = names.get(path) or _name_of(path, names)
        if hint is bool and value is True and "/" not in name:
            name = f"{name}/--no-{name.removeprefix('--')}"
        parameter = f"{argument}__{path.replace('.', '__')}"
        click_type = None if hint is bool else _click_type(hint, path)
        yield _Option(path, name, parameter, click_type, value, text[:1].upper() + text[1:])


def _name_of(path: str, names: Mapping[str, str]) -> str:
    """The default name of an option."""
    *above, last = path.split(".")
    prefixes = [names.get(".".join(above[: place + 1]), part) for place, part in enumerate(above)]
    return "--" + "-".join([*prefixes, last.removeprefix("n_")]).replace("_", "-")


def _default_of(field: Field[Any], default: Any) -> Any:
    if default is not None:
        return getattr(default, field.name)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _without_none(hint: Any) -> Any:
    """`X` for `X | None`."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    parts = [part for part in get_args(hint) if part is not NoneType]
    return parts[0] if len(parts) == 1 else hint


def _click_type(hint: Any, path: str) -> click.ParamType:
    """The click type of an annotation."""
    simple: dict[Any, click.ParamType] = {int: _Count(), float: click.FLOAT, str: click.STRING}
    if hint is int and path.rpartition(".")[2] == "seed":
        return click.IntRange(0, _MAX_SEED)
    if hint in simple:
        return simple[hint]
    if hint is Path:
        return click.Path(path_type=Path)
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return click.Choice(hint)
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if parts[0] in simple and set(parts[1:]) <= {parts[0], Ellipsis}:
            return CommaList(parts[0], None if Ellipsis in parts else len(parts))
    raise TypeError(f"no option can hold {path}: {hint}. Skip it")


def _merge(values: Values, others: Mapping[str, Any]) -> Values:
    """Merge values into nested dictionaries in place; the new values win."""
    for name, value in others.items():
        if isinstance(value, Mapping):
            _merge(values.setdefault(name, {}), value)
        else:
            values[name] = value
    return values


def _build(kind: type[S], default: S | None, values: Values, names: Mapping[str, str], above: str = "") -> S:
    """Make settings from nested values. Errors name options instead of fields."""
    values = dict(values)
    for field in fields(kind):  # type: ignore[arg-type]
        if isinstance(values.get(field.name), dict):
            inner = _default_of(field, default)
            path = f"{above}{field.name}."
            values[field.name] = _build(type(inner), inner, values[field.name], names, path)
    try:
        return kind(**values) if default is None else replace(default, **values)  # type: ignore[type-var]
    except (ValueError, InitzooError) as error:
        subject, _, rest = str(error).partition(" ")
        message = f"{names.get(above + subject, subject).split('/')[0]} {rest}"
        if isinstance(error, ValueError):
            raise click.UsageError(message) from error
        raise type(error)(message) from error
