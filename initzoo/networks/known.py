"""The registry of image networks: builds them by name and recognises them by their tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from initzoo.errors import LayoutMismatch
from initzoo.networks.e2gan import E2ganNet
from initzoo.networks.folder_names import CONFIG_FILE
from initzoo.networks.network import ImageNetwork
from initzoo.networks.pix2pix import ResNet, UNet
from initzoo.networks.starter import StarterNet

__all__ = ["NETWORKS", "build_network", "recognise"]

NETWORKS: dict[str, type[ImageNetwork]] = {
    "starter": StarterNet,
    UNet.kind: UNet,
    ResNet.kind: ResNet,
    E2ganNet.kind: E2ganNet,
}
"""Image networks by `kind`, their name in files."""

_MAX_SIZE = 2**14


def build_network(kind: str, sizes: Mapping[str, int]) -> ImageNetwork:
    """Build a network with its default initial weights.

    Args:
        kind: key of `NETWORKS`.
        sizes: keyword arguments of its class.

    Raises:
        LayoutMismatch: this version of initzoo does not know the network or one of its sizes.

    Example:
        >>> build_network("starter", {"n_detail": 8}).sizes["n_detail"]
        8
        >>> build_network("resnet-9000", {})
        Traceback (most recent call last):
            ...
        initzoo.errors.LayoutMismatch: network 'resnet-9000' is not known, known are starter, ...
    """
    if kind not in NETWORKS:
        raise LayoutMismatch(
            f"network {kind[:60]!r} is not known, known are {', '.join(NETWORKS)}; "
            "upgrade: pip install -U initzoo"
        )
    network = NETWORKS[kind]
    known = inspect.signature(network).parameters
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise LayoutMismatch(
            f"network '{kind}' has no size {unknown[0][:60]!r}; upgrade: pip install -U initzoo"
        )
    for name, size in sizes.items():
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            raise LayoutMismatch(
                f"network '{kind}': {name[:80]} must be from 0 to {_MAX_SIZE}, found {repr(size)[:80]}."
            )
    try:
        return network(**sizes)
    except (RuntimeError, ValueError) as error:  # raised by torch for a size of zero
        raise LayoutMismatch(f"network '{kind}' cannot have the sizes {dict(sizes)}: {error}") from error


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, dict[str, int]] | None:
    """Kind and sizes of the known network with tensors of these names and shapes, or None.

    Raises:
        LayoutMismatch: the network has sizes that shapes do not show.

    Example:
        >>> tensors = StarterNet(n_stages=3).state_dict()
        >>> recognise({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        ('starter', {'n_detail': 64, 'n_middle': 32, 'n_stages': 3, 'n_upsampled': 16, 'n_decoder': 64})
        >>> recognise({"fc.weight": (10, 5)}) is None
        True
    """
    for kind, known in NETWORKS.items():
        sizes = known.sizes_of(shapes)
        if sizes is not None and known.hidden_sizes:
            # The defaults would give a network of the same tensors that computes something else.
            raise LayoutMismatch(
                f"tensors of network '{kind}', whose {' and '.join(known.hidden_sizes)} cannot be inferred "
                f"from them. Put {CONFIG_FILE} beside them, or write both with save_pretrained"
            )
        if sizes is not None:
            return kind, sizes
    return None
