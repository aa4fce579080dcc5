"""ONNX graphs in onnxruntime."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["onnx_runtime", "open_graph"]


def onnx_runtime() -> Any:
    """The module onnxruntime, which reports to nobody.

    New versions would send what graphs run on which machine to Microsoft, and keep a number of the machine
    in the cache of the user, unless this is set before its first import.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_graph(data: bytes) -> Any:
    """Open a graph on one thread of the CPU, so that equal inputs give equal bytes.

    Args:
        data: the ONNX file. A graph is a program: only open one that may run.

    Returns:
        An `onnxruntime.InferenceSession`, which raises private exceptions of the library.
    """
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
