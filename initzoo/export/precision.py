"""Reduced precision of ONNX graphs, and the loss that it costs, measured on photos."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import TeacherError
from initzoo.pairs import (
    TEACHING_SIDE,
    Score,
    Teacher,
    fit_short_side,
    load_photos,
    score_images,
    scoring_pairs,
)
from initzoo.work import onnx_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import ModelProto

    from initzoo.networks import ImageNetwork

__all__ = ["PRECISIONS", "PrecisionLoss", "measure_loss", "reduce_precision"]

Pixels = NDArray[np.uint8]

PRECISIONS = {
    "float32": "",
    "float16": "Weights and arithmetic are float16, images stay float32.",
    "int8": "Weights are int8 with a scale for each output channel, arithmetic and images are float32.",
}
"""Precisions of ONNX graphs, with a description of the reduced ones."""

_BEST_PSNR = 60.0
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}
"""Operators whose second input is a weight, with the axis of its output channels."""


@dataclass(frozen=True)
class PrecisionLoss:
    """The cost of a reduced precision, each PSNR a mean over the photos.

    Args:
        precision: one of `PRECISIONS`.
        n_bytes: size of the graph.
        n_bytes_float32: size of the graph in float32.
        n_photos: number of photos, those of split `score`.
        psnr_to_float32: PSNR of the edited photos against those of the float32 network, dB, at most 60.
        psnr: PSNR against the teacher, dB; None without a teacher.
        psnr_float32: the same for the float32 network.
    """

    precision: str
    n_bytes: int
    n_bytes_float32: int
    n_photos: int
    psnr_to_float32: float
    psnr: float | None = None
    psnr_float32: float | None = None

    @property
    def loss(self) -> float | None:
        """Loss of PSNR against the teacher, dB; None without a teacher."""
        return None if self.psnr is None or self.psnr_float32 is None else self.psnr_float32 - self.psnr

    def __str__(self) -> str:
        """One line for people.

        Example:
            >>> str(PrecisionLoss("int8", 130_000, 440_000, 26, 54.93, psnr=32.2, psnr_float32=32.21))
            'int8: 0.13 MB instead of 0.44; loss 0.01 dB (32.21 to 32.20 dB against the teacher); ...
            >>> str(PrecisionLoss("float16", 270_000, 440_000, 26, 60.0))
            'float16: 0.27 MB instead of 0.44; 60 dB or more against float32; 26 score photos'
        """
        parts = [f"{self.precision}: {self.n_bytes / 1e6:.2f} MB instead of {self.n_bytes_float32 / 1e6:.2f}"]
        if self.loss is not None:
            parts.append(
                # without a minus where the difference rounds to zero
                f"loss {round(self.loss, 2) + 0.0:.2f} dB ({self.psnr_float32:.2f} to {self.psnr:.2f} dB "
                "against the teacher)"
            )
        is_best = self.psnr_to_float32 >= _BEST_PSNR
        parts.append(
            "60 dB or more against float32" if is_best else f"{self.psnr_to_float32:.1f} dB against float32"
        )
        return "; ".join([*parts, f"{self.n_photos} score photos"])


def reduce_precision(graph: ModelProto, precision: str) -> ModelProto:
    """Return a graph with weights of a lower precision, whose inputs and outputs stay float32.

    Int8 is for weights alone. With 8-bit activations the looks of the bundled zoo lose 3 to 7 dB, and are not
    faster: many of their pixels are sums of small changes and the photo.

    Args:
        graph: a float32 graph; it may be changed.
        precision: one of `PRECISIONS`.
    """
    if precision == "float16":
        return _to_float16(graph)
    return _quantize_weights(graph) if precision == "int8" else graph


def measure_loss(
    network: ImageNetwork,
    graph: bytes,
    *,
    precision: str,
    n_bytes_float32: int,
    teacher: Teacher | None = None,
) -> PrecisionLoss:
    """Measure the cost of a reduced precision on the bundled photos of split `score`.

    Args:
        network: the float32 network.
        graph: the ONNX graph, serialized.
        precision: its precision.
        n_bytes_float32: size of the float32 graph.
        teacher: the teacher of the look, if there is one; one whose pairs are not here counts as none.
    """
    photos, targets = _scoring_pairs(teacher)
    full, reduced = [network.edit(photo) for photo in photos], _edit_all(graph, photos)
    scores: list[Score | None] = [None, None]
    if targets is not None:
        scores = [score_images(pictures, targets) for pictures in (reduced, full)]
    return PrecisionLoss(
        precision=precision,
        n_bytes=len(graph),
        n_bytes_float32=n_bytes_float32,
        n_photos=len(photos),
        psnr_to_float32=score_images(reduced, full).psnr,
        psnr=scores[0].psnr if scores[0] else None,
        psnr_float32=scores[1].psnr if scores[1] else None,
    )


def _scoring_pairs(teacher: Teacher | None) -> tuple[list[Pixels], list[Pixels] | None]:
    photos = load_photos(split="score")
    if teacher is not None:
        try:
            return scoring_pairs(teacher, photos)
        except TeacherError:  # a zoo names its teachers, and does not hold all of them
            pass
    return [fit_short_side(photo.pixels, TEACHING_SIDE) for photo in photos], None


def _edit_all(graph: bytes, photos: Sequence[Pixels]) -> list[Pixels]:
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    edited = []
    for photo in photos:
        images = photo.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        [result] = session.run(None, {"images": images})
        edited.append(((result[0].transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8))
    return edited


def _to_float16(graph: ModelProto) -> ModelProto:
    with _quiet(), _same_search_path():
        from onnxruntime.transformers.float16 import convert_float_to_float16

        return convert_float_to_float16(graph, keep_io_types=True)


def _quantize_weights(graph: ModelProto) -> ModelProto:
    from onnx import helper, numpy_helper

    nodes = list(graph.graph.node)
    weights: dict[str, Any] = {value.name: value for value in graph.graph.initializer}
    axes = {
        node.input[1]: _OUTPUT_AXIS[node.op_type]
        for node in nodes
        if node.op_type in _OUTPUT_AXIS and node.input[1] in weights
    }
    if axes:
        axes.popitem()  # the last layer has few weights, and its error is that of the pixels
    dequantized = []
    for name, axis in axes.items():
        array = numpy_helper.to_array(weights[name])
        axis %= array.ndim
        largest = np.abs(array).max(tuple(i for i in range(array.ndim) if i != axis), keepdims=True)
        scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
        values = np.rint(array / scale).astype(np.int8)
        weights[name].CopyFrom(numpy_helper.from_array(values, f"{name}.int8"))
        graph.graph.initializer.append(numpy_helper.from_array(scale.ravel(), f"{name}.scale"))
        dequantized.append(
            helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=axis)
        )
    del graph.graph.node[:]
    graph.graph.node.extend([*dequantized, *nodes])
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings about values that round to zero: the loss is measured."""
    logger = logging.getLogger("onnxruntime.transformers.float16")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _same_search_path() -> Iterator[None]:
    """Take back what onnxruntime.transformers adds to the search path: modules such as `profiler`."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
