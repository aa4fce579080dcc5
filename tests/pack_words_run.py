"""Packs the word vectors of a sentence encoder into four bits: `python tests/pack_words_run.py IN OUT`.

Half of the bytes of MiniLM as int8 are vectors of its 30,522 words and pieces. Here each is cut into twelve
groups of 32 values, which share a scale, and a value becomes one of sixteen steps around zero. Two values
share a byte, and the graph unpacks those of the words that it is given, by operators of any onnxruntime.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

VECTORS = "m.embeddings.word_embeddings.weight"
EMBEDDED = "embedding"
"""The tensor that the graph goes on with: the vectors of the words."""

N_GROUPS = 12
MIDDLE = 7.5
"""Between the eighth and the ninth of sixteen steps."""


def pack(vectors: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Pack vectors: the first half of a vector's values in the upper four bits, the second in the lower.

    Args:
        vectors: shape `(n_words, n_values)`.

    Returns:
        Bytes, shape `(n_words, n_values / 2)`, and scales, shape `(n_words, N_GROUPS)`.
    """
    n_words, n_values = vectors.shape
    groups = vectors.reshape(n_words, N_GROUPS, -1)
    largest = np.abs(groups).max(-1, keepdims=True)
    scales, least = np.zeros_like(largest), np.full_like(largest, np.inf)
    # A scale below that of the largest value clips it, and is closer to all others.
    for share in np.linspace(0.6, 1.0, 17):
        tried = np.maximum(largest * share / MIDDLE, 1e-8).astype(np.float16).astype(np.float32)
        error = ((_steps(groups, tried) - MIDDLE) * tried - groups) ** 2
        is_better = error.sum(-1, keepdims=True) < least
        scales, least = (
            np.where(is_better, tried, scales),
            np.where(is_better, error.sum(-1, keepdims=True), least),
        )
    units = _steps(groups, scales).astype(np.uint8).reshape(n_words, n_values)
    half = n_values // 2
    return units[:, :half] * 16 + units[:, half:], scales[..., 0].astype(np.float16)


def _steps(groups: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    steps: NDArray[np.float32] = np.clip(np.rint(groups / scales + MIDDLE), 0, 15)
    return steps


def unpacking(n_values: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The operators from `ids` to the vectors of words, and their constants."""

    def node(kind: str, inputs: str, output: str, **attributes: int) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), [output], **attributes)

    nodes = [
        node("Gather", "words.packed ids", "packed_bytes"),
        node("Cast", "packed_bytes", "packed", to=TensorProto.FLOAT),
        node("Mul", "packed sixteenth", "upper_and_rest"),
        node("Cast", "upper_and_rest", "upper_whole", to=TensorProto.INT32),  # cuts off the rest
        node("Cast", "upper_whole", "upper", to=TensorProto.FLOAT),
        node("Mul", "upper sixteen", "upper_times_16"),
        node("Sub", "packed upper_times_16", "lower"),
        node("Concat", "upper lower", "steps", axis=2),
        node("Sub", "steps middle", "centred"),
        node("Reshape", "centred grouped", "in_groups"),
        node("Gather", "words.scale ids", "scale_16"),
        node("Cast", "scale_16", "scale", to=TensorProto.FLOAT),
        node("Reshape", "scale one_each", "scale_of_groups"),
        node("Mul", "in_groups scale_of_groups", "scaled"),
        node("Reshape", "scaled flat", EMBEDDED),
    ]
    constants = {
        "sixteenth": np.float32(1 / 16),
        "sixteen": np.float32(16),
        "middle": np.float32(MIDDLE),
        "grouped": np.array([0, 0, N_GROUPS, n_values // N_GROUPS], np.int64),
        "one_each": np.array([0, 0, N_GROUPS, 1], np.int64),
        "flat": np.array([0, 0, n_values], np.int64),
    }
    return nodes, [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]


def pack_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with packed word vectors, which must be int8 with one scale for all."""
    graph = model.graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    zero = stored[f"{VECTORS}_zero_point"].astype(np.float32)
    vectors = (stored[f"{VECTORS}_quantized"].astype(np.float32) - zero) * stored[f"{VECTORS}_scale"]
    packed, scales = pack(vectors)
    nodes, constants = unpacking(vectors.shape[1])
    kept = [one for one in graph.initializer if not one.name.startswith(VECTORS)]
    kept += [numpy_helper.from_array(packed, "words.packed"), numpy_helper.from_array(scales, "words.scale")]
    listed: list[onnx.NodeProto] = []
    for one in graph.node:
        if one.output[0] == EMBEDDED:
            listed += nodes
        elif one.output[0] != f"{EMBEDDED}_quantized":
            listed.append(one)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *constants])
    graph.node.extend(listed)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Pack the graph of the first file into the second."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    onnx.save(pack_graph(onnx.load(sys.argv[1])), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
