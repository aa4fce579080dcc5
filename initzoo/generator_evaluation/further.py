"""Figures of further generators, kept from an earlier evaluation that asked the same questions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from initzoo.errors import InvalidGenerator

__all__ = ["keep_further"]

_SAME = ("zoo", "revision", "wordings", "photos", "intervals", "seeds")
"""What must be alike for figures to stand beside each other."""

_BY_METHOD = ("psnr", "psnr_interval", "psnr_10th", "ssim", "ssim_interval")
_GROUPS = ("families", "novelty", "wording")


def keep_further(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """A report with the further generators of an earlier one, which need not be trained and measured again.

    Their figures, and what they are above `reference`, depend on questions and photos alone, so these must
    be the same. What another generator is above them is not known, and left out.

    Args:
        report: of `evaluate_generator`, or read from its JSON.
        earlier: the same.

    Raises:
        InvalidGenerator: the earlier evaluation asked other questions, has no further generators, or one
            that the report has too.
    """
    names = list(earlier.get("also", {}))
    odd = next((key for key in _SAME if earlier.get(key) != report.get(key)), None)
    twice = next((name for name in names if name in report["also"]), None)
    splits = [split for split, section in report.items() if isinstance(section, dict) and "psnr" in section]
    if odd is None and any(_asked(earlier.get(split)) != _asked(report[split]) for split in splits):
        odd = "concepts"
    if odd is not None or twice is not None or not names:
        why = "has no further generators"
        if odd is not None:
            why = f"is of other {odd}"
        elif twice is not None:
            why = f"has a generator {twice!r} as well"
        raise InvalidGenerator(f"the earlier evaluation {why}. Measure them again with --also")
    kept = copy.deepcopy(dict(report))
    for split in splits:
        _add(kept[split], earlier[split], names)
        for group in _GROUPS:
            for name, part in kept[split][group].items():
                _add(part, earlier[split][group][name], names)
    told = {name: {**earlier["also"][name], "evaluated_beside": earlier["generator"]} for name in names}
    kept["also"] = {**kept["also"], **told}
    return kept


def _asked(section: Mapping[str, Any] | None) -> object:
    """What a section counts: concepts and wordings, of all and of each group."""
    if section is None:
        return None
    groups = {group: {name: part["n_concepts"] for name, part in section[group].items()} for group in _GROUPS}
    return section["n_concepts"], section["n_wordings"], groups


def _add(section: dict[str, Any], earlier: Mapping[str, Any], names: list[str]) -> None:
    for key in _BY_METHOD:
        section[key] |= {name: earlier[key][name] for name in names}
    if "difference_to_reference" in earlier:
        leads = earlier["difference_to_reference"]
        section["difference_to_reference"] = {name: leads[name] for name in names if name in leads}
