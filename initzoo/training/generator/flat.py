"""The parameters of a module as views of one flat tensor, which an optimizer changes as a whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from initzoo.generator import round_weight

__all__ = ["bind_parameters", "round_parameters"]


def bind_parameters(module: nn.Module, values: Tensor, gradient: Tensor | None = None) -> None:
    """Make the parameters of a module, and their gradients, views of flat tensors."""
    start = 0
    for parameter in module.parameters():
        end = start + parameter.numel()
        parameter.data = values[start:end].view(parameter.shape)
        if gradient is not None:
            parameter.grad = gradient[start:end].view(parameter.shape)
        start = end


@torch.no_grad()
def round_parameters(module: nn.Module) -> None:
    """Round all parameters to what files hold: matrices to eight bits, the others to float16."""
    for parameter in module.parameters():
        parameter.copy_(torch.from_numpy(round_weight(parameter.numpy())))
