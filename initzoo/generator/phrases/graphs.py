"""Checks of `encoder.onnx` before onnxruntime reads it in this process.

A graph of ONNX is a program: it can loop, open files, and ask for terabytes with a constant of eight bytes,
and onnxruntime does what it says. So a graph of others may have the operators of a sentence encoder alone,
without branches, loops or files outside, and no shape may depend on the ids of its tokens. Its work then
depends on the number of tokens only, and a child process with limits of time and memory tries every number
that a phrase can have. The graph of the bundled zoo needs no trial.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from initzoo.files import DamagedFile
from initzoo.generator.trust import is_bundled_graph

__all__ = ["check_graph"]

_OPERATORS = frozenset(
    (
        *(
            "Add",
            "And",
            "Cast",
            "Clip",
            "Concat",
            "Constant",
            "Div",
            "Equal",
            "Erf",
            "Exp",
            "Expand",
            "Flatten",
        ),
        *(
            "Gather",
            "GatherElements",
            "Gelu",
            "Gemm",
            "Greater",
            "Identity",
            "LayerNormalization",
            "Less",
            "MatMul",
        ),
        *("MatMulInteger", "Mul", "Neg", "Not", "Pow", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Shape"),
        *("Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"),
        *("Where", "DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"),
    )
)
_SHAPED = ("Expand", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze", "ReduceMean", "ReduceSum")
"""Operators whose inputs after the first say which shape the result has."""

_MAX_NODES = 20_000
_MAX_SECONDS = 30.0
_LEAST_MEMORY = 2**28
_CHILD = Path(__file__).with_name("graph_trial.py")


def check_graph(data: bytes, *, max_tokens: int, n_ids: int) -> None:
    """Check that a graph can be run in this process.

    Args:
        data: the ONNX file.
        max_tokens: largest number of tokens that it will be given.
        n_ids: number of different tokens.

    Raises:
        DamagedFile: it is no graph of a sentence encoder, or takes too much.

    Example:
        >>> check_graph(b"no graph", max_tokens=2, n_ids=9)
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: encoder.onnx is not a graph of ONNX
    """
    if is_bundled_graph(data):
        return
    problem = _problem_of(hashlib.sha256(data).hexdigest(), _Graph(data), max_tokens, n_ids)
    if problem:
        raise DamagedFile(f"encoder.onnx {problem}")


class _Graph:
    """The bytes of a graph, which are not part of the key of `_problem_of`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Graph)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=8)
def _problem_of(digest: str, graph: _Graph, max_tokens: int, n_ids: int) -> str:
    """The problem of a graph with this digest; empty if there is none. Tried once a process."""
    try:
        _check_nodes(graph.data)
    except DamagedFile as error:
        return str(error)
    return _try(graph.data, max_tokens, n_ids)


