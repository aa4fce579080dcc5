"""Mutations of files: bytes, JSON, TOML, safetensors and ONNX, as somebody hostile would change them.

Each function takes the random generator of its case, so that a case can be made again from its number.
"""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from typing import Any

from initzoo.files import BLANK_SEAL, SEAL_MARK
from initzoo.files.digests import seal

__all__ = [
    "EVIL",
    "change_bytes",
    "change_json",
    "change_onnx",
    "change_tensors",
    "change_toml",
    "change_values",
    "seal_again",
]

EVIL = (
    "\x1b]0;owned\x07\u202etxt\r\nError: all is well\u2028<img src=x onerror=alert(1)> "
    "[a](http://evil.example) |`"
)
_RAW = "@raw:"
"""Stands before texts that become JSON as they are, without quotes."""

_NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 2**70, 10**18),
    *(0.5, -0.0, 1.5, 1e-320, 1e308, -1e308, 3.4e39, 65505.0),
    *(f"{_RAW}NaN", f"{_RAW}Infinity", f"{_RAW}-Infinity", f"{_RAW}1e999", f"{_RAW}{'9' * 5000}"),
    *(f"{_RAW}-{'1' * 400}.5", f"{_RAW}1E+0000000000400"),
)
_TEXTS = (
    *(
        "",
        " ",
        "a",
        "night",
        EVIL,
        "x" * 300,
        "y" * 20_000,
        "../../escaped",
        "/etc/passwd",
        "a/../b",
        "C:\\a",
    ),
    *("\0", "\ud800", "é" * 90, "\u0301" * 500, "{}", "null", "0", "F32", "I64", "BOOL", "train", "0" * 64),
    *("--force", "a" * 64, "%s%n", "${HOME}", "CON", ".", ".."),
)
_OTHERS: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], [0] * 5000, {"a": 1}, [[1, 2], [3]], [{}], {"": ""}),
    *([1.5, 2.5], ["a", "b"], [["a", [1]]], {str(number): number for number in range(2000)}),
    *(f"{_RAW}{'[' * 900}{']' * 900}", f"{_RAW}{'[' * 60}{']' * 60}", f'{_RAW}{{"a":1,"a":2}}'),
)
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x5B, 0x7B, 0x2C, 0x0A, 0x27)


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change one to four places: bits, bytes, integers, pieces left out, doubled or moved, an early end."""
    values = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not values:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(64)))
        place = rng.randrange(len(values))
        kind = rng.randrange(9)
        length = min(rng.choice((1, 2, 4, 8, 16, 64, 1024)), len(values) - place)
        if kind == 0:
            values[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            values[place] = rng.choice(_INTERESTING)
        elif kind == 2:
            del values[place : place + length]
        elif kind == 3:
            values[place:place] = values[place : place + length] * rng.choice((1, 1, 2, 50))
        elif kind == 4:
            number = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, rng.getrandbits(32)))
            values[place : place + 8] = struct.pack("<Q", number)[: min(8, len(values) - place)]
        elif kind == 5:
            values[place : place + length] = bytes(length)
        elif kind == 6:
            values[place : place + length] = rng.randbytes(length)
        elif kind == 7:
            other = rng.randrange(len(values))
            values[place : place + length] = values[other : other + length]
        else:
            del values[place:]
    return bytes(values)


def change_values(values: Any, rng: random.Random) -> Any:
    """A copy of JSON values with one to three of them changed, left out, added or renamed."""
    changed = copy.deepcopy(values)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return _hostile_value(rng, changed)
        holder, key = rng.choice(places)
        kind = rng.randrange(10)
        if kind < 6:
            holder[key] = _hostile_value(rng, holder[key])
        elif kind == 6:
            del holder[key]
        elif kind == 7 and isinstance(holder, dict):
            holder[rng.choice((*_TEXTS, *map(str, holder)))] = holder[key]
        elif kind == 7:
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 8:
            other, name = rng.choice(places)
            if name in other if isinstance(other, dict) else name < len(other):
                holder[key] = copy.deepcopy(other[name])
        elif isinstance(holder, dict):
            holder[rng.choice(_TEXTS)] = _hostile_value(rng, None)
        else:
            rng.shuffle(holder)
    return changed


def _places(values: Any, depth: int = 0) -> Any:
    """Every list or object within values, with each of its indices or keys."""
    keys = (
        list(values) if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
    )
    for key in list(keys)[:300]:
        yield values, key
        if depth < 12:
            yield from _places(values[key], depth + 1)


def _hostile_value(rng: random.Random, before: Any) -> Any:
    kind = rng.randrange(8)
    if kind == 0 and isinstance(before, int | float) and not isinstance(before, bool):
        return rng.choice(
            (before + 1, before - 1, -before, before * 2, before / 2 if before == before else 0)
        )
    if kind == 1 and isinstance(before, str):
        return rng.choice(
            (before + "x", before.upper(), before[:-1], before * 40, before[::-1], f" {before}")
        )
    if kind == 2 and isinstance(before, list):
        return rng.choice((before * 2, before[:1], before[1:], before[::-1], before * 300))
    return copy.deepcopy(rng.choice(rng.choice((_NUMBERS, _TEXTS, _OTHERS))))


def to_json(values: Any) -> bytes:
    """JSON in which texts after `_RAW` stand as they are."""
    text = json.dumps(values, ensure_ascii=True)
    parts = re.split(rf'"{_RAW}((?:[^"\\]|\\.)*)"', text)
    parts[1::2] = [json.loads(f'"{part}"') for part in parts[1::2]]
    return "".join(parts).encode("utf-8", "surrogatepass")


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Change values of JSON, or now and then its text."""
    kind = rng.randrange(12)
    if kind == 0:
        return change_bytes(data, rng)
    text = to_json(change_values(json.loads(data), rng))
    if kind == 1:
        return b"\xef\xbb\xbf" + text
    if kind == 2 and text.startswith(b"{"):  # a key twice
        return b"{" + text[1:-1] + b"," + text[1:-1] + b"}"
    if kind == 3:
        return text + rng.choice((b"{}", b"\0", b" " * 5000, b"\n\n", b"]", b"#"))
    return text


