"""Muon: orthogonal steps for the matrices of a denoiser whose weights are one flat tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["MatrixSteps", "orthogonalised"]

_DECAY = 0.95
_STEP_SIZE = 0.2
"""Root mean square of a step, about that of a step of AdamW, so that both use one learning rate."""

_LEAST_AXIS = 16
"""Axes of matrices are longer. Thinner ones have too few directions to be made orthogonal."""

_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Its fixed points are near 1, and it moves small singular values there in few iterations."""

_N_ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """Bring all singular values of matrices near 1, by iterations of Newton and Schulz.

    Args:
        matrices: shape `(n, rows, columns)`.

    Returns:
        float32, same shape; singular values are roughly between 0.7 and 1.2, as steps do not need them exact.

    Source:
        Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks".

    Example:
        >>> turned = orthogonalised(torch.diag(torch.tensor([5.0, 1.0, 0.2]))[None])
        >>> bool(((turned[0].diagonal() - 1).abs() < 0.4).all())
        True
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True).to(x.dtype) + 1e-7)
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:  # the product below is the smaller one then
        x = x.mT
    first, third, fifth = _POLYNOMIAL
    for _ in range(_N_ITERATIONS):
        product = x @ x.mT
        x = first * x + (third * product + fifth * (product @ product)) @ x
    return (x.mT if is_tall else x).float()


@dataclass(eq=False)
class MatrixSteps:
    """Takes the steps of the matrices among flat weights.

    Args:
        spans: begin and end of the matrices in the flat weights, by their shape. A span can hold several
            matrices of one shape.
        momentum: running mean of the gradients, flat.

    Source:
        Liu et al. (2025), "Muon is scalable for LLM training", arXiv:2502.16982, for the size of steps.
    """

    spans: Mapping[tuple[int, int], Sequence[tuple[int, int]]]
    momentum: Tensor

    @classmethod
    def of(cls, module: nn.Module) -> MatrixSteps:
        """Find the matrices of a module: the weights of layers, but no embeddings of places or words."""
        spans: dict[tuple[int, int], list[tuple[int, int]]] = {}
        end = 0
        for name, parameter in module.named_parameters():
            begin, end = end, end + parameter.numel()
            is_embedding = name.rpartition(".")[2] in ("places", "learned", "leave_bias")
            if parameter.ndim > 1 and min(parameter.shape[-2:]) > _LEAST_AXIS and not is_embedding:
                rows, columns = parameter.shape[-2:]
                spans.setdefault((rows, columns), []).append((begin, end))
        device = next(module.parameters()).device
        return cls(spans, torch.zeros(end, device=device))

    def take(self, values: Tensor, gradient: Tensor, rate: Tensor) -> None:
        """Take a step in place, and set the gradient of the matrices to zero.

        Args:
            values: flat weights.
            gradient: their gradient.
            rate: the learning rate, a scalar.
        """
        for (rows, columns), spans in self.spans.items():
            ahead = []
            for begin, end in spans:
                self.momentum[begin:end].lerp_(gradient[begin:end], 1 - _DECAY)
                # Nesterov: where the momentum would be after one more such gradient.
                ahead.append(gradient[begin:end].lerp(self.momentum[begin:end], _DECAY))
                gradient[begin:end].zero_()
            steps = orthogonalised(torch.cat(ahead).view(-1, rows, columns)).flatten()
            scale = rate * (_STEP_SIZE * math.sqrt(max(rows, columns)))
            for (begin, end), step in zip(spans, steps.split([b - a for a, b in spans]), strict=True):
                values[begin:end] -= scale * step
