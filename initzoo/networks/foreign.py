"""State dicts from elsewhere: which known network they are of, or the first tensor that fits none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from initzoo.errors import LayoutMismatch
from initzoo.networks.known import NETWORKS, build_network
from initzoo.networks.network import ImageNetwork
from initzoo.networks.pix2pix import NORMS, ResNet, UNet

__all__ = ["ForeignWeights", "recognise_foreign"]

_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DataParallel, DistributedDataParallel and torch.compile put before the names."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_GENERATORS = {
    "unet_128": (UNet.kind, 7),
    "unet_256": (UNet.kind, 8),
    "resnet_6blocks": (ResNet.kind, 6),
    "resnet_9blocks": (ResNet.kind, 9),
}
"""Names of the authors' code, with the network and its halvings or stages."""


@dataclass(frozen=True, eq=False)
class ForeignWeights:
    """The weights of a known network, recognised.

    Args:
        network: the network with the weights.
        notes: what was changed on the way in, e.g. tensors left out, a line each.
    """

    network: ImageNetwork
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name for its recipe, as the authors call the network.

        Example:
            >>> ForeignWeights(UNet(6, 4)).name, ForeignWeights(ResNet(2, 4)).name
            ('pix2pix-unet64', 'pix2pix-resnet2')
        """
        sizes = self.network.sizes
        if self.network.kind == UNet.kind:
            return f"{UNet.kind}{2 ** sizes['n_halvings']}"
        return f"{ResNet.kind}{sizes['n_stages']}" if self.network.kind == ResNet.kind else self.network.kind

    @property
    def summary(self) -> str:
        """The network in a few words.

        Example:
            >>> ForeignWeights(UNet(8, 4, dropout=0)).summary
            'pix2pix-unet, 8 halvings, width 4, norm batch, no dropout'
        """
        return _summary(self.network.kind, self.network.sizes)


@dataclass
class _Reader:
    """A state dict on its way to a known network."""

    tensors: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def unwrap(self) -> None:
        """Remove the prefixes of wrappers, which all names have."""
        while self.tensors and (
            prefix := next(
                (one for one in _WRAPPERS if all(name.startswith(one) for name in self.tensors)), ""
            )
        ):
            self.tensors = {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items()}
            self.notes.append(f"prefix '{prefix}' removed")

    def drop_old_statistics(self) -> None:
        """Leave out statistics of instance normalisation, which versions of torch before 0.4 wrote."""
        dropped = [
            name
            for name in self.tensors
            if name.rpartition(".")[2] in _STATISTICS
            and f"{name.rpartition('.')[0]}.weight" not in self.tensors
        ]
        if dropped:
            self.notes.append(f"{len(dropped)} statistics of instance normalisation left out: it uses none")
            self.tensors = {name: one for name, one in self.tensors.items() if name not in dropped}

    def add_counts(self) -> None:
        """Add the counts of batches, which versions of torch before 0.4.1 did not write."""
        names = [name for name in self.tensors if name.endswith(".running_var")]
        missing = [
            name
            for name in (one.replace("running_var", "num_batches_tracked") for one in names)
            if name not in self.tensors
        ]
        if missing:
            self.notes.append(f"{len(missing)} counts of batches were missing and are 0")
            self.tensors |= {name: torch.zeros((), dtype=torch.long) for name in missing}


def recognise_foreign(
    tensors: Mapping[str, Tensor], *, options: Mapping[str, str] | None = None
) -> ForeignWeights:
    """Recognise the network of a state dict and load its weights.

    Args:
        tensors: tensors by name. Prefixes of wrappers, such as `module.`, are removed.
        options: options of the authors' code, e.g. `{"norm": "batch", "ngf": "64"}`; they must agree with
            the tensors, and give the dropout, which tensors of a U-Net do not show.

    Raises:
        LayoutMismatch: the network is unknown, a discriminator, or contradicts the options. The message
            names the first tensor that does not fit.

    Example:
        >>> weights = recognise_foreign({f"module.{k}": v for k, v in ResNet(2, 4).state_dict().items()})
        >>> weights.name, weights.notes
        ('pix2pix-resnet2', ("prefix 'module.' removed",))
    """
    reader = _Reader(dict(tensors))
    reader.unwrap()
    reader.drop_old_statistics()
    kind, sizes = _guess(reader.shapes)
    _check_options(kind, sizes, options or {})
    if kind == UNet.kind and "no_dropout" in (options or {}):
        sizes |= {"dropout": 0 if (options or {})["no_dropout"] == "True" else 50}
    if sizes.get("norm") == NORMS.index("batch"):
        reader.add_counts()
    try:
        with torch.device("meta"):
            expected = {
                name: tuple(one.shape) for name, one in build_network(kind, sizes).state_dict().items()
            }
    except LayoutMismatch as error:
        raise LayoutMismatch(f"weights whose {error}") from error
    _check_shapes(reader.shapes, expected, _summary(kind, sizes))
    _check_values(reader.tensors, expected)
    dtypes = {str(one.dtype).removeprefix("torch.") for one in reader.tensors.values() if one.dim()}
    if others := sorted(dtypes - {"float32"}):
        reader.notes.append(f"{' and '.join(others)} became float32")
    arrays = {name: reader.tensors[name].float().numpy() for name in expected}
    network = build_network(kind, sizes)
    network.load_arrays(arrays)
    return ForeignWeights(network, tuple(reader.notes))


def _guess(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, dict[str, int]]:
    """Kind and sizes of the network that the tensors seem to be of."""
    if not shapes:
        raise LayoutMismatch("no tensors")
    first = shapes.get("model.0.weight", ())
    if len(first) == 4 and first[2:] == (4, 4):
        raise LayoutMismatch(
            f"a discriminator (tensor 'model.0.weight' of shape {first}), which edits no pictures"
        )
    volume = next((name for name, shape in shapes.items() if len(shape) == 5), None)
    if volume is not None:
        raise LayoutMismatch(
            f"a network of videos or volumes (tensor '{volume[:80]}' of shape {shapes[volume]}), and a zoo "
            "holds networks of pictures"
        )
    for kind, marker in ((UNet.kind, "model.model.0.weight"), (ResNet.kind, "model.1.weight")):
        if len(shapes.get(marker, ())) == 4:
            return kind, NETWORKS[kind].guess_sizes(shapes)
    for kind, network in NETWORKS.items():
        sizes = network.sizes_of(shapes) if kind not in (UNet.kind, ResNet.kind) else None
        if sizes is not None:
            return kind, sizes
    name = next(iter(shapes))
    raise LayoutMismatch(
        f"an unknown network: its first tensor is '{name[:80]}' {shapes[name]}, expected "
        "'model.model.0.weight' of a pix2pix U-Net or 'model.1.weight' of a pix2pix ResNet"
    )


def _check_options(kind: str, sizes: Mapping[str, int], options: Mapping[str, str]) -> None:
    """Raise if options of the authors' code contradict the tensors."""
    generator = options.get("netG", "")
    known, count = _GENERATORS.get(generator, ("", 0))
    actual = sizes.get("n_halvings", sizes.get("n_stages", 0))
    if known and (known, count) != (kind, actual):
        raise LayoutMismatch(f"options with netG {generator}, and weights of {_summary(kind, sizes)}")
    norm, width = options.get("norm", ""), options.get("ngf", "")
    if norm.replace("sync", "") in NORMS and norm.replace("sync", "") != NORMS[sizes.get("norm", 0)]:
        raise LayoutMismatch(f"options with norm {norm}, and weights of {_summary(kind, sizes)}")
    if re.fullmatch("[0-9]{1,6}", width) and int(width) != sizes.get("width", 0):
        raise LayoutMismatch(f"options with ngf {width}, and weights of {_summary(kind, sizes)}")
    for side in ("input_nc", "output_nc"):
        if options.get(side, "3") != "3":
            raise LayoutMismatch(
                f"options with {side} {options[side][:20]}; networks from RGB to RGB are known"
            )


