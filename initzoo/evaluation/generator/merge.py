"""Figures of further generators, kept from an earlier evaluation that asked the same questions."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidGenerator
from initzoo.zoo import METHODS

__all__ = ["check_further", "keep_further", "read_evaluation"]

_SAME = ("zoo", "revision", "wordings", "photos", "intervals", "seeds")
"""Keys of two reports that must be equal for their figures to be comparable."""

_ALIKE = 0.02
"""Tolerance of the mean adapter's PSNR between machines, dB."""

_BY_METHOD = ("psnr", "psnr_interval", "psnr_10th", "ssim", "ssim_interval")
_GROUPS = ("families", "novelty", "wording")


def read_evaluation(path: Path) -> dict[str, Any]:
    """The report of an earlier evaluation.

    Args:
        path: of its evaluation.json.

    Raises:
        InvalidGenerator: the file cannot be read, or is not the report of an evaluation.
    """
    try:
        report = json.loads(path.read_bytes())
        if not isinstance(report["also"], dict) or not isinstance(report["generator"], str):
            raise ValueError("it is not the report of an evaluation")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidGenerator(
            f"cannot take figures from {path} ({error}). Name the evaluation.json of another evaluation"
        ) from error
    return dict(report)


def keep_further(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the further generators of an earlier report into a report, without training them again.

    Their figures and their lead over `reference` depend on questions and photos only. These must be the
    same, which shows in the score of the mean adapter. The lead of other generators over them is unknown
    and left out.

    Args:
        report: report of `evaluate_generator`, or its JSON.
        earlier: an earlier report.

    Raises:
        InvalidGenerator: the earlier evaluation asked other questions, has no further generators, or one
            that the report has too.
    """
    names = check_further(earlier, zoo=report["zoo"], revision=report["revision"], names=report["also"])
    odd = next((key for key in _SAME if earlier.get(key) != report.get(key)), None)
    splits = [split for split, section in report.items() if isinstance(section, dict) and "psnr" in section]
    if odd is None and not all(_are_alike(report[split], earlier.get(split)) for split in splits):
        odd = "concepts"
    if odd is not None:
        raise InvalidGenerator(f"the earlier evaluation is of other {odd}. Measure them again with --also")
    kept = copy.deepcopy(dict(report))
    for split in splits:
        _add(kept[split], earlier[split], names)
        for group in _GROUPS:
            for name, part in kept[split][group].items():
                _add(part, earlier[split][group][name], names)
    told = {name: {**earlier["also"][name], "evaluated_beside": earlier["generator"]} for name in names}
    kept["also"] = {**kept["also"], **told}
    return kept


def check_further(
    earlier: Mapping[str, Any], *, zoo: str, revision: str, names: Collection[str]
) -> list[str]:
    """Check what can be checked before anything is measured, and give the names of the further generators.

    Args:
        earlier: report of the earlier evaluation.
        zoo: that is evaluated now.
        revision: of it.
        names: of further generators that are measured now.

    Raises:
        InvalidGenerator: as for `keep_further`.
    """
    found = list(earlier.get("also", {}))
    twice = next((name for name in found if name in names or name in METHODS), None)
    why = ""
    if not found:
        why = "has no further generators"
    elif twice is not None:
        why = f"has a generator {twice!r} as well"
    elif (earlier.get("zoo"), earlier.get("revision")) != (zoo, revision):
        why = "is of another zoo or revision"
    if why:
        raise InvalidGenerator(f"the earlier evaluation {why}. Measure them again with --also")
    return found


def _are_alike(section: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> bool:
    """Whether two sections and their groups have as many concepts, on which the mean scores the same."""
    if earlier is None:
        return False
    pairs = [(section, earlier)]
    for group in _GROUPS:
        if section[group].keys() != earlier[group].keys():
            return False
        pairs += [(part, earlier[group][name]) for name, part in section[group].items()]
    return all(
        one["n_concepts"] == other["n_concepts"]
        and math.isclose(one["psnr"]["mean"], other["psnr"]["mean"], abs_tol=_ALIKE)
        for one, other in pairs
    )


def _add(section: dict[str, Any], earlier: Mapping[str, Any], names: list[str]) -> None:
    for key in _BY_METHOD:
        section[key] |= {name: earlier[key][name] for name in names}
    if "difference_to_reference" in earlier:
        leads = earlier["difference_to_reference"]
        section["difference_to_reference"] = {name: leads[name] for name in names if name in leads}
