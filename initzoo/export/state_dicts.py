"""State dicts: the weights by name, and nothing else to understand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from initzoo.checkpoints import Init
from initzoo.files import to_plain, write_bytes

__all__ = ["export_pth", "export_safetensors"]


def export_safetensors(init: Init, path: Path, *, force: bool = False) -> None:
    """A safetensors file with the network's state dict, float32; its metadata names the network.

    Raises:
        OutputError: it cannot be written.
    """
    note = json.dumps(to_plain(init.metadata.recipe.network), sort_keys=True)
    # Not by ascontiguousarray, which makes vectors of numbers, such as counts of batches.
    weights = {name: np.asarray(value, order="C") for name, value in init.weights.items()}
    write_bytes(path, save(weights, metadata={"network": note}), force=force)


def export_pth(init: Init, path: Path, *, force: bool = False) -> None:
    """A file that `torch.load(path, weights_only=True)` reads as a state dict. Loads torch.

    Raises:
        OutputError: it cannot be written.
    """
    import torch

    # Through the network, for the order and dtypes of its state dict: counts of batches are integers.
    buffer = io.BytesIO()
    torch.save(dict(init.to_network().state_dict()), buffer)
    write_bytes(path, buffer.getvalue(), force=force)