def _try(data: bytes, max_tokens: int, n_ids: int) -> str:
    """Run a graph in a child process with every number of tokens; its problem, or nothing."""
    memory = _LEAST_MEMORY + 8 * len(data)
    # -P: no module of the working folder is imported in the place of one of Python's.
    command = [sys.executable, "-P", str(_CHILD), str(max_tokens), str(n_ids), str(memory)]
    command.append(str(_MAX_SECONDS))
    try:
        child = subprocess.run(
            command, input=data, capture_output=True, timeout=4 * _MAX_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "takes too long"
    if child.returncode == 0 and child.stdout.endswith(b"sound"):
        return ""
    if child.returncode < 0:
        return "takes more time or memory than a sentence encoder, or ends the process that runs it"
    reason = " ".join(child.stdout.decode("utf-8", "replace").split())[:80]
    return f"cannot be run ({reason or 'it ended the process that ran it'})"


# A file of ONNX is a message of Protocol Buffers: fields with a number and a wire type, of which 0 is an
# integer and 2 is bytes, a text or an inner message.

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_INPUT, _GRAPH_SPARSE = 1, 5, 11, 15
_INPUT_NAME = 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTES_WITH_GRAPHS = 5, (6, 11, 10, 22, 23)
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_PLACE = 8, 13, 14


def _check_nodes(data: bytes) -> None:
    model = _fields(memoryview(data))
    graphs = model.get(_MODEL_GRAPH, [])
    if len(graphs) != 1 or _MODEL_TRAINING in model or _MODEL_FUNCTIONS in model:
        raise DamagedFile("is not one plain graph")
    graph = _message(graphs[0])
    nodes = [_message(node) for node in graph.get(_GRAPH_NODE, [])]
    if _GRAPH_SPARSE in graph or len(nodes) > _MAX_NODES:
        raise DamagedFile("has sparse tensors, or too many nodes")
    tensors = [_message(tensor) for tensor in graph.get(_GRAPH_TENSOR, [])]
    known = {_text(name) for tensor in tensors for name in tensor.get(_TENSOR_NAME, [])}
    _check_names(graph, nodes, tensors)
    for node in nodes:
        operator = "".join(map(_text, node.get(_NODE_OPERATOR, [])))
        if operator not in _OPERATORS or any(_text(domain) for domain in node.get(_NODE_DOMAIN, [])):
            raise DamagedFile(f"has the operator {operator[:40]!r}, which initzoo does not run")
        for attribute in map(_message, node.get(_NODE_ATTRIBUTE, [])):
            if any(number in attribute for number in _ATTRIBUTES_WITH_GRAPHS):
                raise DamagedFile("has a graph within a graph")
            tensors += map(_message, attribute.get(_ATTRIBUTE_TENSOR, []))
        inputs = [_text(name) for name in node.get(_NODE_INPUT, [])]
        if operator in _SHAPED and not known.issuperset(filter(None, inputs[1:])):
            raise DamagedFile(f"has an operator {operator!r} whose shape depends on the words")
        # What depends on constants and shapes alone is the same for all words of as many tokens.
        if operator == "Shape" or known.issuperset(filter(None, inputs)):
            known |= {_text(name) for name in node.get(_NODE_OUTPUT, [])}
    if any(_TENSOR_EXTERNAL in tensor or any(tensor.get(_TENSOR_PLACE, ())) for tensor in tensors):
        raise DamagedFile("keeps values in another file")


def _check_names(
    graph: dict[int, list[Any]], nodes: list[dict[int, list[Any]]], tensors: list[dict[int, list[Any]]]
) -> None:
    """Check that no value has the name of another: what is known of a name is then true of one value."""
    names = [
        _text(name) for part in graph.get(_GRAPH_INPUT, []) for name in _message(part).get(_INPUT_NAME, [])
    ]
    names += [_text(name) for tensor in tensors for name in tensor.get(_TENSOR_NAME, [])]
    names += filter(None, (_text(name) for node in nodes for name in node.get(_NODE_OUTPUT, [])))
    if len(set(names)) != len(names):
        raise DamagedFile("gives one name to several values")
    # Of several texts in such a field the last is true.
    if any(len(node.get(_NODE_OPERATOR, [])) > 1 or len(node.get(_NODE_DOMAIN, [])) > 1 for node in nodes):
        raise DamagedFile("has a node with several operators")


def _fields(data: memoryview) -> dict[int, list[Any]]:
    """The fields of a message by number, in order."""
    values: dict[int, list[Any]] = {}
    for number, value in _each_field(data):
        values.setdefault(number, []).append(value)
    return values


def _each_field(data: memoryview) -> Iterator[tuple[int, Any]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        if key >= 2**32:  # the library leaves out the bits above, and reads another field
            raise DamagedFile("is not a graph of ONNX")
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == 2:
            length, position = _varint(data, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise DamagedFile("is not a graph of ONNX")
        if length > len(data) - position:
            raise DamagedFile("is not a graph of ONNX")
        yield number, data[position : position + length] if kind == 2 else None
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise DamagedFile("is not a graph of ONNX")


def _message(value: Any) -> dict[int, list[Any]]:
    if not isinstance(value, memoryview):
        raise DamagedFile("is not a graph of ONNX")
    return _fields(value)


def _text(value: Any) -> str:
    if not isinstance(value, memoryview):
        raise DamagedFile("is not a graph of ONNX")
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFile("is not a graph of ONNX") from error