_TOML_VALUES = (
    *("nan", "inf", "-inf", "9" * 5000, "-1", "0", "1e400", "0x7fffffffffffffffff", "2026-99-99", "true"),
    *(
        "2026-01-01",
        "''",
        '"x"',
        "[]",
        "{}",
        "[[]]",
        "[1, 'a', []]",
        "[" * 900,
        "[" * 60 + "]" * 60,
        "1e-320",
    ),
    *(
        '"' + "z" * 20_000 + '"',
        '"../../escaped"',
        '"\\u0000"',
        '"\\u202e\\u001b[2J"',
        "{a = {b = {}}}",
        "1.5",
    ),
    *("[nan]", "[-1, 1e300]", "['a', 'a']", "18446744073709551616", "{operator = 'blur', radius = nan}"),
)


def change_toml(data: bytes, rng: random.Random) -> bytes:
    """Change lines of TOML: values, keys, tables; left out, doubled, moved."""
    if rng.randrange(8) == 0:
        return change_bytes(data, rng)
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.randrange(len(lines))
        line, kind = lines[place], rng.randrange(8)
        if kind < 4 and "=" in line:
            spots = [match.span(1) for match in re.finditer(r"=\s*([^,=}\]]+)", line)]
            start, end = (
                rng.choice(spots) if spots and rng.random() < 0.5 else (line.index("=") + 1, len(line))
            )
            lines[place] = f"{line[:start]} {rng.choice(_TOML_VALUES)}{line[end:]}"
        elif kind == 4:
            del lines[place]
            lines = lines or [""]
        elif kind == 5:
            lines[place:place] = [line] * rng.choice((1, 2, 60))
        elif kind == 6:
            other = rng.randrange(len(lines))
            lines[place], lines[other] = lines[other], line
        else:
            name = rng.choice(
                ("a", "id", "prompts", "[" * 70, '"\\u0000"', "a." * 300 + "b", "[[concept]]", "x = ")
            )
            lines[place] = f"{name} = {rng.choice(_TOML_VALUES)}" if rng.random() < 0.7 else name
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def seal_again(data: bytes) -> bytes:
    """Put the seal of a sealed file right again, if it still has one."""
    start = data.find(SEAL_MARK)
    if start < 0 or data.count(SEAL_MARK) != 1 or len(data) < start + len(BLANK_SEAL):
        return data
    blank = data[:start] + BLANK_SEAL.encode() + data[start + len(BLANK_SEAL) :]
    return seal(blank) if blank.count(BLANK_SEAL.encode()) == 1 else data


