"""The machine: what there is to compute on, and what a figure was measured on."""

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
    """The device of that name.

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
    """Let torch compute with one thread, and afterwards with as many as before.

    Several threads add numbers in another order, which changes the last bits of sums. On the small
    convolutions of our networks they are slower than one, too.

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
    """Compute so that the same work gives the same bytes: one thread on a CPU, fixed methods on a GPU.

    The state of torch's random numbers is as it was before, afterwards.
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
    """Processor and versions, as far as they are known.

    Args:
        device: its name is included if it is a GPU.
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
    """The processor's name on Linux; its kind elsewhere, or where Linux gives no name."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text("utf-8", errors="replace").splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
