"""The processes of one training that `accelerate launch` started, on one machine or on several.

Each runs the same command. They compute different parts of a batch and hand each other the results; all else
they compute alike. The first one alone writes results and prints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from initzoo.errors import MissingExtra, TrainingError, WorkerDied

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Ranks", "open_ranks", "rank_of"]

_NO_ACCELERATE = 'several processes need accelerate. Install it with: pip install "initzoo[accelerate]"'
_PATIENCE = timedelta(days=7)
"""How long processes wait for the first, which may make all pairs and crops of a zoo before it trains."""


def rank_of(environment: Mapping[str, str]) -> tuple[int, int]:
    """The number of this process and of all processes of a launch; (0, 1) without a launch.

    Args:
        environment: environment variables, as `accelerate launch` and `torchrun` set them.

    Example:
        >>> rank_of({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"})
        (1, 4)
        >>> rank_of({"WORLD_SIZE": "4"})  # of a cluster's scheduler, which launched nothing
        (0, 1)
    """
    if any(name not in environment for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")):
        return 0, 1
    try:
        return int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except ValueError:
        return 0, 1


@dataclass(frozen=True)
class Ranks:
    """The processes of a training. By default this process alone, which needs no accelerate.

    All of them must call the same methods in the same order.

    Args:
        index: number of this process.
        count: number of processes.
        device: device of this process; None for the cores.

    Example:
        >>> Ranks().is_first, list(Ranks(index=1, count=2).share_of(4, "the lanes", "--lanes"))
        (True, [2, 3])
    """

    index: int = 0
    count: int = 1
    device: torch.device | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.index == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    def share_of(self, n_items: int, name: str, option: str) -> range:
        """This process's equal share of some items, in their order.

        Args:
            n_items: number of items.
            name: what they are.
            option: the option that sets their number.

        Raises:
            TrainingError: the shares are not equal.
        """
        if n_items % self.count:
            raise TrainingError(
                f"{self.count} processes cannot share {name} evenly: found {n_items}. Set {option} to a "
                f"multiple of {self.count}"
            )
        n_own = n_items // self.count
        return range(self.index * n_own, (self.index + 1) * n_own)

    def wait(self) -> None:
        """Wait until all processes are here.

        Raises:
            WorkerDied: another process ended.
        """
        if not self.is_alone:
            from accelerate import PartialState

            self._call(lambda: PartialState().wait_for_everyone())

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process run the block before the others, which find what it has written.

        Raises:
            WorkerDied: another process ended.
        """
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def send(self, *tensors: Tensor) -> None:
        """Give all processes the values that the first one has, in place.

        Raises:
            WorkerDied: another process ended.
        """
        if self.is_alone:
            return
        from accelerate.utils import broadcast

        for tensor in tensors:
            tensor.copy_(self._call(lambda own: broadcast(own), tensor))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in their order; each has as many.

        Raises:
            WorkerDied: another process ended.
        """
        if self.is_alone:
            return rows
        from accelerate.utils import gather

        return self._call(lambda own: gather(own), rows)

    def average(self, *tensors: Tensor) -> None:
        """Replace tensors by their mean over all processes, in place.

        Raises:
            WorkerDied: another process ended.
        """
        if self.is_alone:
            return
        from accelerate.utils import reduce

        for tensor in tensors:
            tensor.copy_(self._call(lambda own: reduce(own, "mean"), tensor))

    def _call(self, function: Callable[..., Any], *tensors: Tensor) -> Any:
        """Call a function of accelerate, with tensors on the device that processes exchange them on."""
        moved = [tensor.contiguous() if self.device is None else tensor.to(self.device) for tensor in tensors]
        try:
            return function(*moved)
        except RuntimeError as error:  # a connection was closed
            raise WorkerDied(
                f"process {self.index} of {self.count} lost the others: one of them ended. Run the same "
                "command again to resume"
            ) from error


@contextmanager
def open_ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes of `accelerate launch`, if this process is one of several.

    Args:
        device: where to train. On an accelerator each process of a machine gets another one.

    Raises:
        MissingExtra: there are several processes, and accelerate is not installed.
        TrainingError: the processes do not find each other.

    Example:
        >>> import torch
        >>> with open_ranks(torch.device("cpu")) as ranks:
        ...     ranks.count
        1
    """
    _, count = rank_of(os.environ)
    if count == 1:
        yield Ranks()
        return
    if find_spec("accelerate") is None:
        raise MissingExtra(_NO_ACCELERATE)
    from accelerate import PartialState

    is_cpu = device.type == "cpu"
    try:
        state = PartialState(cpu=is_cpu, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        PartialState._reset_state()  # half made, it would be taken for whole by whatever asks next
        raise TrainingError(
            f"the {count} processes do not find each other: {' '.join(str(error).split())[:200]}. Start them "
            "with accelerate launch"
        ) from error
    try:
        yield Ranks(state.process_index, state.num_processes, None if is_cpu else state.device)
    finally:
        state.destroy_process_group()
