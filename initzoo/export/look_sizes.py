"""ONNX graphs that edit large photos at the look's size and carry the edit up, as `initzoo apply` does.

onnxscript reads the functions here and makes ONNX operators of them, inlined, so that all runtimes know them.
`shrink_to_side` and `upsample_edit` compute the same with OpenCV and NumPy, and say why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx import TensorProto, compose, inliner
from onnxscript import BOOL, FLOAT, INT64, opset20, script

from initzoo.networks import FLAT_CONTRAST, GUIDE_WINDOW, LARGEST_LOOK_SIDE, LOOK_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx import ModelProto, NodeProto
    from onnxscript import OnnxFunction

__all__ = ["edit_at_look_size"]

op: Any = opset20  # its types know nothing of lists and numbers, of which onnxscript makes constants
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64
_SIDE = float(LOOK_SIDE)
_FLAT = (FLAT_CONTRAST / 127.5) ** 2  # in values from -1 to 1
_FLATS = [_FLAT, 0.0, 0.0, _FLAT, 0.0, _FLAT]
"""What is added to covariances: red with red, with green, with blue, green with green, ..."""
_KERNEL = [GUIDE_WINDOW, GUIDE_WINDOW]

_INSIDE = {"images": "small", "edited": "small_edited"}
"""Names of a network's input and output inside of the larger graph."""


@script()
def _is_large(images: FLOAT) -> BOOL:
    return op.ReduceMin(op.Shape(images, start=2), keepdims=0) > LARGEST_LOOK_SIDE


@script()
def _shares(n: INT64, n_small: INT64) -> FLOAT:
    """Shares of the pixels of a side in those of the small photo, each of which covers several of them."""
    # In whole numbers, of a unit that both sides are multiples of: in float32, places would be rounded.
    start = op.Range(0, n, 1) * n_small
    start_small = op.Unsqueeze(op.Range(0, n_small, 1), [1]) * n
    overlap = op.Min(start + n_small, start_small + n) - op.Max(start, start_small)
    return op.Cast(op.Max(overlap, 0), to=_FLOAT) / op.Cast(n, to=_FLOAT)


@script()
def _rounded(images: FLOAT) -> FLOAT:
    """Values of whole grey levels."""
    # OpenCV rounds halves up where it halves a photo, and one in four pixels is one. What is added beyond a
    # half is for errors of float32.
    return op.Floor(op.Add(images, 1.0) * 127.5 + 0.5001) / 127.5 - 1.0


@script()
def _shrink(images: FLOAT) -> FLOAT:
    """A large photo with the look's size as its shorter side, any other as it is."""
    if _is_large(images):
        sides = op.Shape(images, start=2)
        floats = op.Cast(sides, to=_FLOAT)
        small_sides = op.Cast(op.Round(floats * _SIDE / op.ReduceMin(floats)), to=_INT)
        down = _shares(op.Gather(sides, 0), op.Gather(small_sides, 0))
        right = _shares(op.Gather(sides, 1), op.Gather(small_sides, 1))
        small = _rounded(op.MatMul(op.MatMul(down, images), op.Transpose(right, perm=[1, 0])))
    else:
        small = op.Identity(images)
    return small


@script()
def _mirrored(n: INT64) -> INT64:
    """Places of the pixels of a side with the two that a window of five needs beyond either end."""
    return op.Concat([1, 0], op.Range(0, n, 1), op.Unsqueeze(n, [0]) - [1, 2], axis=0)


@script()
def _mean(fields: FLOAT) -> FLOAT:
    """The mean in the window around each pixel."""
    sides = op.Shape(fields, start=2)
    rows = op.Gather(fields, _mirrored(op.Gather(sides, 0)), axis=2)
    return op.AveragePool(op.Gather(rows, _mirrored(op.Gather(sides, 1)), axis=3), kernel_shape=_KERNEL)


@script()
def _enlarged(field: FLOAT, images: FLOAT) -> FLOAT:
    """A channel of the large edit, from its slopes by channel of the photo and its offset."""
    sides = op.Concat(op.Shape(images, end=1), [4], op.Shape(images, start=2), axis=0)
    slopes, offset = op.Split(op.Resize(field, None, None, sides, mode="linear"), [3, 1], axis=1)
    return op.ReduceSum(slopes * images, [1]) + offset


