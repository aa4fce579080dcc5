"""Data-parallel training that gives the same bytes whatever the number of processes.

An update is dealt out to a fixed number of lanes. A process works on one lane or more, and leaves the
gradient of each in its row of a tensor in shared memory. Which process computed a row changes nothing,
because rows are added in their order. So neither does the number of processes, nor where a training was
killed and gone on with.

An update has phases, and everybody waits at a barrier after each. With two processes and three lanes:

    process 0   lane 0   lane 2   | wait |  add the rows, change weights  | wait |  next update
    process 1   lane 1            | wait |  add the rows, change weights  | wait |  next update

The second barrier keeps the fast from overwriting rows that the slow still read.
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
from initzoo.work import WORKER_CONTEXT, Pool

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

__all__ = ["Board", "LaneTraining", "Share", "Snapshots", "train_in_lanes"]

REPORT_SECONDS = 0.5
"""Seconds between two reports of a training in this process."""


@dataclass
class Board:
    """What all processes of a training see.

    Args:
        tensors: by name.
        done: updates done, an int64 of shape `()`.
        barrier: of the processes; None for a single one.

    Example:
        >>> board = Board({"gradients": torch.zeros(2, 3)})
        >>> board["gradients"].shape, int(board.done)
        (torch.Size([2, 3]), 0)
    """

    tensors: dict[str, Tensor]
    done: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    barrier: Barrier | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def share(self, n_workers: int) -> None:
        """Move the tensors to shared memory, for so many processes."""
        for tensor in (*self.tensors.values(), self.done):
            tensor.share_memory_()
        self.barrier = WORKER_CONTEXT.Barrier(n_workers)

    def wait(self) -> None:
        """Wait until all processes are here. If one dies, the pool ends the others."""
        if self.barrier is not None:
            self.barrier.wait()


class Share(Protocol):
    """A process's share of a training: some lanes."""

    @property
    def phases(self) -> Sequence[Callable[[int], None]]:
        """The parts of an update, called with its number, from 0: none begins before all ended the last."""

    def save(self, folder: Path) -> None:
        """Write its part of a snapshot."""

    def restore(self, folder: Path) -> None:
        """Take up its part of a snapshot."""


class LaneTraining(Protocol):
    """A training in lanes; picklable, since every process gets it."""

    @property
    def n_lanes(self) -> int:
        """Lanes of an update."""

    @property
    def n_updates(self) -> int:
        """Updates in all."""

    @property
    def snapshot_every(self) -> int:
        """Updates between two snapshots."""

    @property
    def snapshots(self) -> Snapshots:
        """Its snapshots."""

    def make_board(self) -> Board:
        """The shared tensors as they are before the first update."""

    def restore_board(self, board: Board, folder: Path) -> None:
        """Take up what a snapshot holds of the shared tensors."""

    def make_share(self, board: Board, lanes: range) -> Share:
        """The share of a process; that with lane 0 does what is to be done once."""


@dataclass(frozen=True)
class Snapshots:
    """Snapshots of a training. One counts once all parts are written; then the one before is removed.

    Args:
        folder: holds a folder per snapshot, and `latest.json`, which names the last whole one.
    """

    folder: Path

    @property
    def latest(self) -> int:
        """Updates that the last whole snapshot had seen, 0 if there is none.

        Raises:
            TrainingError: the file that tells is damaged.
        """
        path = self.folder / "latest.json"
        with self.reported():
            return int(json.loads(path.read_bytes())["update"]) if path.exists() else 0

    def at(self, update: int) -> Path:
        """The folder of a snapshot."""
        return self.folder / f"{update:07d}"

    def make(self, update: int) -> Path:
        """The folder of a new snapshot, which does not count yet.

        Raises:
            OutputError: it cannot be made.
        """
        make_folder(self.at(update))
        return self.at(update)

    def commit(self, update: int) -> None:
        """Let a snapshot count whose parts are all written."""
        write_bytes(self.folder / "latest.json", json.dumps({"update": update}).encode(), force=True)
        for older in self.folder.iterdir():
            if older.is_dir() and older != self.at(update):
                shutil.rmtree(older, ignore_errors=True)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Say of files that cannot be read that the snapshot is damaged.

        Raises:
            TrainingError: in place of what the reader of a file raised.
        """
        try:
            yield
        except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"the snapshot in {self.folder} is damaged. Delete that folder to start its stage anew"
            ) from error


def train_in_lanes(training: LaneTraining, *, n_workers: int, callback: Callable[[Board], None]) -> Board:
    """Run a training to its end, or go on from its last snapshot.

    Args:
        training: what to do.
        n_workers: processes of this machine, each on one core; more than lanes are not used.
        callback: called in this process every half second or so, and at the end.

    Returns:
        The shared tensors after the last update.

    Raises:
        WorkerDied: a process died.
        TrainingError: the snapshot is damaged.
        Exception: a share raised it.
    """
    n_workers = min(n_workers, training.n_lanes)
    snapshots, board = training.snapshots, training.make_board()
    n_done = snapshots.latest
    board.done.fill_(n_done)
    if n_done:
        with snapshots.reported():
            training.restore_board(board, snapshots.at(n_done))
    if n_done < training.n_updates:
        if n_workers > 1:
            board.share(n_workers)
        # Nobody ends before all have begun, so every worker of the pool gets one rank.
        report = None if n_workers > 1 else partial(callback, board)
        make_worker = partial(partial, _work, training, board, n_workers, report)
        ranks = range(n_workers)
        for _ in Pool(n_workers).run(
            make_worker,
            ranks,
            name_of=lambda rank: f"lanes {', '.join(map(str, _lanes_of(training, rank, n_workers)))}",
            on_tick=partial(callback, board),
        ):
            pass
    callback(board)
    return board


def _lanes_of(training: LaneTraining, rank: int, n_workers: int) -> range:
    """The lanes of a process."""
    return range(rank, training.n_lanes, n_workers)


def _work(
    training: LaneTraining, board: Board, n_workers: int, report: Callable[[], None] | None, rank: int
) -> None:
    """What one process does: its lanes' share of every update, from the last snapshot to the end."""
    snapshots, first = training.snapshots, int(board.done)
    share = training.make_share(board, _lanes_of(training, rank, n_workers))
    if first:
        with snapshots.reported():
            share.restore(snapshots.at(first))
    last_report = time.monotonic()
    for update in range(first, training.n_updates):
        for phase in share.phases:
            phase(update)
            board.wait()
        if rank == 0:
            board.done.fill_(update + 1)
        if (update + 1) % training.snapshot_every == 0 or update + 1 == training.n_updates:
            share.save(snapshots.make(update + 1))
            board.wait()
            if rank == 0:
                snapshots.commit(update + 1)
        if report is not None and time.monotonic() - last_report > REPORT_SECONDS:
            report()
            last_report = time.monotonic()
