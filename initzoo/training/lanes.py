"""Data-parallel training whose result does not depend on the number of processes.

The batch of an update is split into a fixed number of lanes. Each process computes one or more lanes, and
writes the gradient of each lane to a row of a tensor in shared memory. The rows are always added in the same
order, because floating-point sums depend on it. The bytes of the result are therefore the same for every
number of processes, and after every interruption.

An update has phases with a barrier after each. With two processes and three lanes:

    process 0   lane 0   lane 2   | wait |  add the rows, change weights  | wait |  next update
    process 1   lane 1            | wait |  add the rows, change weights  | wait |  next update

Without the second barrier, a fast process would overwrite rows that a slow one still reads.

The processes of `accelerate launch` share no memory, and may be on several machines. Each then has tensors of
its own, and after the lanes are computed, all get the rows of all lanes. So these bytes are the same, too.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from initzoo.errors import TrainingError
from initzoo.files import make_folder, write_bytes
from initzoo.work import WORKER_CONTEXT, Pool, Ranks, one_thread

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

__all__ = ["Board", "LaneTraining", "Share", "Snapshots", "train_in_lanes"]

REPORT_SECONDS = 0.5
"""Interval between reports of a training in this process, seconds."""


@dataclass
class Board:
    """The state that all processes of a training share.

    Args:
        tensors: shared tensors by name.
        done: number of updates done, int64, shape `()`.
        barrier: barrier of the processes; None for a single process.
        ranks: processes that have tensors of their own; a single one by default.

    Example:
        >>> board = Board({"gradients": torch.zeros(2, 3)})
        >>> board["gradients"].shape, int(board.done)
        (torch.Size([2, 3]), 0)
    """

    tensors: dict[str, Tensor]
    done: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    barrier: Barrier | None = None
    ranks: Ranks = field(default_factory=Ranks)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def share(self, n_workers: int) -> None:
        """Move the tensors to shared memory, for `n_workers` processes."""
        for tensor in (*self.tensors.values(), self.done):
            tensor.share_memory_()
        self.barrier = WORKER_CONTEXT.Barrier(n_workers)

    def wait(self) -> None:
        """Wait for all processes. If one dies, the pool ends the others."""
        if self.barrier is not None:
            self.barrier.wait()

    def exchange(self, lanes: range, *names: str) -> None:
        """Hand the rows of some lanes to processes that do not share memory, and take theirs."""
        if not self.ranks.is_alone:
            for name in names:
                own = self[name][lanes.start : lanes.stop]
                self[name].copy_(self.ranks.gather(own))


class Share(Protocol):
    """The lanes of one process."""

    @property
    def phases(self) -> Sequence[Callable[[int], None]]:
        """The phases of an update, called with its number from 0, with a barrier after each."""

    def save(self, folder: Path) -> None:
        """Write the part of a snapshot that belongs to these lanes."""

    def restore(self, folder: Path) -> None:
        """Read the part of a snapshot that belongs to these lanes."""


class LaneTraining(Protocol):
    """A training in lanes. It must be picklable, since every process gets a copy."""

    @property
    def n_lanes(self) -> int:
        """Number of lanes."""

    @property
    def n_updates(self) -> int:
        """Total number of updates."""

    @property
    def snapshot_every(self) -> int:
        """Number of updates between snapshots."""

    @property
    def snapshots(self) -> Snapshots:
        """The snapshots of the training."""

    def make_board(self) -> Board:
        """Make the shared tensors, with their values before the first update."""

    def restore_board(self, board: Board, folder: Path) -> None:
        """Read the shared tensors from a snapshot."""

    def make_share(self, board: Board, lanes: range) -> Share:
        """Make the share of a process. The share with lane 0 also does the work that is done once."""


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of a training. A snapshot is valid once all its parts are written and committed.

    Args:
        folder: folder with one subfolder per snapshot, and `latest.json`, which names the last valid one.
    """

    folder: Path

    @property
    def latest(self) -> int:
        """Number of updates before the last valid snapshot; 0 if there is none.

        Raises:
            TrainingError: `latest.json` is damaged.
        """
        path = self.folder / "latest.json"
        with self.reported():
            return int(json.loads(path.read_bytes())["update"]) if path.exists() else 0

    def at(self, update: int) -> Path:
        """The folder of a snapshot."""
        return self.folder / f"{update:07d}"

    def make(self, update: int) -> Path:
        """Create the folder of a new snapshot, which is not valid yet.

        Raises:
            OutputError: the folder cannot be created.
        """
        make_folder(self.at(update))
        return self.at(update)

    def commit(self, update: int) -> None:
        """Mark a snapshot as valid, and delete older ones."""
        write_bytes(self.folder / "latest.json", json.dumps({"update": update}).encode(), force=True)
        for older in self.folder.iterdir():
            if older.is_dir() and older != self.at(update):
                shutil.rmtree(older, ignore_errors=True)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Turn errors of reading into an error about a damaged snapshot.

        Raises:
            TrainingError: a file cannot be read.
        """
        try:
            yield
        except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"the snapshot in {self.folder} is damaged. Delete that folder to start the stage again"
            ) from error


def train_in_lanes(
    training: LaneTraining,
    *,
    n_workers: int,
    callback: Callable[[Board], None],
    ranks: Ranks | None = None,
) -> Board:
    """Run a training, or resume it from its last snapshot.

    Args:
        training: the training.
        n_workers: number of processes on this machine, one core each; at most one per lane is used.
        callback: called in this process about every half second, and at the end.
        ranks: the processes of a launch, each of which calls this function and computes an equal share of the
            lanes; `n_workers` does not count then. They must see the same snapshots.

    Returns:
        The shared tensors after the last update.

    Raises:
        WorkerDied: a process died.
        TrainingError: the snapshot is damaged, or lanes cannot be shared evenly by ranks.
        Exception: a share raised it.
    """
    if ranks is not None and not ranks.is_alone:
        return _train_on_ranks(training, ranks, callback)
    n_workers = min(n_workers, training.n_lanes)
    board = training.make_board()
    n_done = _restore_board(training, board)
    if n_done < training.n_updates:
        if n_workers > 1:
            board.share(n_workers)
        # A rank waits at barriers for all others, so each worker of the pool gets exactly one rank.
        report = None if n_workers > 1 else partial(callback, board)
        make_worker = partial(partial, _work, training, board, n_workers, report)
        numbers = range(n_workers)
        for _ in Pool(n_workers).run(
            make_worker,
            numbers,
            name_of=lambda rank: f"lanes {', '.join(map(str, _lanes_of(training, rank, n_workers)))}",
            on_tick=partial(callback, board),
        ):
            pass
    callback(board)
    return board


def _restore_board(training: LaneTraining, board: Board) -> int:
    """Read the shared tensors from the last snapshot, if there is one; returns the number of updates done."""
    snapshots = training.snapshots
    n_done = snapshots.latest
    board.done.fill_(n_done)
    if n_done:
        with snapshots.reported():
            training.restore_board(board, snapshots.at(n_done))
    return n_done


def _train_on_ranks(training: LaneTraining, ranks: Ranks, callback: Callable[[Board], None]) -> Board:
    """Run a training in processes that share no memory, of which this is one."""
    lanes = ranks.share_of(training.n_lanes, "the lanes", "their number")
    board = training.make_board()
    board.ranks = ranks
    if ranks.is_first:
        _restore_board(training, board)
    ranks.send(board.done, *board.tensors.values())
    if int(board.done) < training.n_updates:
        with one_thread():
            _work_on_lanes(training, board, lanes, partial(callback, board))
    callback(board)
    return board


def _lanes_of(training: LaneTraining, rank: int, n_workers: int) -> range:
    """The lanes of a process."""
    return range(rank, training.n_lanes, n_workers)


def _work(
    training: LaneTraining, board: Board, n_workers: int, report: Callable[[], None] | None, rank: int
) -> None:
    """Run the lanes of one process that shares memory with the others."""
    _work_on_lanes(training, board, _lanes_of(training, rank, n_workers), report)


def _work_on_lanes(
    training: LaneTraining, board: Board, lanes: range, report: Callable[[], None] | None
) -> None:
    """Run some lanes from the last snapshot to the end."""
    snapshots, first, is_first = training.snapshots, int(board.done), lanes.start == 0
    share = training.make_share(board, lanes)
    if first:
        with snapshots.reported():
            share.restore(snapshots.at(first))
    last_report = time.monotonic()
    for update in range(first, training.n_updates):
        for phase in share.phases:
            phase(update)
            board.wait()
        if is_first:
            board.done.fill_(update + 1)
        if (update + 1) % training.snapshot_every == 0 or update + 1 == training.n_updates:
            share.save(snapshots.make(update + 1))
            board.wait()  # all parts are written
            board.ranks.wait()
            if is_first:
                snapshots.commit(update + 1)
        if report is not None and time.monotonic() - last_report > REPORT_SECONDS:
            report()
            last_report = time.monotonic()
