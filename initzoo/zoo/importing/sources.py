"""Reading of checkpoints from elsewhere: pickles of pix2pix, plain safetensors, network and PEFT folders."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidInit, LayoutMismatch
from initzoo.files import DamagedFile, is_file, read_file, read_header, read_pickled_weights, reported_as

if TYPE_CHECKING:
    from torch import Tensor

    from initzoo.networks import ImageNetwork

__all__ = ["Incoming", "read_incoming"]

_ADVICE = "Give a generator of pix2pix, or the folder of a PEFT adapter"
_PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
_OPTIONS = ("train_opt.txt", "test_opt.txt")
_OPTION = re.compile(r"\s*(\w{1,60}): ?(.*?)\s*(\[default: .*\])?\s*")
_KEPT_OPTIONS = ("netG", "norm", "ngf", "no_dropout", "direction", "input_nc", "output_nc", "name", "model")
_PEFT_CONFIG, _PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PEFT_TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_(A\.weight|B\.weight|B\.bias)")
_MAX_TEXT_BYTES = 2**20
_MAX_BYTES = 2**33
_MAX_VALUE = 1e30


@dataclass(frozen=True, eq=False)
class Incoming:
    """A checkpoint from elsewhere, read.

    Args:
        file: the file with the weights.
        sha256: SHA-256 of this file.
        name: name of its recipe.
        summary: the network in a few words.
        network: the network with the weights, those of the base for an adapter.
        options: the options of its training that were found beside it.
        notes: what was changed on the way in, a line each.
        adapter: A, B and bias of each adapted layer of an adapter, e.g. `head.A`; empty for a whole network.
    """

    file: Path
    sha256: str
    name: str
    summary: str
    network: ImageNetwork
    options: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    adapter: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The name of the file, as text that can be encoded."""
        return self.file.name.encode("utf-8", "replace").decode()


def read_incoming(path: str | os.PathLike[str]) -> Incoming:
    """Read a checkpoint from elsewhere. Pickles are read in a child process that can run no code of theirs.

    Args:
        path: a `.pth` file of pix2pix's code, a safetensors state dict, or a folder with one of them, with a
            network that `save_pretrained` wrote, or with a PEFT adapter.

    Raises:
        InvalidInit: there is no such file, or it is damaged or something else.
        LayoutMismatch: its network is unknown, or contradicts the options beside it.
    """
    path = Path(path)
    if not os.path.isdir(path) and not is_file(path):
        problem = "is a pipe or device" if os.path.exists(path) else "does not exist"
        raise InvalidInit(f"'{path}' {problem}. {_ADVICE}")
    if os.path.isdir(path) and is_file(path / _PEFT_CONFIG):
        return _read_peft(path)
    file = _file_in(path) if os.path.isdir(path) else path
    options: dict[str, str] = {}
    with reported_as(InvalidInit, f"'{file}'", _ADVICE):
        digest = _digest(file)
        if file.suffix.lower() == ".safetensors":
            tensors = _read_safetensors(file)
        elif file.suffix.lower() in _PICKLES:
            tensors = read_pickled_weights(file)
        else:
            raise DamagedFile(f"has the ending '{file.suffix}', which no checkpoint has that can be imported")
    if is_file(file.parent / "config.json") and file.suffix.lower() == ".safetensors":
        return _read_network(file, digest)
    options_file = next((file.parent / name for name in _OPTIONS if is_file(file.parent / name)), None)
    if options_file is not None:
        with reported_as(InvalidInit, f"'{options_file}'", "Correct it, or take it away"):
            options = _read_options(options_file)
    from initzoo.networks import recognise_foreign

    try:
        weights = recognise_foreign(tensors, options=options)
    except LayoutMismatch as error:
        beside = f", with '{options_file.name}' beside it," if options_file else ""
        raise LayoutMismatch(f"'{file}'{beside} holds {str(error)[:180]}. {_ADVICE}") from error
    notes = list(weights.notes)
    if any(name.endswith("running_mean") for name in weights.network.state_dict()):
        notes.append("running statistics of batch normalisation kept; edits use them, as test.py --eval does")
    return Incoming(file, digest, weights.name, weights.summary, weights.network, options, tuple(notes))


def _digest(file: Path) -> str:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DamagedFile(f"is larger than the limit of {_MAX_BYTES} bytes")
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFile(f"cannot be read ({error.strerror or error})") from error


def _file_in(folder: Path) -> Path:
    """The weights in a folder of checkpoints: the latest generator, or else the only one."""
    try:
        names = sorted(path.name for path in folder.iterdir() if is_file(path))
    except OSError as error:
        raise InvalidInit(f"'{folder}' cannot be read ({error.strerror}). {_ADVICE}") from error
    for name in ("latest_net_G.pth", "model.safetensors"):
        if name in names:
            return folder / name
    chosen = [name for name in names if re.fullmatch(r".*_net_G(_[AB])?\.pth", name)]
    chosen = chosen or [name for name in names if Path(name).suffix in (".pth", ".safetensors")]
    if len(chosen) > 1:
        raise InvalidInit(
            f"'{folder}' holds {len(chosen)} checkpoints: {', '.join(chosen[:4])}. Name one file"
        )
    if not chosen:
        raise InvalidInit(f"'{folder}' holds no checkpoint. {_ADVICE}")
    return folder / chosen[0]


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.stat().st_size:
        raise DamagedFile("is empty: it has 0 bytes")
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DamagedFile(f"is not a whole safetensors file ({str(error)[:120]})") from error


