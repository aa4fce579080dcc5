"""The files of a network's folder, without torch."""

from __future__ import annotations

from pathlib import Path

from initzoo.files import is_file

__all__ = ["CONFIG_FILE", "GRAPH_FILE", "WEIGHTS_FILE", "is_network_folder"]

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
GRAPH_FILE = "network.onnx"
"""The structure of the network as a graph, beside a base; see `GraphNetwork`."""


def is_network_folder(path: Path) -> bool:
    """Whether a folder has the files that `save_pretrained` writes."""
    return is_file(path / CONFIG_FILE) and is_file(path / WEIGHTS_FILE)
