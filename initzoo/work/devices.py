"""The machine: its devices, threads and description."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from initzoo.errors import DeviceUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["DEVICES", "choose_device", "describe_machine", "one_thread", "repeatable"]

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Names of devices; `auto` is the first available one of cuda, mps and cpu."""


def choose_device(name: str) -> torch.device:
    """Choose a device by name.

    Args:
        name: one of `DEVICES`.

    Raises:
        DeviceUnavailable: the machine has no such device, or torch was built without it.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    import torch

    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        name = available[0]
    if name not in available:
        raise DeviceUnavailable(
            f"no device {name[:40]!r}: this machine, with torch {torch.__version__}, has "
            f"{', '.join(available)}. Take another one, or --device auto"
        )
    return torch.device(name)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread within the block.

    Several threads add numbers in a different order, which changes the last bits of sums. They are also
    slower than one on the small convolutions of these networks.

    Example:
        >>> import torch
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Make results repeatable within the block: one thread on a CPU, deterministic methods on a GPU.

    The state of torch's random generators is restored afterwards.
    """
    import torch

    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    with (
        torch.random.fork_rng(devices=[0] if device.type == "cuda" else []),
        one_thread() if device.type == "cpu" else nullcontext(),
    ):
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = before


def describe_machine(device: torch.device | None = None) -> dict[str, str]:
    """Describe the processor and the versions of Python and torch.

    Args:
        device: the device; its name is included if it is a GPU.
    """
    import torch

    machine = {
        "processor": _processor_name(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device is not None and device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def _processor_name() -> str:
    """The name of the processor on Linux; its architecture if the name is unknown."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text("utf-8", errors="replace").splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
