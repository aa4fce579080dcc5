"""PEFT folders: the adapter as LoRA weights, beside its base network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from initzoo.checkpoints import Base, Init
from initzoo.errors import ChecksumMismatch, InvalidInit
from initzoo.export.folders import folder_readme
from initzoo.files import encode_tensors, replace_folder, write_bytes, write_json

__all__ = ["export_peft"]

_CODE = (
    "from initzoo import AutoNetwork\n"
    "from peft import PeftModel\n\n"
    'model = PeftModel.from_pretrained(AutoNetwork.from_pretrained("base"), ".").merge_and_unload()'
)
_NOTES = """`base/` is the network that all adapters of the zoo share. Merged, as above, it is a plain
network; unmerged, PEFT ignores the dilation of convolutions, which some networks have. A is the same in all
adapters of a zoo, B and bias are those of this look.
"""


def export_peft(init: Init, path: Path, *, base: Base, force: bool = False) -> None:
    """A folder that `peft` loads: config and weights of the adapter, and `base/`. Loads torch.

    Args:
        init: an adapter.
        path: the folder to write.
        base: its base.
        force: replace an existing folder.

    Raises:
        ChecksumMismatch: the adapter was made for another base.
        InvalidInit: an adapted layer is no convolution or linear layer, which PEFT cannot express.
        OutputError: it cannot be written.
    """
    metadata, recipe = init.metadata, init.metadata.recipe
    if base.config.base_sha256 != metadata.base_sha256:
        raise ChecksumMismatch(
            f"init of concept '{metadata.concept}': made for the base with sha256 {metadata.base_sha256}, "
            f"found {base.config.base_sha256}. Name its zoo with --zoo (it says '{metadata.zoo}')."
        )
    tensors: dict[str, np.ndarray] = {}
    for layer in recipe.ranks:
        shape = recipe.weight_shapes[f"{layer}.weight"]
        if len(shape) == 1:
            raise InvalidInit(
                f"init of concept '{metadata.concept}': peft has no adapter for normalisations such as "
                f"'{layer}'. Take the format pth, onnx or program"
            )
        name = f"base_model.model.{layer}"
        low_rank = init.weights[f"{layer}.B"]
        tensors[f"{name}.lora_A.weight"] = base.weights[f"{layer}.A"]
        tensors[f"{name}.lora_B.weight"] = low_rank.reshape(*low_rank.shape, *[1] * (len(shape) - 2))
        tensors[f"{name}.lora_B.bias"] = init.weights[f"{layer}.bias"]
    ranks = dict(recipe.ranks)
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": "base",
        "target_modules": list(ranks),
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "rank_pattern": ranks,
        "alpha_pattern": ranks,  # alpha / r is 1: B holds the whole change
        "lora_bias": True,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }
    network = recipe.build()
    network.load_arrays({name: base.weights[name] for name, _ in recipe.weights})
    with replace_folder(path, force=force) as folder:
        network.save_pretrained(folder / "base")
        write_bytes(
            folder / "adapter_model.safetensors", encode_tensors(tensors, {"format": "pt"}), force=False
        )
        write_bytes(folder / "adapter_config.json", write_json(config), force=False)
        summary = f"A LoRA adapter of {init.metadata.layout.n_values:,} values for PEFT."
        write_bytes(folder / "README.md", folder_readme(init, summary, _CODE, _NOTES), force=False)
