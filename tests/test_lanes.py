"""Training in lanes: the same bytes for any number of processes, killed or not."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from initzoo.errors import TrainingError, WorkerDied
from initzoo.training.lanes import Board, Snapshots, train_in_lanes

N_LANES, N_VALUES = 4, 1001


@dataclass(frozen=True)
class Toy:
    """Weights on the board, which gradients drawn for each update and lane move; and a sum in each lane."""

    folder: Path
    fault: str = ""
    n_lanes: int = N_LANES
    n_updates: int = 12
    snapshot_every: int = 4

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.folder)

    def make_board(self) -> Board:
        return Board({"weights": torch.zeros(N_VALUES), "gradients": torch.zeros(self.n_lanes, N_VALUES)})

    def restore_board(self, board: Board, folder: Path) -> None:
        board["weights"].copy_(load_file(folder / "weights.safetensors")["weights"])

    def make_share(self, board: Board, lanes: range) -> "ToyShare":
        return ToyShare(self, board, lanes)


class ToyShare:
    def __init__(self, toy: Toy, board: Board, lanes: range) -> None:
        self.toy, self.board, self.lanes = toy, board, lanes
        self.sums = {lane: torch.zeros(N_VALUES) for lane in lanes}
        self.phases = (self.compute, self.apply)

    def compute(self, update: int) -> None:
        for lane in self.lanes:
            if update == 9 and lane == 1 and self.toy.fault == "dies":
                os._exit(5)
            if update == 9 and lane == 1 and self.toy.fault == "raises":
                raise TrainingError("the gradient is not finite at step 9. Try a smaller learning rate.")
            drawn = torch.randn(N_VALUES, generator=torch.Generator().manual_seed(100 * update + lane))
            self.board["gradients"][lane] = drawn * (1 + self.board["weights"].abs())
            self.sums[lane] += drawn

    def apply(self, update: int) -> None:
        if 0 in self.lanes:
            self.board["weights"].sub_(0.1 * self.board["gradients"].sum(0))

    def save(self, folder: Path) -> None:
        for lane, total in self.sums.items():
            save_file({"sum": total}, folder / f"lane-{lane}.safetensors")
        if 0 in self.lanes:
            save_file({"weights": self.board["weights"]}, folder / "weights.safetensors")

    def restore(self, folder: Path) -> None:
        for lane, total in self.sums.items():
            total.copy_(load_file(folder / f"lane-{lane}.safetensors")["sum"])


def result_of(board: Board, folder: Path) -> list[bytes]:
    """All that a training leaves."""
    files = sorted((folder / "0000012").iterdir())
    assert len(files) == N_LANES + 1
    return [board["weights"].numpy().tobytes(), *(file.read_bytes() for file in files)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed training in this process."""
    folder = tmp_path_factory.mktemp("lanes")
    reports = []
    board = train_in_lanes(Toy(folder), n_workers=1, callback=lambda board: reports.append(int(board.done)))
    assert reports[-1] == 12
    return result_of(board, folder)


def quiet(board: Board) -> None:
    """No report."""


def test_several_processes_give_the_same_bytes(whole, tmp_path):
    """Of unequal shares: one has two lanes. That of two processes is seen below."""
    board = train_in_lanes(Toy(tmp_path), n_workers=3, callback=quiet)
    assert result_of(board, tmp_path) == whole


def test_a_dead_process_is_one_line_and_another_number_goes_on_to_the_same_bytes(whole, tmp_path):
    with pytest.raises(WorkerDied, match="ended with status 5 at lanes 1, 3. Run the same command again"):
        train_in_lanes(Toy(tmp_path, "dies"), n_workers=2, callback=quiet)
    assert Snapshots(tmp_path).latest == 8
    assert [file.name for file in tmp_path.iterdir() if file.is_dir()] == ["0000008"]
    for parts in (tmp_path / "0000012", tmp_path / "0000016"):  # of a snapshot that does not count
        parts.mkdir()
        (parts / "lane-0.safetensors").write_bytes(b"half")
    board = train_in_lanes(Toy(tmp_path), n_workers=1, callback=quiet)
    assert result_of(board, tmp_path) == whole
    again = train_in_lanes(Toy(tmp_path, "dies"), n_workers=2, callback=quiet)  # nothing is left to do
    assert result_of(again, tmp_path) == whole


@pytest.mark.parametrize("n_workers", [1, 9])  # 9 are more than lanes
def test_an_error_of_one_lane_ends_all_and_arrives_as_it_is(tmp_path, n_workers):
    with pytest.raises(TrainingError, match="not finite at step 9. Try a smaller"):
        train_in_lanes(Toy(tmp_path, "raises", n_lanes=2), n_workers=n_workers, callback=quiet)


@pytest.mark.parametrize("name", ["latest.json", "0000012/weights.safetensors", "0000008/lane-3.safetensors"])
def test_a_damaged_snapshot_is_named(tmp_path, name):
    n_updates = 8 if name.startswith("0000008") else 12
    train_in_lanes(Toy(tmp_path, n_updates=n_updates), n_workers=1, callback=quiet)
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match=f"snapshot in {tmp_path} is damaged. Delete that folder"):
        train_in_lanes(Toy(tmp_path), n_workers=1, callback=quiet)
