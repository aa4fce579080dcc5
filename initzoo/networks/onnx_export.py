"""Export of torch modules as ONNX graphs."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from initzoo.errors import MissingExtra

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["to_onnx"]

_LEAST_EXPORTER = (0, 7, 1)
"""Before this version of onnxscript, `pixel_unshuffle` changes the order of channels (its issue 2891)."""


def to_onnx(
    module: Any,
    inputs: Sequence[torch.Tensor],
    *,
    input_names: Sequence[str],
    output_name: str,
    dynamic_shapes: Any = None,
    opset: int | None = None,
) -> ModelProto:
    """Export a module, or a program of `torch.export`, without the exporter's messages.

    Args:
        module: the module or program.
        inputs: example inputs of a module; empty for a program.
        input_names: names of the graph's inputs.
        output_name: name of its output.
        dynamic_shapes: free sides of the inputs, as `torch.export` takes them; all fixed by default.
        opset: version of ONNX's operators; that of torch by default.

    Returns:
        The graph, without notes of where operators came from, which have paths of this machine.

    Raises:
        MissingExtra: onnxscript is so old that graphs would make other pictures.
        RuntimeError: torch cannot export it.
    """
    version = metadata.version("onnxscript")
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < _LEAST_EXPORTER:
        raise MissingExtra(
            f"onnxscript {version} exports networks with channels in a wrong order, 0.7.1 does not. "
            'Update it with: pip install "initzoo[onnx]"'
        )
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, on its own future
            exported = torch.onnx.export(
                module,
                tuple(inputs),
                input_names=list(input_names),
                output_names=[output_name],
                dynamic_shapes=dynamic_shapes,
                dynamo=True,
                opset_version=opset,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert exported is not None
    model: ModelProto = exported.model_proto
    graph = model.graph
    for part in (
        *graph.node,
        *graph.initializer,
        *graph.value_info,
        *graph.input,
        *graph.output,
        graph,
        model,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    return model