def _read_options(file: Path) -> dict[str, str]:
    """Options as pix2pix's code writes them: a line `name: value [default: other]` each."""
    text = read_file(file, max_bytes=_MAX_TEXT_BYTES).decode("utf-8", "replace")
    matches = (_OPTION.fullmatch(line) for line in text.splitlines())
    found = {match[1]: match[2] for match in matches if match is not None}
    return {name: found[name][:200] for name in _KEPT_OPTIONS if name in found}


def _read_network(file: Path, digest: str) -> Incoming:
    """A network that `save_pretrained` wrote, of any known kind."""
    from initzoo.networks import ForeignWeights, load_network

    weights = ForeignWeights(load_network(file.parent))
    return Incoming(file, digest, weights.name, weights.summary, weights.network)


def _read_peft(folder: Path) -> Incoming:
    """A LoRA adapter in a PEFT folder, with its base network in a folder that the config names."""
    from initzoo.networks import ForeignWeights, is_network_folder, load_network

    file = folder / _PEFT_WEIGHTS
    with reported_as(InvalidInit, f"'{folder / _PEFT_CONFIG}'", _ADVICE):
        try:
            config = json.loads(read_file(folder / _PEFT_CONFIG, max_bytes=_MAX_TEXT_BYTES))
        except (ValueError, RecursionError) as error:
            raise DamagedFile("is not JSON") from error
        if not isinstance(config, dict) or config.get("peft_type") != "LORA" or config.get("use_dora"):
            raise DamagedFile("is not the config of a plain LoRA adapter")
    named = str(config.get("base_model_name_or_path") or "base")
    base = folder / named
    if not is_network_folder(base):
        raise InvalidInit(
            f"'{folder}' is an adapter, and its base network is not in '{folder / named[:80]}'. Put the "
            "folder there that save_pretrained wrote"
        )
    with reported_as(InvalidInit, f"'{file}'", _ADVICE):
        if not is_file(file):
            raise DamagedFile("does not exist")
        read_header(file)
        tensors = {name: tensor.float().numpy() for name, tensor in _read_safetensors(file).items()}
    weights = ForeignWeights(load_network(base))
    try:
        adapter = _adapter_of(tensors, config, weights.network)
    except LayoutMismatch as error:
        raise LayoutMismatch(f"'{file}', {str(error)[:150]}. {_ADVICE}") from error
    notes = ("the adapter is stored as float16",)
    return Incoming(
        file, _digest(file), weights.name, weights.summary, weights.network, notes=notes, adapter=adapter
    )


def _adapter_of(
    tensors: Mapping[str, NDArray[np.float32]], config: Mapping[str, Any], network: ImageNetwork
) -> dict[str, NDArray[np.float32]]:
    """A, B and bias of each layer, with the scale of the adapter in B and bias."""
    parts: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, array in tensors.items():
        match = _PEFT_TENSOR.fullmatch(name)
        if match is None:
            raise LayoutMismatch(f"tensor '{name[:120]}' is not one of a LoRA adapter")
        parts.setdefault(match[1], {})[match[2]] = array
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    adapter = {}
    for layer in [name.removesuffix(".weight") for name in shapes if name.endswith(".weight")]:
        if layer not in parts:
            continue
        one = parts.pop(layer)
        if "A.weight" not in one or "B.weight" not in one:
            raise LayoutMismatch(f"layer '{layer}': expected lora_A and lora_B, found {', '.join(one)}")
        n_out, *inside = shapes[f"{layer}.weight"]
        rank = one["A.weight"].shape[0]
        scale = _scale_of(layer, rank, config)
        if one["A.weight"].shape != (rank, *inside) or one["B.weight"].shape[:2] != (n_out, rank):
            raise LayoutMismatch(
                f"layer '{layer}': expected lora_A {(rank, *inside)} and lora_B {(n_out, rank)}, found "
                f"{one['A.weight'].shape} and {one['B.weight'].shape}"
            )
        bias = one.get("B.bias", np.zeros(n_out, np.float32))
        parts_of_layer = (one["A.weight"], one["B.weight"], bias)
        largest = float(np.max([np.abs(part).max(initial=0) for part in parts_of_layer]))  # NaN if one is
        if bias.shape != (n_out,) or not largest * max(abs(scale), 1) < _MAX_VALUE:
            raise LayoutMismatch(
                f"layer '{layer}': a value is NaN, infinite or too large, or a bias misshapen"
            )
        adapter[f"{layer}.A"] = one["A.weight"]
        adapter[f"{layer}.B"] = one["B.weight"].reshape(n_out, rank) * np.float32(scale)
        adapter[f"{layer}.bias"] = bias * np.float32(scale)
    if parts or not adapter:
        raise LayoutMismatch(f"its base has no layer '{next(iter(parts), '')[:120]}'")
    return adapter


def _scale_of(layer: str, rank: int, config: Mapping[str, Any]) -> float:
    patterns = config.get("alpha_pattern") or {}
    alpha = None
    if isinstance(patterns, dict):
        chosen = next((alpha for key, alpha in patterns.items() if _is_pattern_of(key, layer)), None)
        alpha = config.get("lora_alpha") if chosen is None else chosen
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
        raise LayoutMismatch(f"layer '{layer}': {_PEFT_CONFIG} has no lora_alpha for it")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _is_pattern_of(pattern: str, layer: str) -> bool:
    """Whether a key of `alpha_pattern` means a layer: PEFT takes the end of its name, from a dot on.

    PEFT takes regular expressions, too. They come from a file, and some take forever: they are refused.
    """
    name = pattern.removeprefix("^")
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        raise LayoutMismatch(
            f"{_PEFT_CONFIG} has the regular expression {pattern[:60]!r} in alpha_pattern: name the layers"
        )
    return layer == name or (name == pattern and layer.endswith(f".{name}"))
