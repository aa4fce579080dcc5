"""Some of the mutated files of `make hostile`, for every reader, and properties of the plainest readers."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_readers import READERS
from hostile_run import run_cases, table
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import change_bytes, change_json, change_tensors
from trust_run import count, count_tests

from initzoo.errors import printable
from initzoo.files import DamagedFile, decode_tensors, encode_tensors, parse_toml, path_within, read_json
from initzoo.generator.phrases.graphs import check_graph
from initzoo.zoo.index.pages import _read_struct

QUICK = settings(max_examples=60, deadline=None, database=None, derandomize=True)

NAMES = st.text(alphabet="abcXYZ019_-", min_size=1, max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("n_cases", [3, pytest.param(20, marks=pytest.mark.long)])
def test_every_reader_refuses_mutated_files_in_one_line_or_reads_them(n_cases: int) -> None:
    tallies = run_cases(list(READERS), n_cases, first=5_000_000)
    faults = {name: tally.faults for name, tally in tallies.items() if tally.faults}
    assert not faults, f"{table(tallies)}\n{faults}"
    assert all(tally.outcomes.total() == n_cases for tally in tallies.values())
    refusing = {name for name, tally in tallies.items() if tally.outcomes["refused"]}
    if n_cases == 20:
        assert refusing >= READERS.keys() - {"lookup"}
    else:
        assert len(refusing) > len(READERS) / 2


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    reader = READERS["calibration"]
    changed = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        reader.make(folder)
        reader.attack(folder, random.Random("calibration 3"))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        changed.append([path.read_bytes() for path in files])
    assert changed[0] == changed[1]


def test_the_table_of_all_attacks_takes_the_last_table_and_its_total() -> None:
    output = "\n".join(["| all | 5 |", "noise", table({}), "| --- |", "hostile: 1 times"])
    assert count(
        output.replace("| all | 0 | 0 | 0 | 0 |", "| x | 9 | 9 | 0 | 1 |\n| all | 7 | 4 | 3 | 0 |"), "cases"
    ) == (
        7,
        0,
    )
    assert count_tests("....\n3 failed, 20 passed, 1 error in 2s") == (24, 4)


def test_faults_are_counted_with_their_cases() -> None:
    from hostile_run import Tally

    tally = Tally()
    for number, outcome in enumerate(("refused", "accepted", "bad")):
        tally.add(number, outcome, "why")
    assert tally.faults == {"why": [2]}
    assert "| all | 3 | 1 | 1 | 1 |" in table({"x": tally})


@QUICK
@given(st.text())
def test_printable_text_is_one_line_that_any_terminal_takes(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    assert printable(shown) == shown
    shown.encode()


@QUICK
@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "", "b\\c", "/"])).map("/".join))
def test_a_name_never_leaves_its_folder(name: str) -> None:
    folder = Path("/zoo/inner")
    try:
        path = path_within(folder, name)
    except DamagedFile:
        return
    assert path.is_relative_to(folder)
    assert ".." not in path.parts


@QUICK
@given(st.binary(max_size=200) | JSON.map(lambda values: repr(values).encode("utf-8", "surrogatepass")))
def test_bytes_are_read_as_json_toml_and_parquet_headers_or_refused(data: bytes) -> None:
    for read in (
        lambda data: read_json(data, dict[str, Any]),
        parse_toml,
        lambda data: _read_struct(data, 0, 0),
        decode_tensors,
        lambda data: check_graph(data, max_tokens=2, n_ids=9),
    ):
        try:
            read(data)
        except DamagedFile as error:
            assert "\n" not in printable(str(error))


@QUICK
@given(
    st.dictionaries(NAMES, st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_tensors_come_back_and_changed_bytes_do_not(shapes: dict[str, list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    data = encode_tensors(tensors, {"kind": "merged"})
    metadata, read = decode_tensors(data)
    assert metadata == {"kind": "merged"}
    assert all(np.array_equal(read[name], value) for name, value in tensors.items())
    damaged = change_bytes(data, random.Random(seed))
    if damaged != data:
        try:
            decode_tensors(damaged)
        except DamagedFile:
            pass
        else:
            raise AssertionError("changed bytes were read")
    with contextlib.suppress(DamagedFile):
        decode_tensors(change_tensors(data, random.Random(seed)))


@QUICK
@given(st.integers(0, 2**32))
def test_changed_json_is_still_bytes(seed: int) -> None:
    data = b'{"a": [1, 2.5, {"b": "c"}], "d": null}'
    assert isinstance(change_json(data, random.Random(seed)), bytes)
