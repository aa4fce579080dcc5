"""The table of labels: it knows everything that reports and the index hold, and nobody keeps a copy of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from initzoo.evaluation.benchmark.report import ITS_BEST, TARGETS
from initzoo.evaluation.benchmark.settings import BOOK, FITTED, OURS, SCRATCH
from initzoo.evaluation.cases import ASKED_SPLITS, OWN_CONCEPTS
from initzoo.evaluation.checkpoints import FamilyScores
from initzoo.evaluation.generator import BASELINES
from initzoo.networks.diagnosis import LayerReport
from initzoo.pairs import concepts
from initzoo.training.schemes import FROM_ZOO
from initzoo.zoo import labels

ROOT = Path(__file__).parent.parent
TABLES = ("SPLITS", "SCORED", "QUESTIONS", "METHODS", "STARTS", "TARGETS", "DIAGNOSIS")


def test_every_name_that_is_reported_has_a_label() -> None:
    assert tuple(labels.SPLITS) == concepts.SPLITS
    assert set(labels.SCORED) <= set(FamilyScores.__dataclass_fields__)
    assert set(labels.QUESTIONS) == {*ASKED_SPLITS, OWN_CONCEPTS}
    assert set(labels.METHODS) == {"generated", "pull", "trained", *BASELINES}
    assert set(labels.STARTS) == {BOOK, "unet_l1", SCRATCH, OURS, FITTED, *FROM_ZOO}
    assert tuple(labels.TARGETS) == (*TARGETS, ITS_BEST)
    assert set(labels.DIAGNOSIS) <= set(LayerReport.__dataclass_fields__)


@pytest.mark.parametrize("name", TABLES)
def test_labels_of_a_table_differ(name: str) -> None:
    table = getattr(labels, name).values()
    assert len({label.short for label in table}) == len({label.long for label in table}) == len(table)


def test_lines_of_one_plot_have_different_colours() -> None:
    for table in (labels.STARTS, labels.TARGETS, labels.DIAGNOSIS):
        assert len({label.colour for label in table.values()}) == len(table)
    zoo_only = [label for name, label in labels.QUESTIONS.items() if name != OWN_CONCEPTS]
    assert len({label.colour for label in zoo_only}) == len(zoo_only)


def test_no_other_module_has_a_copy() -> None:
    """Of a label of several words, or of a colour of plots; pictures have colours of their own."""
    texts = {
        text
        for name in TABLES
        for label in getattr(labels, name).values()
        for text in (label.short, label.long, label.meaning)
        if " " in text
    }
    for path in sorted((ROOT / "initzoo").rglob("*.py")):
        if path.is_relative_to(ROOT / "initzoo" / "pairs") or path.name == "labels.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in texts, f"{path.name}, line {node.lineno}"
                assert not re.fullmatch("#[0-9a-f]{6}", node.value), f"{path.name}, line {node.lineno}"
