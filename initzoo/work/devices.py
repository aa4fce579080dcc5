"""The machine: what there is to compute on, and what a figure was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from initzoo.errors import DeviceUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["DEVICES", "choose_device", "describe_machine", "repeatable"]

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Devices by name; `auto` is the first of cuda, mps and cpu that is there."""


def choose_device(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: one of `DEVICES`.

    Raises:
        DeviceUnavailable: there is no such device, or torch was built without it.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, is_there in there.items() if is_there)
    if not there.get(name):
        found = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise DeviceUnavailable(
            f"no device {name[:40]!r}: this machine, with torch {torch.__version__}, has {found}. "
            "Take another one, or --device auto"
        )
    return torch.device(name)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Compute so that the same work gives the same bytes: one thread on a CPU, fixed methods on a GPU.

    The state of torch's random numbers is as it was before, afterwards.
    """
    import torch

    n_threads = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        try:
            if device.type == "cpu":  # and on small convolutions one thread is the fastest
                torch.set_num_threads(1)
            cudnn.deterministic, cudnn.benchmark = True, False
            yield
        finally:
            torch.set_num_threads(n_threads)
            cudnn.deterministic, cudnn.benchmark = before


def describe_machine(device: torch.device | None = None) -> dict[str, str]:
    """Processor and versions, as far as they are known; the GPU too if `device` is one."""
    import torch

    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    described = {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device is not None and device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described
