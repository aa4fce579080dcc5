"""Work for pools to do, in a module that loads no torch: each worker process imports it."""

import os
from functools import partial
from pathlib import Path

from waiting import wait_until

from initzoo.errors import InvalidZoo


def double(number: int) -> int:
    return 2 * number


def doubler():
    return double


def fail(kind: str, item: int) -> int:
    """Work that goes well but for item 2."""
    if item != 2:
        return item
    if kind == "exit":
        os._exit(7)
    if kind == "kill":
        os.kill(os.getpid(), 9)
    if kind == "known":
        raise InvalidZoo("zoo 'x' is damaged. Pull it again")
    if kind == "bug":
        raise ZeroDivisionError("two is one too many")
    if kind == "unpicklable error":
        raise Awkward(1, 2)
    return lambda: item  # a result that cannot be pickled


class Awkward(Exception):
    """Cannot be made again from its message, as unpickling would."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def die_once(folder: Path, item: int) -> int:
    """Work whose process is killed at its first try of item 2."""
    if item == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), 9)
    return item


def dies_once(folder: Path):
    return partial(die_once, folder)


def failer(kind: str):
    return partial(fail, kind)


def never_made():
    raise InvalidZoo("zoo 'x' has no photos. Add some")


def dead_at_start():
    os._exit(3)


class WaitsForOther:
    """Item `first` is done only once `second` was begun, so that the order of results is known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, item: str) -> str:
        (self.folder / item).touch()
        assert wait_until((self.folder / "second").exists)
        if item == "first":
            assert wait_until((self.folder / "seen").exists)
        return item.upper()


def summed(seed: int) -> list[float]:
    """A sum whose last bits depend on the number of threads."""
    import torch

    values = torch.randn(200_000, generator=torch.Generator().manual_seed(seed))
    return [float(values.sum()), float(values.square().mean()), float(torch.get_num_threads())]


def summer():
    return summed


class Pids:
    """Leaves its process id, and does not end with an item above 1."""

    def __init__(self, folder: Path) -> None:
        (folder / str(os.getpid())).touch()

    def __call__(self, item: int) -> int:
        if item > 1:
            wait_until(lambda: False)
        return item
