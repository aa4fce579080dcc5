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

__all__ = ["NETWORKS", "build_network", "check_network", "recognise"]

NETWORKS: dict[str, type[ImageNetwork]] = {
    "starter": StarterNet,
    UNet.kind: UNet,
    ResNet.kind: ResNet,
    E2ganNet.kind: E2ganNet,
}
"""Image networks by `kind`, their name in files."""


def build_network(
    kind: str, sizes: Mapping[str, int], *, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> ImageNetwork:
    """Build a network with its default initial weights.

    A network that is too large, or has other tensors than `shapes`, is refused before it takes memory.

    Args:
        kind: key of `NETWORKS`.
        sizes: keyword arguments of its class.
        shapes: names and shapes of the tensors that the network must have; not checked by default.

    Raises:
        LayoutMismatch: this version of initzoo does not know the network or one of its sizes, or the network
            has other tensors.

    Example:
        >>> build_network("starter", {"n_detail": 8}).sizes["n_detail"]
        8
        >>> build_network("resnet-9000", {})
        Traceback (most recent call last):
            ...
        initzoo.errors.LayoutMismatch: network 'resnet-9000' is not known, known are starter, ...
    """
    known = check_network(kind, sizes, shapes=shapes)
    return known(**sizes)


def check_network(
    kind: str, sizes: Mapping[str, int], *, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> type[ImageNetwork]:
    """Check as `build_network` does, without building; the network's class."""
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
    planned = network.plan(sizes)
    if shapes is not None:
        planned.check_shapes(shapes)
    return network


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
