"""The parts of a concept by its id: the looks that it joins, each with its colours and its degree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Part", "parts_of"]


@dataclass(frozen=True)
class Part:
    """One look of a concept.

    Args:
        look: id of the look.
        colours: names of its colours, one for each of its slots.
        degree: a word such as `faint`; empty for the plain look.
    """

    look: str
    colours: tuple[str, ...]
    degree: str


def parts_of(
    concept_id: str,
    looks: Collection[str],
    slots: Mapping[str, Sequence[str]],
    colours: Collection[str],
) -> tuple[Part, ...] | None:
    """Split the id of a concept into its parts. The longest id of a look wins.

    Args:
        concept_id: parts with `--` between them.
        looks: ids of all looks.
        slots: names of the slots of each look that takes colours.
        colours: names of all colours.

    Returns:
        The parts in order; None if one of them is none of the looks.

    Example:
        >>> looks, slots = {"fog", "duotone"}, {"duotone": ("dark", "light")}
        >>> parts_of("duotone-navy-sky-blue--fog-faint", looks, slots, {"navy", "sky blue"})[1]
        Part(look='fog', colours=(), degree='faint')
        >>> parts_of("fog--snow", looks, slots, {"navy"}) is None
        True
    """
    parts = tuple(_part(name, looks, slots, colours) for name in concept_id.split("--"))
    return None if any(part is None for part in parts) else parts  # type: ignore[return-value]


def _part(
    name: str, looks: Collection[str], slots: Mapping[str, Sequence[str]], colours: Collection[str]
) -> Part | None:
    pieces = name.split("-")
    for end in range(len(pieces), 0, -1):
        look, rest = "-".join(pieces[:end]), pieces[end:]
        if look not in looks:
            continue
        n_slots = len(slots.get(look, ()))
        if not rest:
            return Part(look, (), "") if not n_slots else None
        named = _split_colours(rest, n_slots, colours)
        if named is not None:
            return Part(look, named, "")
        return Part(look, (), rest[0]) if not n_slots and len(rest) == 1 else None
    return None


def _split_colours(pieces: Sequence[str], n_slots: int, colours: Collection[str]) -> tuple[str, ...] | None:
    """Split `sky, blue, cream` into so many names of colours, or None."""
    if n_slots == 0 or not pieces:
        return () if n_slots == 0 and not pieces else None
    for end in range(len(pieces), 0, -1):
        name = " ".join(pieces[:end])
        if name in colours:
            rest = _split_colours(pieces[end:], n_slots - 1, colours)
            if rest is not None:
                return (name, *rest)
    return None
