"""Natural-gradient steps on an adapter: they need no learning rate, and never make a start worse.

The curvature of the squared error is a Kronecker product for each layer (K-FAC). One factor
is the second moment of the layer's low-rank inputs `A x`, close to the identity since A is
whitened. The other is the second moment of the gradients that reach the layer's outputs from
random errors of the edited images: one backward pass gives an unbiased sample of the
Gauss-Newton matrix. The damping is found by trying, on the true error.

Source:
    Martens and Grosse (2015), arXiv:1503.05671, section 4; for convolutions Grosse and Martens (2016),
    arXiv:1602.01407, section 4, with derivatives taken as uncorrelated between pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call

from initzoo.networks.adapters import Adapted

__all__ = ["NaturalGradient"]

_RELAX, _TIGHTEN = 6.0, 6.0
"""Factors of the damping after a step that lowered the error, and after one that did not."""

_N_TRIES = 6
"""Dampings that a step tries at most, each a forward pass."""

_FLOOR = 1e-9
"""Least damping, as a share of the mean curvature: for coordinates that have no effect at all."""


@dataclass
class _Curvature:
    """The gradient and the curvature of one layer, in the coordinates in which the latter is diagonal.

    Args:
        left: eigenvectors of the factor of the outputs, shape `(out, out)`.
        right: eigenvectors of the factor of the low-rank inputs and the one, shape `(rank + 1, rank + 1)`.
        values: curvatures, shape `(out, rank + 1)`.
        gradient: of the error, in these coordinates, same shape.
    """

    left: Tensor
    right: Tensor
    values: Tensor
    gradient: Tensor

    def step(self, damping: float) -> Tensor:
        """The step for a damping, shape `(out, rank + 1)`, the bias last."""
        return -self.left @ (self.gradient / (self.values + damping)) @ self.right.T


@dataclass
class NaturalGradient:
    """Takes natural-gradient steps on an adapter of a frozen base.

    Args:
        base: the base, on the CPU; not changed.
        seed: seed of the random errors.

    Example:
        >>> from initzoo.networks.starter import StarterNet
        >>> base = Adapted(StarterNet(), {"detail": 4, "head": 8}, generator=torch.Generator().manual_seed(0))
        >>> photos = torch.rand(2, 3, 32, 32) * 2 - 1
        >>> steps, adapter = NaturalGradient(base), torch.zeros(base.n_adapter_values)
        >>> before = steps.error(adapter, photos, -photos)
        >>> adapter, after = steps.take(adapter, photos, -photos)
        >>> after < before
        True
    """

    base: Adapted
    seed: int = 0
    _generator: torch.Generator = field(init=False, repr=False)
    _damping: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    @torch.no_grad()
    def error(self, adapter: Tensor, inputs: Tensor, targets: Tensor) -> float:
        """The mean squared error of an adapter on pairs.

        Args:
            adapter: shape `(n_values,)`.
            inputs: shape `(n, 3, height, width)`, values -1 to 1.
            targets: same shape.
        """
        return float((self.base(inputs, adapter) - targets).square().mean())

    def take(self, adapter: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        """Take one step on the squared error of some pairs.

        Args:
            adapter: shape `(n_values,)`.
            inputs: shape `(n, 3, height, width)`, values -1 to 1.
            targets: same shape.

        Returns:
            The new adapter and its mean squared error, never above that of the old one: if no damping
            lowers it, the adapter is returned as it was.
        """
        values = adapter.detach().clone().requires_grad_()
        with self._watched() as seen:
            edited = functional_call(self.base.network, self.base.merged(values), (inputs,))
        error = (edited - targets).square().mean()
        (gradient,) = torch.autograd.grad(error, [values], retain_graph=True)
        # Errors of this size have the Gauss-Newton matrix of the mean squared error as their covariance.
        noise = torch.randn(edited.shape, generator=self._generator)
        noise = noise.to(edited.device) * math.sqrt(2 / edited.numel())
        outputs = [made for _, made in seen.values()]
        reached = torch.autograd.grad(edited, outputs, grad_outputs=noise)
        layers = {
            name: self._curvature(name, given, back, gradient)
            for (name, (given, _)), back in zip(seen.items(), reached, strict=True)
        }
        return self._search(adapter.detach(), layers, inputs, targets, error.item())

    @torch.no_grad()
    def _curvature(self, name: str, given: Tensor, reached: Tensor, gradient: Tensor) -> _Curvature:
        """The curvature along B and bias of a layer, from its inputs and the gradients of random errors."""
        n_images = len(given)
        low_rank = _to_rows(self.base.low_rank(name, given))
        low_rank = torch.cat([low_rank, torch.ones_like(low_rank[:, :1])], dim=1)  # the bias sees a one
        reached = _to_rows(reached)
        inner, right = torch.linalg.eigh(low_rank.T @ low_rank)
        outer, left = torch.linalg.eigh(reached.T @ reached)
        values = outer.clamp(min=0)[:, None] * inner.clamp(min=0)
        # The factors take the gradients of neighbouring pixels as uncorrelated, which they are not. Those of
        # whole images, one per random error, have the true trace of the curvature.
        samples = reached.view(n_images, -1, reached.shape[1]).mT @ low_rank.view(
            n_images, -1, low_rank.shape[1]
        )
        values *= samples.square().sum() / values.sum().clamp(min=1e-30)
        b, bias = (self.base.adapter_tensor(f"{name}.{part}", gradient) for part in ("B", "bias"))
        both = torch.cat([b, bias[:, None]], dim=1)
        return _Curvature(left, right, values, left.T @ both @ right)

    def _search(
        self,
        adapter: Tensor,
        layers: Mapping[str, _Curvature],
        inputs: Tensor,
        targets: Tensor,
        error: float,
    ) -> tuple[Tensor, float]:
        """Take the step of the least damping that lowers the error (Levenberg and Marquardt).

        One damping for all layers: what hardly has an effect then stays where it is, instead of being moved
        as far as its own tiny curvature allows.
        """
        mean = sum(float(layer.values.sum()) for layer in layers.values()) / adapter.numel()
        damping = mean if self._damping is None else self._damping / _RELAX
        for _ in range(_N_TRIES):
            damping = max(damping, _FLOOR * mean)
            moved = adapter.clone()
            for name, layer in layers.items():
                step = layer.step(damping)
                self.base.adapter_tensor(f"{name}.B", moved).add_(step[:, :-1])
                self.base.adapter_tensor(f"{name}.bias", moved).add_(step[:, -1])
            reached = self.error(moved, inputs, targets)
            if reached < error:  # False for NaN
                self._damping = damping
                return moved, reached
            damping *= _TIGHTEN
        self._damping = damping
        return adapter.clone(), error

    @contextmanager
    def _watched(self) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
        """Collect input and output of every adapted layer of a forward pass."""
        seen: dict[str, tuple[Tensor, Tensor]] = {}

        def keep(name: str, given: tuple[Tensor, ...], made: Tensor) -> None:
            seen[name] = (given[0].detach(), made)

        hooks = [
            self.base.network.get_submodule(name).register_forward_hook(
                lambda layer, given, made, name=name: keep(name, given, made)
            )
            for name in self.base.ranks
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()


def _to_rows(values: Tensor) -> Tensor:
    """All places of a batch as rows, shape `(n_places, channels)`."""
    return values.flatten(0, -2) if values.ndim < 4 else values.movedim(1, -1).flatten(0, -2)
