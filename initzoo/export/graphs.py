"""Networks as programs of `torch.export` and as ONNX graphs, which edit images of any size as `edit` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import numpy as np

from initzoo.errors import InvalidInit

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn
    from torch.export import ExportedProgram

    from initzoo.networks import ImageNetwork

__all__ = ["LEAST_SIDE", "OPSET", "graph_of", "program_of", "sum_by_rows"]

LEAST_SIDE = 8
"""Minimum side of images, pixels."""

OPSET = 20
"""Version of the operators of ONNX."""

_NORMALISATION = (
    ("ReduceMean", ("images", "columns"), "row_means"),
    ("ReduceMean", ("row_means", "rows"), "mean"),
    ("Sub", ("images", "mean"), "centred"),
    ("Mul", ("centred", "centred"), "squares"),
    ("ReduceMean", ("squares", "columns"), "row_variances"),
    ("ReduceMean", ("row_variances", "rows"), "variance"),
    ("Add", ("variance", "epsilon"), "damped"),
    ("Sqrt", ("damped",), "spread"),
    ("Div", ("centred", "spread"), "out"),
)
"""Instance normalisation: operators with their inputs and output."""


def graph_of(network: ImageNetwork) -> ModelProto:
    """The ONNX graph of a network in float32, for any batch, height and width.

    Raises:
        MissingExtra: onnxscript is too old.
        InvalidInit: torch cannot export the network.
    """
    from initzoo.networks import to_onnx

    program = program_of(network)
    with _one_line_errors(network):
        return to_onnx(program, (), input_names=["images"], output_name="edited", opset=OPSET)


def sum_by_rows(graph: ModelProto) -> ModelProto:
    """Return the graph with instance normalisations spelt out, so that their sums are exact.

    Runtimes add all pixels of a channel one by one. In float32, pictures of 512 pixels then differ from those
    of torch by more than 1e-4. Sums of rows, and then of these, differ by less, and take as long.

    Args:
        graph: a float32 graph; it may be changed. Normalisations with a scale of their own stay as they are.
    """
    from onnx import helper, numpy_helper

    nodes = list(graph.graph.node)
    values = {value.name: numpy_helper.to_array(value) for value in graph.graph.initializer}
    del graph.graph.node[:]
    for node in nodes:
        scale, shift = (
            (values.get(name) for name in node.input[1:3])
            if node.op_type == "InstanceNormalization"
            else (None, None)
        )
        if scale is None or shift is None or (scale != 1).any() or shift.any():
            graph.graph.node.append(node)
            continue
        [images], [out] = node.input[:1], node.output
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        constants = {
            "columns": np.array([3]),
            "rows": np.array([2]),
            "epsilon": np.array(epsilon, np.float32),
        }
        graph.graph.initializer.extend(
            numpy_helper.from_array(value, f"{out}.{name}") for name, value in constants.items()
        )

        def name_of(part: str, images: str = images, out: str = out) -> str:
            return {"images": images, "out": out}.get(part, f"{out}.{part}")

        graph.graph.node.extend(
            helper.make_node(operator, [name_of(part) for part in given], [name_of(result)])
            for operator, given, result in _NORMALISATION
        )
    used = {name for node in graph.graph.node for name in node.input}
    unused = [value for value in graph.graph.initializer if value.name not in used]
    for value in unused:  # else onnxruntime warns
        graph.graph.initializer.remove(value)
    return graph


def program_of(network: ImageNetwork) -> ExportedProgram:
    """The network for any batch, height and width, with the mirrored borders that `edit` adds.

    Raises:
        InvalidInit: torch cannot export the network.
    """
    import torch

    # More than one multiple, no whole one, not square, two at once: nothing of the example is then taken as
    # fixed. A side of one multiple is one pixel inside a U-Net, which torch takes as a constant.
    example = torch.zeros(2, 3, network.multiple + 37, 2 * network.multiple + 50)
    batch = torch.export.Dim("batch", min=1, max=2**16)
    height, width = (torch.export.Dim(name, min=LEAST_SIDE, max=2**15) for name in ("height", "width"))
    bordered = _bordered(network)
    with _one_line_errors(network):
        program = torch.export.export(
            bordered,
            (example,),
            dynamic_shapes=({0: batch, 2: height, 3: width},),
            # Else the layout of a tensor whose sides were rounded up would limit the sides of photos.
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    # They assert what was so for the example, e.g. that its sides were rounded up. The operators hold for all
    # sides, and the ranges of the arguments are checked apart from these.
    for node in list(program.graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
        else:
            node.meta.pop("stack_trace", None)  # it has paths of this machine
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


@contextmanager
def _one_line_errors(network: ImageNetwork) -> Iterator[None]:
    """Turn errors of torch's exporters, which are long, into one line."""
    try:
        yield
    except RuntimeError as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise InvalidInit(
            f"torch cannot export the network '{network.kind}' ({reason[:160]}). "
            "Take the format safetensors or pth"
        ) from error


def _bordered(network: ImageNetwork) -> nn.Module:
    """A module that mirrors borders as `edit` does and edits images of any size."""
    import torch
    from torch import Tensor, nn

    class Bordered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            halo, (height, width) = network.halo, images.shape[2:]
            mirrored = images[:, :, _mirror(height, network)][:, :, :, _mirror(width, network)]
            edited = network(mirrored)
            return cast(Tensor, edited[:, :, halo : halo + height, halo : halo + width].clamp(-1, 1))

    def _mirror(side: int, network: ImageNetwork) -> Tensor:
        """Rows of the photo, by those of its mirror images: for sides smaller than the halo, too."""
        n_units = (side + 2 * network.halo + network.multiple - 1) // network.multiple
        period = torch.arange(2 * side - 1)[-1:]  # a tensor: ONNX has no remainder by a number of the graph
        rows = (torch.arange(n_units * network.multiple) - network.halo).abs() % period
        return torch.minimum(rows, period - rows)

    return Bordered().eval()
