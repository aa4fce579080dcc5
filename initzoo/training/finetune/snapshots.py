"""The run folder of a fine-tune: the snapshot to resume from, and the best weights so far."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from initzoo.errors import FinetuneError
from initzoo.files import write_bytes

__all__ = ["Progress", "RunFolder", "digest_of"]


@dataclass
class Progress:
    """The progress of a fine-tune.

    Args:
        n_done: number of steps done.
        loss: mean absolute error, smoothed over about fifty steps; NaN before the first step.
        history: step, PSNR (dB) and SSIM of each validation.
        best_step: step of the best weights so far.
        best_weights: the best weights so far.
        seconds: training time without interruptions.
        n_natural: number of natural-gradient steps before the first step.
    """

    n_done: int = 0
    loss: float = float("nan")
    history: list[tuple[int, float, float]] = field(default_factory=list)
    best_step: int = 0
    best_weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    seconds: float = 0.0
    n_natural: int = 0


class RunFolder:
    """The folder with the unfinished work of a fine-tune.

    Args:
        path: path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def best(self) -> Path:
        """The best weights so far, as an init."""
        return self.path / "best.safetensors"

    @property
    def snapshot(self) -> Path:
        """The state to resume from."""
        return self.path / "snapshot.safetensors"

    @property
    def curve(self) -> Path:
        """Loss, PSNR and learning rate by step."""
        return self.path / "curve.csv"

    def save(self, progress: Progress, state: Mapping[str, Tensor]) -> None:
        """Write a snapshot atomically: if the disk is full, the previous one stays.

        Raises:
            OutputError: the snapshot cannot be written.
        """
        tensors = dict(state)
        tensors |= {
            f"best.{name}": torch.from_numpy(np.ascontiguousarray(value))
            for name, value in progress.best_weights.items()
        }
        notes = {
            "n_done": progress.n_done,
            "loss": progress.loss,
            "history": progress.history,
            "best_step": progress.best_step,
            "seconds": progress.seconds,
            "n_natural": progress.n_natural,
        }
        write_bytes(self.snapshot, save(tensors, {"progress": json.dumps(notes)}), force=True)

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """The last snapshot, or None.

        Raises:
            FinetuneError: the snapshot is damaged.
        """
        if not self.snapshot.exists():
            return None
        try:
            with safe_open(self.snapshot, framework="pt") as file:
                notes = json.loads((file.metadata() or {})["progress"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            best = {
                name.removeprefix("best."): tensors.pop(name).numpy()
                for name in list(tensors)
                if name.startswith("best.")
            }
            notes["history"] = [tuple(row) for row in notes["history"]]
            return Progress(**notes, best_weights=best), tensors
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise FinetuneError(
                f"the snapshot {self.snapshot} is damaged. Delete it to start again"
            ) from error

    def remove(self) -> None:
        """Delete the folder, after the result is written."""
        shutil.rmtree(self.path, ignore_errors=True)


def digest_of(values: Mapping[str, NDArray[np.float32]]) -> str:
    """The SHA-256 of weights, 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(values):
        digest.update(name.encode() + values[name].tobytes())
    return digest.hexdigest()
