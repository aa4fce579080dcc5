"""ONNX graphs in onnxruntime."""

from __future__ import annotations

from typing import Any

__all__ = ["open_graph"]


def open_graph(data: bytes) -> Any:
    """Open a graph on one thread of the CPU, so that equal inputs give equal bytes.

    Args:
        data: the ONNX file. A graph is a program: only open one that may run.

    Returns:
        An `onnxruntime.InferenceSession`, which raises private exceptions of the library.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
