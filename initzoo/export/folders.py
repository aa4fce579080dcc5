"""Exports that are folders: a file for another runtime, and a README that loads it in three lines."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from initzoo.checkpoints import Init
from initzoo.errors import InvalidInit, MissingExtra
from initzoo.export.graphs import LEAST_SIDE, graph_of, program_of, sum_by_rows
from initzoo.export.precision import PRECISIONS, PrecisionLoss, measure_loss, reduce_precision
from initzoo.files import replace_folder, write_bytes
from initzoo.pairs import Teacher
from initzoo.zoo import inert

__all__ = ["export_onnx", "export_program", "folder_readme"]

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
    "and width are free, sides from {least} pixels on; borders are mirrored inside. Looks are made for "
    "photos with a shorter side of 256 to {largest} pixels: {larger}\n"
)
_AT_LOOK_SIZE = (
    "larger ones are edited at {side} pixels inside, and the edit is carried up to their own size, as "
    "`initzoo apply` does. With `--full-size`, `initzoo export` makes a graph that edits all pixels."
)
_AT_FULL_SIZE = (
    "shrink the shorter side of larger ones to {side} pixels first, the size at which `initzoo apply` edits "
    "them."
)
_ONNX_CODE = """import onnxruntime

edited = onnxruntime.InferenceSession("model.onnx").run(None, {"images": images})[0]"""
_PROGRAM_CODE = """import torch

edited = torch.export.load("model.pt2").module()(images)"""


def folder_readme(init: Init, summary: str, code: str, notes: str = "") -> bytes:
    """The README of an export."""
    metadata = init.metadata
    return _README.format(
        title=inert(metadata.wording or metadata.concept),
        summary=summary,
        code=code,
        notes=notes,
        licence=inert(metadata.licence) or "none claimed",
        source=inert(metadata.source) or "not stated",
    ).encode()


def _images_note(*, full_size: bool) -> str:
    from initzoo.networks import LARGEST_LOOK_SIDE, LOOK_SIDE

    larger = (_AT_FULL_SIZE if full_size else _AT_LOOK_SIZE).format(side=LOOK_SIDE)
    return _IMAGES.format(least=LEAST_SIDE, largest=LARGEST_LOOK_SIDE, larger=larger)


def export_program(init: Init, path: Path, *, force: bool = False) -> None:
    """A folder with `model.pt2`, which `torch.export.load` reads without initzoo. Loads torch.

    Raises:
        InvalidInit: torch cannot export the network.
        OutputError: it cannot be written.
    """
    import torch

    network = init.to_network().eval()
    data = io.BytesIO()
    torch.export.save(program_of(network), data)
    with replace_folder(path, force=force) as folder:
        write_bytes(folder / "model.pt2", data.getvalue(), force=False)
        summary = f"`{network.kind}` as a program of `torch.export`."
        readme = folder_readme(init, summary, _PROGRAM_CODE, _images_note(full_size=True))
        write_bytes(folder / "README.md", readme, force=False)


def export_onnx(
    init: Init,
    path: Path,
    *,
    force: bool = False,
    precision: str = "float32",
    full_size: bool = False,
    teacher: Teacher | None = None,
    callback: Callable[[PrecisionLoss], None] | None = None,
) -> None:
    """A folder with `model.onnx`, which onnxruntime runs. Loads torch.

    Args:
        init: a merged init.
        path: the folder to write.
        force: replace an existing folder.
        precision: one of `PRECISIONS`; the loss of a reduced one is measured, and is in the README.
        full_size: edit large photos at their own size, and not at the look's.
        teacher: the teacher of the look, for the loss.
        callback: called with the loss of a reduced precision.

    Raises:
        MissingExtra: onnx or onnxscript is not installed, or too old.
        InvalidInit: torch cannot export the network, or the graph is larger than one ONNX file holds.
        OutputError: it cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401

        from initzoo.export.look_sizes import edit_at_look_size
    except ImportError as error:
        raise MissingExtra(
            'the format onnx needs onnx and onnxscript. Install them with: pip install "initzoo[onnx]"'
        ) from error
    network = init.to_network().eval()
    n_bytes = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    if n_bytes > 2**31 - 2**20:
        raise InvalidInit(f"an ONNX file holds 2 GB at most, the network has {n_bytes} bytes. Take program")
    graph = graph_of(network)
    if precision != "float16":  # of which sums are kept in float32 inside of operators alone
        graph = sum_by_rows(graph)
    n_bytes = graph.ByteSize()
    graph = reduce_precision(graph, precision)
    n_bytes -= graph.ByteSize()
    if not full_size:  # last, as the guided filter needs float32
        graph = edit_at_look_size(graph)
    data, notes = graph.SerializeToString(), _images_note(full_size=full_size)
    if precision != "float32":
        n_bytes += len(data)
        loss = measure_loss(network, data, precision=precision, n_bytes_float32=n_bytes, teacher=teacher)
        notes += f"\n{PRECISIONS[precision]} Measured: {loss}.\n"
        if callback is not None:
            callback(loss)
    with replace_folder(path, force=force) as folder:
        write_bytes(folder / "model.onnx", data, force=False)
        readme = folder_readme(init, f"`{network.kind}` as an ONNX graph.", _ONNX_CODE, notes)
        write_bytes(folder / "README.md", readme, force=False)