@script()
def _carry_up(
    images: FLOAT,
    small: FLOAT,
    small_edited: FLOAT,
) -> FLOAT:
    """The edit of the small photo as one of the large photo, with a guided filter."""
    if _is_large(images):
        # Channels 0 to 2 are the photo's, 3 to 5 the edit's. Six products are of two channels of the photo,
        # nine of a channel of the photo and one of the edit.
        both = op.Concat(small, _rounded(small_edited), axis=1)
        first = op.Constant(value_ints=[0, 0, 0, 1, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
        second = op.Constant(value_ints=[0, 1, 2, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5])
        products = op.Gather(both, first, axis=1) * op.Gather(both, second, axis=1)
        means, product_means = op.Split(_mean(op.Concat(both, products, axis=1)), [6, 15], axis=1)
        covariances, shared = op.Split(
            product_means - op.Gather(means, first, axis=1) * op.Gather(means, second, axis=1), [6, 9], axis=1
        )
        flat = op.Reshape(op.Constant(value_floats=_FLATS), [1, 6, 1, 1])
        spread = covariances + flat  # xx, xy, xz, yy, yz, zz

        # The inverse is the adjugate, a symmetric matrix of six cofactors, divided by the determinant.
        cofactors = op.Gather(spread, [3, 2, 1, 0, 1, 0], axis=1) * op.Gather(
            spread, [5, 4, 4, 5, 2, 3], axis=1
        ) - op.Gather(spread, [4, 1, 2, 2, 0, 1], axis=1) * op.Gather(spread, [4, 5, 3, 2, 4, 1], axis=1)
        determinant = op.ReduceSum(
            op.Gather(spread, [0, 1, 2], axis=1) * op.Gather(cofactors, [0, 1, 2], axis=1), [1]
        )
        slopes = (
            op.Gather(cofactors, [0, 1, 2, 0, 1, 2, 0, 1, 2], axis=1)
            * op.Gather(shared, [0, 0, 0, 3, 3, 3, 6, 6, 6], axis=1)
            + op.Gather(cofactors, [1, 3, 4, 1, 3, 4, 1, 3, 4], axis=1)
            * op.Gather(shared, [1, 1, 1, 4, 4, 4, 7, 7, 7], axis=1)
            + op.Gather(cofactors, [2, 4, 5, 2, 4, 5, 2, 4, 5], axis=1)
            * op.Gather(shared, [2, 2, 2, 5, 5, 5, 8, 8, 8], axis=1)
        ) / determinant
        explained = slopes * op.Gather(means, [0, 1, 2, 0, 1, 2, 0, 1, 2], axis=1)
        offsets = op.Gather(means, [3, 4, 5], axis=1) - (
            op.Gather(explained, [0, 3, 6], axis=1)
            + op.Gather(explained, [1, 4, 7], axis=1)
            + op.Gather(explained, [2, 5, 8], axis=1)
        )
        # Every pixel lies in many windows: their answers are averaged.
        fields = _mean(op.Concat(slopes, offsets, axis=1))
        red = _enlarged(op.Gather(fields, [0, 1, 2, 9], axis=1), images)
        green = _enlarged(op.Gather(fields, [3, 4, 5, 10], axis=1), images)
        blue = _enlarged(op.Gather(fields, [6, 7, 8, 11], axis=1), images)
        carried = op.Clip(op.Concat(red, green, blue, axis=1), -1.0, 1.0)
    else:
        carried = op.Identity(small_edited)
    return carried


def edit_at_look_size(graph: ModelProto) -> ModelProto:
    """Return a graph that edits photos larger than looks are made for at the look's size.

    Args:
        graph: the graph of a network, from `images` to `edited`, with operators of version 20; it is changed.
    """
    body = graph.graph
    network = list(body.node)
    for node in network:
        node.input[:] = [_INSIDE.get(name, name) for name in node.input]
        node.output[:] = [_INSIDE.get(name, name) for name in node.output]
    del body.node[:], body.value_info[:]  # of values whose shapes had the names of the large photo's
    body.node.extend([*_nodes_of(_shrink, "small"), *network, *_nodes_of(_carry_up, "edited")])
    for value in (body.input[0], body.output[0]):
        for dim, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True):
            if name:
                dim.dim_param = name
    return graph


def _nodes_of(function: OnnxFunction, output: str) -> Iterable[NodeProto]:
    """The operators of a function; inputs are named as its arguments, other values like nothing else."""
    model = inliner.inline_local_functions(function.to_model_proto())
    named = compose.add_prefix(model, f"{output}.", rename_inputs=False)
    named.graph.node[-1].output[0] = output
    return named.graph.node
