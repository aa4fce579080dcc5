"""Exports that are folders: a file for another runtime, and a README that loads it in three lines."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from initzoo.checkpoints import Init
from initzoo.errors import InvalidInit, MissingExtra
from initzoo.export.precision import PRECISIONS, PrecisionLoss, measure_loss, reduce_precision
from initzoo.files import replace_folder, write_bytes
from initzoo.pairs import Teacher

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn
    from torch.export import ExportedProgram

    from initzoo.networks import ImageNetwork

__all__ = ["export_onnx", "export_program", "folder_readme"]

_LEAST_SIDE = 8
_README = """# {title}

{summary}

```python
{code}
```

{notes}
Licence of the weights: {licence}. Source: {source}.
"""
_IMAGES = (
    "`images` is float32 of shape `(n, 3, height, width)`, RGB from -1 to 1; so is the result. Batch, height "
    "and width are free, sides from {least} pixels on; borders are mirrored inside.\n"
)
_ONNX_CODE = """import onnxruntime

edited = onnxruntime.InferenceSession("model.onnx").run(None, {"images": images})[0]"""
_PROGRAM_CODE = """import torch

edited = torch.export.load("model.pt2").module()(images)"""


def folder_readme(init: Init, summary: str, code: str, notes: str = "") -> bytes:
    """The README of an export."""
    metadata = init.metadata
    return _README.format(
        title=metadata.wording or metadata.concept,
        summary=summary,
        code=code,
        notes=notes,
        licence=metadata.licence or "none claimed",
        source=metadata.source or "not stated",
    ).encode()


def export_program(init: Init, path: Path, *, force: bool = False) -> None:
    """A folder with `model.pt2`, which `torch.export.load` reads without initzoo. Loads torch.

    Raises:
        OutputError: it cannot be written.
    """
    import torch

    network = init.to_network().eval()
    data = io.BytesIO()
    torch.export.save(_export(network), data)
    with replace_folder(path, force=force) as folder:
        write_bytes(folder / "model.pt2", data.getvalue(), force=False)
        summary = f"`{network.kind}` as a program of `torch.export`."
        readme = folder_readme(init, summary, _PROGRAM_CODE, _IMAGES.format(least=_LEAST_SIDE))
        write_bytes(folder / "README.md", readme, force=False)


def export_onnx(
    init: Init,
    path: Path,
    *,
    force: bool = False,
    precision: str = "float32",
    teacher: Teacher | None = None,
    callback: Callable[[PrecisionLoss], None] | None = None,
) -> None:
    """A folder with `model.onnx`, which onnxruntime runs. Loads torch.

    Args:
        init: a merged init.
        path: the folder to write.
        force: replace an existing folder.
        precision: one of `PRECISIONS`; the loss of a reduced one is measured, and is in the README.
        teacher: the teacher of the look, for the loss.
        callback: called with the loss of a reduced precision.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
        InvalidInit: the graph is larger than one ONNX file holds.
        OutputError: it cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            'the format onnx needs onnx and onnxscript. Install them with: pip install "initzoo[onnx]"'
        ) from error
    network = init.to_network().eval()
    n_bytes = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    if n_bytes > 2**31 - 2**20:
        raise InvalidInit(f"an ONNX file holds 2 GB at most, the network has {n_bytes} bytes. Take program")
    graph = _graph_of(network)
    data, notes = graph.SerializeToString(), _IMAGES.format(least=_LEAST_SIDE)
    if precision != "float32":
        n_bytes = len(data)
        data = reduce_precision(graph, precision).SerializeToString()
        loss = measure_loss(network, data, precision=precision, n_bytes_float32=n_bytes, teacher=teacher)
        notes += f"\n{PRECISIONS[precision]} Measured: {loss}.\n"
        if callback is not None:
            callback(loss)
    with replace_folder(path, force=force) as folder:
        write_bytes(folder / "model.onnx", data, force=False)
        readme = folder_readme(init, f"`{network.kind}` as an ONNX graph.", _ONNX_CODE, notes)
        write_bytes(folder / "README.md", readme, force=False)


def _graph_of(network: ImageNetwork) -> ModelProto:
    import torch

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, on its own future
            graph = torch.onnx.export(
                _export(network),
                (),
                input_names=["images"],
                output_names=["edited"],
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert graph is not None
    model = graph.model_proto
    parts = model.graph
    # Where each operator came from, with paths of this machine: no runtime reads it.
    for part in (
        *parts.node,
        *parts.initializer,
        *parts.value_info,
        *parts.input,
        *parts.output,
        parts,
        model,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def _export(network: ImageNetwork) -> ExportedProgram:
    """The network for any batch, height and width, with the mirrored borders that `edit` adds."""
    import torch

    # Not a multiple, not square, and a batch of two: nothing of the example is then taken as fixed.
    example = torch.zeros(2, 3, 37, 50)
    batch = torch.export.Dim("batch", min=1, max=2**16)
    height, width = (torch.export.Dim(name, min=_LEAST_SIDE, max=2**15) for name in ("height", "width"))
    bordered = _bordered(network)
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
