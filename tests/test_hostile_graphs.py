"""Phrase encoders of others: a graph that loops, opens files or grows is refused before it runs here."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile_readers import describe_again, make_phrase_zoo, tiny_graph, write_phrase_encoder
from zoo_fixtures import GENERATOR_WORDS

from initzoo.errors import InitzooError, InvalidGenerator
from initzoo.files import DamagedFile
from initzoo.generator.folder_names import PHRASE_FOLDER
from initzoo.generator.phrases import graphs
from initzoo.generator.phrases.encoder import PhraseEncoder
from initzoo.generator.phrases.states import PhraseStates
from initzoo.generator.tokenizer_files import check_tokenizer
from initzoo.generator.tokens import TokenVectors
from initzoo.pairs import catalog_folder
from initzoo.zoo import Zoo

onnx = pytest.importorskip("onnx")
helper, TensorProto = onnx.helper, onnx.TensorProto

TOKENIZER = TokenVectors.tiny(GENERATOR_WORDS, n_values=8).tokenizer_json
N_TOKENS = len(json.loads(TOKENIZER)["model"]["vocab"])


def changed(change: Callable[[object], None]) -> bytes:
    model = onnx.load_from_string(tiny_graph(N_TOKENS))
    change(model)
    data: bytes = model.SerializeToString()
    return data


def with_node(operator: str, inputs: list[str], outputs: list[str], place: int = 0, **attributes: object):
    def change(model) -> None:
        model.graph.node.insert(place, helper.make_node(operator, inputs, outputs, **attributes))

    return change


def constant(name: str, values: list[int]):
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def loop(model) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], ["x"], body=body))


def graph_in_an_attribute(model) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("g", helper.make_graph([], "x", [], [])))


def external(model) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def function(model) -> None:
    model.functions.append(helper.make_function("x", "f", [], [], [], [helper.make_opsetid("", 18)]))


def shape_of_words(model) -> None:
    model.graph.node.insert(0, helper.make_node("Expand", ["table", "ids"], ["large"]))


def named_as(name: str) -> Callable[[object], None]:
    """A constant with the name of a value of words, which then looks like one that is known."""

    def change(model) -> None:
        model.graph.node.append(helper.make_node("Neg", ["ids"], ["negative"]))
        model.graph.node.append(helper.make_node("Expand", ["table", name], ["large"]))
        model.graph.initializer.append(constant(name, [1, 1]))

    return change


def field(number: int, data: bytes) -> bytes:
    """A field of Protocol Buffers that holds bytes."""
    written = b""
    for value in (number << 3 | 2, len(data)):
        while value > 127:
            written, value = written + bytes([value & 127 | 128]), value >> 7
        written += bytes([value])
    return written + data


def with_bytes(data: bytes) -> bytes:
    """The tiny graph with a field behind all others."""
    model = onnx.load_from_string(tiny_graph(N_TOKENS))
    graph = model.graph.SerializeToString() + data
    model.ClearField("graph")
    return model.SerializeToString() + field(7, graph)


def hidden_node() -> bytes:
    """A node in a field whose number is that of nodes only once it is cut to 32 bits."""
    return with_bytes(field(1 + 2**29, helper.make_node("Loop", ["", ""], ["x"]).SerializeToString()))


def renamed_constant() -> bytes:
    """A constant with two names, of which the last is true."""
    shape = constant("shape", [1, 1]).SerializeToString()
    return with_bytes(field(5, field(8, b"ids") + shape))


def outer_products(model) -> None:
    """Four products of a column and a row: each result has the square of the values of the one before."""
    graph = model.graph
    graph.initializer.extend([constant("column", [-1, 1]), constant("row", [1, -1])])
    last = "table"
    for number in range(4):
        for name, shape in (("c", "column"), ("r", "row")):
            graph.node.append(helper.make_node("Reshape", [last, shape], [f"{name}{number}"]))
        graph.node.append(helper.make_node("MatMul", [f"c{number}", f"r{number}"], [f"p{number}"]))
        last = f"p{number}"
    graph.node.append(helper.make_node("Softmax", [last], ["blown"]))
    graph.output.append(helper.make_tensor_value_info("blown", TensorProto.FLOAT, None))
    states = next(node for node in graph.node if "states" in node.output)
    states.output[0] = "plain"
    graph.initializer.append(helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]))
    graph.node.append(helper.make_node("Mul", ["blown", "zero"], ["nothing"]))
    graph.node.append(helper.make_node("ReduceSum", ["nothing"], ["total"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["plain", "total"], ["states"]))
    del graph.output[-1]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "loop": (lambda: changed(loop), "operator 'Loop', which initzoo does not run"),
    "inner-graph": (lambda: changed(graph_in_an_attribute), "a graph within a graph"),
    "outside": (lambda: changed(external), "keeps values in another file"),
    "function": (lambda: changed(function), "is not one plain graph"),
    "of-words": (lambda: changed(shape_of_words), "'Expand' whose shape depends on the words"),
    "named-as-input": (lambda: changed(named_as("ids")), "one name to several values"),
    "named-as-result": (lambda: changed(named_as("negative")), "one name to several values"),
    "named-twice": (renamed_constant, "one name to several values"),
    "hidden": (hidden_node, "is not a graph of ONNX"),
    "custom": (
        lambda: changed(with_node("Identity", ["ids"], ["x"], domain="evil")), "operator 'Identity', which"
    ),
    "filled": (lambda: changed(with_node("ConstantOfShape", ["last"], ["x"])), "'ConstantOfShape'"),
    "products": (lambda: changed(outer_products), "more time or memory|cannot be run"),
    "cycle": (lambda: changed(with_node("Add", ["states", "turn"], ["tokens"])), "one name to several"),
    "empty": (lambda: b"", "is not one plain graph"),
    "noise": (lambda: bytes(range(256)) * 9, "is not a graph of ONNX"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused_in_one_line(name: str) -> None:
    make, problem = HOSTILE[name]
    began = time.process_time()
    with pytest.raises(DamagedFile, match=f"encoder.onnx .*({problem})"):
        PhraseStates.from_bytes(make(), TOKENIZER)
    assert time.process_time() - began < 5


def test_a_sound_graph_of_others_is_tried_once_and_the_bundled_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    run = graphs._try
    monkeypatch.setattr(graphs, "_try", lambda data, n, n_ids: tried.append(n) or run(data, n, n_ids))
    graphs._problem_of.cache_clear()
    write_phrase_encoder(tmp_path / "own")
    for _ in range(2):
        PhraseEncoder.from_folder(tmp_path / "own").read("pencil sketch")
    assert tried == [32]
    PhraseEncoder.from_folder(catalog_folder() / "model" / PHRASE_FOLDER)
    assert tried == [32]


def test_the_bundled_graph_would_pass() -> None:
    graphs._check_nodes((catalog_folder() / "model" / PHRASE_FOLDER / "encoder.onnx").read_bytes())


@pytest.fixture(scope="module")
def kept_phrase_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoos") / "phrases"
    folder.mkdir()
    make_phrase_zoo(folder)
    return folder


def changed_zoo(kept: Path, folder: Path, part: str, name: str, change: Callable[[dict], None]) -> Path:
    zoo = shutil.copytree(kept, folder / "zoo")
    path = zoo / "model" / part / name
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))
    describe_again(zoo)
    return zoo


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(colours={"teal": "blue"}),
        lambda values: values.update(looks=["night", "night", "fog"]),
        lambda values: values["shape"].update(n_heads=3),
        lambda values: values["shape"].update(n_states=9),
        lambda values: values["shape"].update(n_buckets=2**40),
        lambda values: values["confidence"].update(look=1e300),
        lambda values: values.update(shape=5),
    ],
)
def test_a_phrase_encoder_with_a_hostile_config_is_refused_by_pull_and_verify(
    kept_phrase_zoo: Path, tmp_path: Path, change: Callable[[dict], None]
) -> None:
    zoo = changed_zoo(kept_phrase_zoo, tmp_path, PHRASE_FOLDER, "config.json", change)
    with pytest.raises(InvalidGenerator, match="phrase encoder"):
        Zoo.from_pretrained(zoo).pull("please make it a pencil drawing", warn=False)
    assert any("phrase encoder" in problem for problem in Zoo.from_pretrained(zoo).verify().problems)


def test_verify_builds_the_weight_generator(kept_phrase_zoo: Path, tmp_path: Path) -> None:
    zoo = changed_zoo(
        kept_phrase_zoo,
        tmp_path,
        "weight_generator/tiny",
        "config.json",
        lambda values: values["shape"].update(n_layers=2),
    )
    assert any("found no such tensor" in problem for problem in Zoo.from_pretrained(zoo).verify().problems)


def test_verify_merges_into_a_base_whose_weights_are_huge(kept_phrase_zoo: Path, tmp_path: Path) -> None:
    from zoo_fixtures import make_zoo, random_base

    from initzoo.checkpoints import read_base, write_base

    zoo = make_zoo(tmp_path / "zoo")
    base = zoo / "model" / "base" / "tiny"
    recipe = read_base(base).config.recipe
    weights = random_base(recipe)
    weights["detail.A"] = np.full_like(weights["detail.A"], 3e38)
    write_base(base, recipe=recipe, weights=weights, licence="MIT", force=True)
    from dataclasses import replace

    from initzoo.checkpoints import read_base_config
    from initzoo.zoo.index import Index, write_index

    index = zoo / "dataset" / "index.parquet"
    digest = read_base_config(base).base_sha256
    write_index(index, [replace(row, base_sha256=digest) for row in Index.open(index).rows()], force=True)
    describe_again(zoo)
    with pytest.raises(InitzooError, match="NaN or infinite"):
        Zoo.from_pretrained(zoo).pull("night")
    assert any("NaN or infinite" in problem for problem in Zoo.from_pretrained(zoo).verify().problems)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {"a": {"ids": [2**31]}}},
        {"type": "TemplateProcessing", "single": [{}] * 99, "pair": [], "special_tokens": {}},
        {"type": "BertProcessing", "sep": ["[SEP]", -1], "cls": ["[CLS]", 0]},
        {"type": "Sequence", "processors": []},
        [],
        {"type": "BertProcessing", "sep": [], "cls": 5},
    ],
)
def test_hostile_tokens_around_a_text_are_refused(part: object) -> None:
    data = json.dumps(json.loads(TOKENIZER) | {"post_processor": part}).encode()
    with pytest.raises(DamagedFile, match=r"tokenizer\.json"):
        check_tokenizer(data, n_tokens=None)
