"""What `torch.hub.load` finds in this repository.

torch.hub.load("initzoo", "initzoo", concept="pencil sketch", source="local")
"""

dependencies = [
    "torch",
    "lazy_loader",
    "msgspec",
    "numpy",
    "safetensors",
    "pyarrow",
    "huggingface_hub",
    "tqdm",
    "onnxruntime",
    "PIL",
    "cv2",
]


def initzoo(concept: str = "base", **options):  # type: ignore[no-untyped-def]
    """A network that starts from weights of the zoo, as an `nn.Module` from photos to edited photos.

    Args:
        concept: words for the edit, the path of an init, or the name of an initialization scheme.
        options: `zoo`, `seed`, `revision`, `token`, `local_files_only`, `device`, `dtype` and others of
            `initzoo.AutoNetwork.from_pretrained`.
    """
    from initzoo import AutoNetwork

    return AutoNetwork.from_pretrained(concept, **options)