def change_tensors(data: bytes, rng: random.Random, *, is_sealed: bool = True) -> bytes:
    """Change the header or the values of a safetensors file; its seal is right again."""
    size = int.from_bytes(data[:8], "little")
    header, values = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    kind = rng.randrange(12)
    if kind == 0:
        data = change_bytes(data, rng)
        return seal_again(data) if is_sealed else data
    if kind < 4:  # the values
        for _ in range(rng.choice((1, 1, 5))):
            pattern = rng.choice(
                (
                    b"\x00|",
                    b"\x00\xfc",
                    b"\x01~",
                    b"\x00\x00\xc0\x7f",
                    b"\x00\x00\x80\x7f",
                    b"\xff\xff\x7f\x7f",
                    b"\xff{",
                    b"\x01\x00",
                    b"\x00\x00",
                    bytes(4),
                    rng.randbytes(4),
                    b"\xff\xff\x7f\xff",
                )
            )
            count = rng.choice((1, 1, 3, 100_000))
            place = rng.randrange(max(len(values), 1)) // len(pattern) * len(pattern)
            length = min(len(pattern) * count, len(values) - place)
            values[place : place + length] = (pattern * count)[:length]
    elif kind < 6:  # offsets, so that tensors overlap, leave gaps or lie outside
        names = [name for name in header if name != "__metadata__"]
        entry = header[rng.choice(names)]
        number = rng.randrange(2)
        entry["data_offsets"][number] = rng.choice(
            (
                0,
                -1,
                len(values),
                len(values) + 1,
                2**40,
                2**63,
                entry["data_offsets"][number] + rng.randrange(-4, 5),
            )
        )
        if rng.random() < 0.5:
            entry["shape"] = rng.choice(([0], [], [2**31, 2**31], [1] * 9, [-1, -1], [*entry["shape"], 2]))
    elif kind == 6:
        values = values[: rng.randrange(len(values) + 1)] if rng.random() < 0.5 else values + rng.randbytes(9)
    else:
        header = change_values(header, rng)
    if kind > 6 and isinstance(header, dict) and rng.random() < 0.3:  # metadata holds JSON within JSON
        notes = header.get("__metadata__")
        for name in list(notes) if isinstance(notes, dict) else ():
            if isinstance(notes[name], str) and notes[name].startswith(("{", "[")) and rng.random() < 0.7:
                notes[name] = change_json(notes[name].encode(), rng).decode("utf-8", "replace")
    text = to_json(header)
    if rng.random() < 0.05:
        text = b"{" + text[1:-1] + b"," + text[1:-1] + b"}"
    text += b" " * (-len(text) % 8)
    length = len(text) if rng.random() < 0.97 else rng.choice((0, 2**63, len(text) - 8, 2**32))
    whole = struct.pack("<Q", max(length, 0)) + text + bytes(values)
    return seal_again(whole) if is_sealed else whole


_OPERATORS = (
    *(
        "Loop",
        "If",
        "Scan",
        "ConstantOfShape",
        "Expand",
        "Tile",
        "Range",
        "Pad",
        "Resize",
        "NonZero",
        "Where",
    ),
    *(
        "Gather",
        "Reshape",
        "MatMul",
        "Add",
        "Mul",
        "Cast",
        "Concat",
        "Slice",
        "Softmax",
        "RandomNormal",
        "Einsum",
    ),
    *(
        "Conv",
        "TopK",
        "OneHot",
        "Multinomial",
        "StringNormalizer",
        "SequenceEmpty",
        "Identity",
        "Nothing",
        "",
    ),
)


def change_onnx(data: bytes, rng: random.Random) -> bytes:
    """Change a graph: operators, attributes, constants, names, shapes, files outside; or its bytes."""
    import onnx

    if rng.randrange(4) == 0:
        return change_bytes(data, rng)
    model = onnx.load_from_string(data)
    graph = model.graph
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(9)
        if kind == 0 and graph.node:
            rng.choice(graph.node).op_type = rng.choice(_OPERATORS)
        elif kind == 1 and graph.node:
            node = rng.choice(graph.node)
            names = [one for other in graph.node for one in (*other.input, *other.output)] + ["nothing", ""]
            if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif kind == 2 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            tensor.dims[:] = rng.choice(([0], [-1], [2**40], [1] * 12, [2**31, 2**31], [*tensor.dims, 1]))
        elif kind == 3 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            tensor.raw_data = change_bytes(tensor.raw_data, rng)
        elif kind == 4 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", rng.choice(("/etc/passwd", "../x", "x"))), ("offset", "0")):
                tensor.external_data.add(key=key, value=value)
        elif kind == 5:
            sizes = rng.choice(([2**36], [2**20, 2**20], [-5], [0], [1, 2**31]))
            shape = onnx.helper.make_tensor("bomb", onnx.TensorProto.INT64, [len(sizes)], sizes)
            graph.initializer.append(shape)
            first = graph.node[0].input[0] if graph.node and graph.node[0].input else "ids"
            operator = rng.choice(("ConstantOfShape", "Expand", "Reshape", "Tile"))
            inputs = ["bomb"] if operator == "ConstantOfShape" else [first, "bomb"]
            graph.node.insert(0, onnx.helper.make_node(operator, inputs, ["blown"]))
            if rng.random() < 0.5 and len(graph.node) > 1 and graph.node[1].input:
                graph.node[1].input[0] = "blown"
        elif kind == 6 and graph.node:
            attributes = [one for node in graph.node for one in node.attribute]
            if attributes:
                rng.choice(attributes).i = rng.choice((-1, 0, 1, 2**31, 2**62, -(2**62), 99))
        elif kind == 7 and graph.node:
            place = rng.randrange(len(graph.node))
            if rng.random() < 0.5:
                del graph.node[place]
            else:
                graph.node.insert(0, graph.node[place])
        else:
            holder = rng.choice((graph.input, graph.output))
            if holder:
                value = rng.choice(holder)
                value.name = rng.choice(("states", "ids", "mask", "x", ""))
                value.type.tensor_type.elem_type = rng.choice((1, 7, 8, 10, 16, 99))
    try:
        return model.SerializeToString()
    except ValueError:
        return change_bytes(data, rng)
