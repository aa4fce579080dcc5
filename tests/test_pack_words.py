"""Word vectors in four bits: what the graph unpacks is what was packed, and near what it was."""

import numpy as np
import onnx
import onnxruntime
import pack_words_run
import pytest
from onnx import TensorProto, helper, numpy_helper

from initzoo.pairs import catalog_folder


@pytest.fixture
def model() -> onnx.ModelProto:
    """A graph that gives the vectors of words: forty of 48 values as int8."""
    units = np.random.default_rng(0).normal(128, 20, (40, 48)).clip(0, 255).astype(np.uint8)
    constants = {"quantized": units, "scale": np.float32(0.01), "zero_point": np.uint8(128)}
    names = {name: f"{pack_words_run.VECTORS}_{name}" for name in constants}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", [names["quantized"], "ids"], ["embedding_quantized"]),
            helper.make_node(
                "DequantizeLinear",
                ["embedding_quantized", names["scale"], names["zero_point"]],
                ["embedding"],
            ),
            helper.make_node("Identity", ["embedding"], ["states"]),
        ],
        "words",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["phrases", "tokens"])],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["phrases", "tokens", 48])],
        [numpy_helper.from_array(np.asarray(value), names[name]) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, ids: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    states: np.ndarray = session.run(["states"], {"ids": ids})[0]
    return states


def test_packed_vectors_are_near_those_before(model: onnx.ModelProto) -> None:
    ids = np.array([[0, 39, 7], [5, 5, 1]])
    before = run(model, ids)
    after = run(pack_words_run.pack_graph(model), ids)
    assert after.shape == before.shape
    assert np.array_equal(after[1, 0], after[1, 1])
    error = np.sqrt(((after - before) ** 2).mean() / (before**2).mean())
    assert error < 0.1
    # Rows must not be mixed up: each is nearest to its own.
    assert np.abs(after - before).max() < np.abs(after[::-1] - before).max() / 3


def test_the_bundled_encoder_has_packed_words() -> None:
    graph = onnx.load(catalog_folder() / "model" / "phrase_encoder" / "encoder.onnx").graph
    packed = next(one for one in graph.initializer if one.name == "words.packed")
    assert list(packed.dims) == [30522, 192]