def _check_shapes(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], summary: str
) -> None:
    """Raise at the first tensor, in the order of the network, that is missing or has another shape."""
    for name, shape in expected.items():
        if name not in shapes:
            raise LayoutMismatch(f"no tensor '{name}', which {summary} has with shape {shape}")
        if shapes[name] != shape:
            raise LayoutMismatch(f"tensor '{name}' of shape {shapes[name]}, {summary} expects {shape}")
    unexpected = next((name for name in shapes if name not in expected), None)
    if unexpected is not None:
        raise LayoutMismatch(
            f"tensor '{unexpected[:80]}' {shapes[unexpected]}, which {summary} does not have"
        )


def _check_values(tensors: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Raise at the first tensor that cannot be one of weights: quantized, not finite, or no variance."""
    for name in names:
        tensor = tensors[name]
        is_count = name.endswith("num_batches_tracked")
        if not tensor.is_floating_point() and not is_count:
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise LayoutMismatch(f"tensor '{name}' of {dtype}, and weights are floating-point numbers")
        if not bool(tensor.float().isfinite().all()):  # in float32, which is what a zoo holds
            raise LayoutMismatch(f"tensor '{name}' with NaN or infinite values in float32")
        if (is_count or name.endswith("running_var")) and bool((tensor.float() < 0).any()):
            raise LayoutMismatch(f"tensor '{name}' with negative values, and it is a variance or a count")


def _summary(kind: str, sizes: Mapping[str, int]) -> str:
    words = {
        "n_halvings": "{} halvings",
        "n_stages": "{} stages",
        "width": "width {}",
    }
    parts = [kind, *(text.format(sizes[name]) for name, text in words.items() if name in sizes)]
    if "norm" in sizes:
        parts.append(f"norm {NORMS[sizes['norm']]}")
    if "dropout" in sizes:
        parts.append(f"dropout {sizes['dropout']} %" if sizes["dropout"] else "no dropout")
    return ", ".join(parts)
