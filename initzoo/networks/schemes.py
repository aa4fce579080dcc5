"""Classical initialization schemes, for any network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from initzoo.errors import UnknownInitialization
from initzoo.networks.scheme_names import CLASSICAL

__all__ = ["initialise"]

_SIZE = 0.02

_FILLS: dict[str, Callable[[Tensor], object]] = {
    "zeros": nn.init.zeros_,
    "constant": lambda weight: nn.init.constant_(weight, _SIZE),
    "uniform": lambda weight: nn.init.uniform_(weight, -0.05, 0.05),
    "normal": lambda weight: nn.init.normal_(weight, 0.0, _SIZE),
    "truncated_normal": lambda weight: nn.init.trunc_normal_(weight, 0.0, _SIZE, -2 * _SIZE, 2 * _SIZE),
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    # A linear layer has no kernel to put the one in.
    "dirac": lambda weight: nn.init.dirac_(weight) if weight.ndim > 2 else nn.init.eye_(weight),
    # torch's sparse_ treats columns as units.
    "sparse": lambda weight: nn.init.sparse_(weight.flatten(1).T, sparsity=0.9, std=0.1),
}


@torch.no_grad()
def initialise(module: nn.Module, name: str, *, seed: int) -> None:
    """Initialize all convolutions and linear layers by a classical scheme; biases become zero.

    PyTorch's default also draws biases. Normalisation layers are not changed.

    Args:
        module: the module, on the CPU; changed in place.
        name: one of `CLASSICAL` except `he_residual`, which exists for one network only.
        seed: seed of the weights.

    Raises:
        UnknownInitialization: the scheme is unknown.

    Example:
        >>> layer = nn.Conv2d(2, 4, 3)
        >>> initialise(layer, "constant", seed=0)
        >>> layer.weight.unique().tolist() == [layer.weight[0, 0, 0, 0].item()], layer.bias.tolist()
        (True, [0.0, 0.0, 0.0, 0.0])
    """
    if name not in CLASSICAL or name == "he_residual":
        raise UnknownInitialization(f"{name!r} is not a classical initialization for any network.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in module.modules():
            if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                continue
            if name in _FILLS:
                _FILLS[name](layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            else:
                layer.reset_parameters()
                if name == "eye" and layer.weight[0, 0].numel() == 1:
                    nn.init.eye_(layer.weight.flatten(1))
