"""A reader of zoos written from docs/format.md alone: at most 80 lines, no initzoo, no safetensors."""

import hashlib
import json
import struct
import zlib

import numpy as np
import pyarrow.parquet as pq

MARK, EMPTY = b"initzoo-seal-sha256:", hashlib.sha256(b"").hexdigest()


def check(data, digest, name):
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{name}: wrong digest")
    return data


def read_listed(path, digest):
    with open(path, "rb") as file:
        data = check(file.read(), digest, path)
    if (start := data.find(MARK) + len(MARK)) >= len(MARK):
        check(data[:start] + b"0" * 64 + data[start + 64 :], data[start : start + 64].decode(), path)
    return data


def open_zoo(folder):
    """Verify every listed file; return the folder, bases by recipe and rows by concept id."""
    with open(f"{folder}/dataset/zoo.json", "rb") as file:
        zoo = json.load(file)
    if zoo["format_version"] != 2:
        raise ValueError("zoo.json: another format version")
    data, bases = {}, {}
    for part in ("dataset", "model"):
        for path, (_, digest) in zoo[f"{part}_files"].items():
            data[path] = read_listed(f"{folder}/{part}/{path}", digest)
    for recipe, path in zoo["bases"].items():
        config, model = json.loads(data[f"{path}/config.json"]), data[f"{path}/model.safetensors"]
        layout = json.dumps(config["layout"], sort_keys=True, separators=(",", ":"))
        if hashlib.sha256(layout.encode()).hexdigest()[:16] != config["layout_id"]:
            raise ValueError(f"{recipe}: wrong layout id")
        first = 8 + struct.unpack("<Q", check(model, config["base_sha256"], recipe)[:8])[0]
        bases[recipe] = config, {}
        entries = [(name, e) for name, e in json.loads(model[8:first]).items() if name != "__metadata__"]
        for name, e in entries:
            tensor = np.frombuffer(model, "<f4", np.prod(e["shape"]), first + e["data_offsets"][0])
            bases[recipe][1][name] = tensor.reshape(e["shape"])
    rows = pq.read_table(f"{folder}/dataset/index.parquet").to_pylist()
    return folder, bases, {row["concept_id"]: row for row in rows}


def read_weights(zoo, concept_id):
    """The weights of a checkpoint, float32 arrays by name."""
    row = zoo[2][concept_id]
    config, base = zoo[1][row["recipe"]]
    if (row["layout_id"], row["base_sha256"]) != (config["layout_id"], config["base_sha256"]):
        raise ValueError(f"{concept_id}: made for another base")
    with open(f"{zoo[0]}/dataset/{row['shard']}", "rb") as file:
        file.seek(row["byte_start"])
        blocks = check(file.read(row["byte_end"] - row["byte_start"]), row["sha256"], concept_id)
        detail = check(file.read(row.get("detail_bytes", 0)), row.get("detail_sha256") or EMPTY, concept_id)
    values, weights = np.frombuffer(blocks, "<f2"), {name: base[name] for name, _ in config["weights"]}
    position, layer = 0, ""
    for name, shape in config["layout"]["tensors"]:
        if name.rpartition(".")[0] != layer:
            layer, position = name.rpartition(".")[0], position + -position % row["block_size"]
        change = values[position : position + np.prod(shape)].reshape(shape).astype(float)
        position += change.size
        if name == f"{layer}.B":
            name, a = f"{layer}.weight", base[f"{layer}.A"].astype(float)
            change = (change @ a.reshape(len(a), -1)).reshape(weights[name].shape)
        weights[name] = (weights[name] + change).astype(np.float32)
    scales, position = np.frombuffer(detail[4:], "<f4", len(config["weights"]) if detail else 0), 0
    parts = zlib.decompressobj(-15).decompress(detail[4 + 4 * scales.size :]) if detail else b""
    for (name, shape), scale in zip(config["weights"], scales, strict=False):
        low, high = np.frombuffer(parts, np.int8, 2 * np.prod(shape), position).reshape(2, *shape) * 1.0
        change = (low + 256 * high).astype(np.float32) * scale
        weights[name], position = weights[name] + change, position + 2 * low.size
    return weights
