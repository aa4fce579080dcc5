"""Parts of long measurements that could be wrong in silence: repaired cases, lines, tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edits.starts import table as edit_table
from fuzz_run import fuzzed_files, lay
from growth_run import HARVESTED, extrapolate_quality, seconds_a_concept
from growth_run import table as growth_table
from hostile_readers import READERS
from hostile_run import outcome_of

from initzoo.zoo import Zoo


@pytest.mark.parametrize("name", ["base", "weight generator", "index"])
def test_a_fuzzed_file_that_is_unchanged_leaves_the_zoo_sound(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.make(tmp_path)
    for number, path in enumerate(fuzzed_files(tmp_path)):
        lay(tmp_path, bytes([number]) + path.read_bytes())
    assert outcome_of(reader, tmp_path) == ("accepted", "")


def test_digests_of_a_fuzzed_config_are_right_again(tmp_path: Path) -> None:
    """The change itself is refused or read; no manifest or digest stops it."""
    reader = READERS["weight generator"]
    reader.make(tmp_path)
    files = fuzzed_files(tmp_path)
    number = next(at for at, path in enumerate(files) if path.match("weight_generator/tiny/config.json"))
    config = files[number].read_bytes()
    lay(tmp_path, bytes([number]) + config.replace(b'"weights_sha256"', b'"weights_sha265"'))
    (problem,) = Zoo.from_pretrained(tmp_path).verify().problems
    assert "config.json': lacks weights_sha256" in str(problem)


def test_growth_is_measured_where_it_was_and_extrapolated_in_brackets() -> None:
    index = {"bytes": 2e6, "seconds_open": 0.05, "seconds_find": 0.05, "mib": 100.0}
    trained = {
        str(size): {"mib": 1024.0 + size, "psnr heldout-composed": level, "psnr heldout-new": 15.0}
        for size, level in ((250, 20.0), (500, 21.0), (1000, 22.0))
    }
    few, many = HARVESTED
    report = {
        "index": {"250": index, "100000": index},
        "generator": trained,
        "harvest": {
            str(few): {"processor_seconds": 100.0},
            str(many): {"processor_seconds": 100.0 + 36 * (many - few)},
        },
    }
    assert seconds_a_concept(report) == 36
    assert extrapolate_quality(report, "heldout-composed", 4000) == pytest.approx(24.0)
    rows = {line.split(" | ")[0]: line for line in growth_table(report).splitlines()}
    assert rows["| 250"] == "| 250 | (2.5) | 2.00 | 0.100 | 105 | 1.2 | 20.0 | 15.0 |"
    assert rows["| 2,000"].endswith("| (2.95) | (23.0) | (15.0) |") or "(23.0) | (15.0)" in rows["| 2,000"]


def test_the_table_of_edits_names_the_time_that_was_not_enough() -> None:
    rung = {"n_steps": 0, "psnr": 20.0, "seconds": 1.0}
    made = {
        "untouched": 10.0,
        "one_pair": 18.0,
        "fitted": [rung, {"n_steps": 80, "psnr": 30.0, "seconds": 9.0}],
        "base": [rung, {"n_steps": 80, "psnr": 29.5, "seconds": 8.0}],
        "random": [rung, {"n_steps": 80, "psnr": 25.0, "seconds": 7.0}],
    }
    assert "| glow | 10.0 | 18.0 | 20.0 | 30.0 | 29.5 | 25.0 | 9 | 8 | > 7 |" in edit_table({"glow": made})


def test_the_growth_in_the_documentation_is_what_was_measured() -> None:
    docs = Path(__file__).parent.parent / "docs"
    report = json.loads((docs / "growth.json").read_text("utf-8"))
    assert growth_table(report) in (docs / "measured.md").read_text("utf-8")
