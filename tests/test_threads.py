"""Threads that share a zoo, a weight generator and an init; the same bytes whatever threads and batch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from large_index import make_large_zoo, name_of
from zoo_fixtures import TINY_RECIPE, kept_generating_zoo

from initzoo.checkpoints.init import SAME_WITHIN, Init
from initzoo.zoo.index import Index
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_generating_zoo"]

pytestmark = pytest.mark.xdist_group("threads")  # one process of the tests makes the wide zoo

N_THREADS = 16
WORDS = ("faded teal at dusk", "night", "faded", "teal pencil", "a gold dusk", "make it teal")


def in_threads(work: Callable[[int], object]) -> list[object]:
    """What 16 threads that start at once return; the first error is raised."""
    results: list[object] = [None] * N_THREADS
    errors: list[BaseException] = []
    gate = threading.Barrier(N_THREADS)

    def start(number: int) -> None:
        try:
            gate.wait()
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


@pytest.fixture(scope="module")
def wide_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide") / "zoo"
    make_large_zoo(folder, TINY_RECIPE, n_concepts=5000, n_per_shard=1000)
    return folder


def test_threads_share_a_zoo_of_many_row_groups(wide_zoo: Path) -> None:
    zoo, alone = Zoo.from_pretrained(wide_zoo), Zoo.from_pretrained(wide_zoo)
    names = [name_of(number) for number in np.random.default_rng(0).integers(5000, size=12)]
    expected = [alone.pull(name, origin="exact", adapter_only=True).sha256 for name in names]

    def work(number: int) -> list[str]:
        order = np.random.default_rng(number).permutation(len(names))
        digests = {place: zoo.pull(names[place], origin="exact", adapter_only=True).sha256 for place in order}
        return [digests[place] for place in range(len(names))]

    assert all(result == expected for result in in_threads(work))


def test_threads_share_a_large_index_that_is_read_in_pieces(wide_zoo: Path) -> None:
    index = Index.open(wide_zoo / "dataset" / "index.parquet", whole_up_to=0)
    names = [name_of(number) for number in range(0, 5000, 197)]
    expected = [Zoo.from_pretrained(wide_zoo).index.find(name) for name in names]
    assert None not in expected
    results = in_threads(lambda number: [index.find(name) for name in names])
    assert all(result == expected for result in results)


def test_threads_share_a_new_zoo_and_its_weight_generator(kept_generating_zoo: Path) -> None:
    alone = Zoo.from_pretrained(kept_generating_zoo)
    expected = {words: alone.pull(words, origin="generated", warn=False).sha256 for words in WORDS}
    zoo = Zoo.from_pretrained(kept_generating_zoo)  # all threads open its parts at once

    def work(number: int) -> bool:
        words = WORDS[number % len(WORDS)]
        return zoo.pull(words, origin="generated", warn=False).sha256 == expected[words]

    assert all(in_threads(work))


def test_threads_share_an_init(kept_generating_zoo: Path, tmp_path: Path) -> None:
    init = Zoo.from_pretrained(kept_generating_zoo).pull("night", origin="exact")

    def work(number: int) -> str:
        path = tmp_path / f"{number}.safetensors"
        init.save(path)
        init.to_network()
        return Init.load(path).sha256

    assert set(in_threads(work)) == {init.sha256}


def test_threads_that_write_one_file_leave_a_whole_one(kept_generating_zoo: Path, tmp_path: Path) -> None:
    init = Zoo.from_pretrained(kept_generating_zoo).pull("night", origin="exact")
    in_threads(lambda number: init.save(tmp_path / "a.safetensors", force=True))
    assert Init.load(tmp_path / "a.safetensors").sha256 == init.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_batch_gives_the_bytes_of_each_request_alone(kept_generating_zoo: Path) -> None:
    generator = Zoo.from_pretrained(kept_generating_zoo).generator
    many = generator.generate_many(WORDS)
    for words, blocks in zip(WORDS, many, strict=True):
        assert np.array_equal(generator.generate(words), blocks)


def test_the_number_of_threads_is_restored(kept_generating_zoo: Path) -> None:
    generator, before = Zoo.from_pretrained(kept_generating_zoo).generator, torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        generator.generate("night")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_process_with_another_number_of_threads_gives_the_same_bytes() -> None:
    assert torch.get_num_threads() == 1
    code = (
        "from initzoo import Zoo; z = Zoo.from_pretrained('starter'); "
        "print(z.pull('faded teal charcoal at dusk').sha256)"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    here = Zoo.from_pretrained("starter").pull("faded teal charcoal at dusk").sha256
    assert done.stdout.strip() == here


def _changed(init: Init, share: float) -> Init:
    """The init with its first value moved by a share of the largest value of its tensor."""
    from dataclasses import replace

    weights = {name: value.copy() for name, value in init.weights.items()}
    first = next(iter(weights.values()))
    first.flat[0] += np.float32(share * np.abs(first).max() * (-1 if first.flat[0] > 0 else 1))
    return replace(init, weights=weights)


@pytest.mark.parametrize(("share", "is_same"), [(SAME_WITHIN / 2, True), (SAME_WITHIN * 100, False)])
def test_a_repeated_pull_says_that_a_file_differs_by_rounding_alone(
    kept_generating_zoo: Path, tmp_path: Path, share: float, is_same: bool
) -> None:
    from cli_running import run

    init = Zoo.from_pretrained(kept_generating_zoo).pull("faded teal at dusk", warn=False)
    path = tmp_path / "a.safetensors"
    _changed(init, share).save(path)
    before = path.read_bytes()
    assert before != init.to_bytes()
    result = run("pull", "faded teal at dusk", "-o", str(path), "--zoo", str(kept_generating_zoo))
    if is_same:
        assert result.exit_code == 0, result.output
        assert "(up to date within 1e-05)" in result.stdout
    else:
        assert result.exit_code == 1
        assert "exists already" in result.output
    assert path.read_bytes() == before
