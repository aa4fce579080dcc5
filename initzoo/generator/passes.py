"""Passes that refine adapters by example pairs: each sees what the adapter does wrong on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initzoo.files import DamagedFile
from initzoo.generator.denoisers import PairDenoiser, PairView
from initzoo.generator.encoders import Context
from initzoo.generator.shape import DenoiserShape

if TYPE_CHECKING:
    from initzoo.networks import Adapted

__all__ = ["PASS_CROP", "PASS_PAIRS", "PairPasses", "build_pair_denoiser", "pass_gradient"]

PASS_PAIRS, PASS_CROP = 8, 32
"""Crops of pairs that a pass sees, at most, and their side, pixels, as in training."""


class PairPasses:
    """Refines adapters by the passes of a denoiser of pairs.

    Args:
        denoiser: the denoiser of pairs, frozen.
        context: arrays of the encoded words, one row; None without words.
        mean: mean of the train adapters, blocks.
        scale: divisor of the residuals, same shape.
        mask: False at padding, same shape.
        licence: licence of the denoiser's weights.
    """

    def __init__(
        self,
        denoiser: PairDenoiser,
        context: Mapping[str, NDArray[Any]] | None,
        *,
        mean: NDArray[np.float32],
        scale: NDArray[np.float32],
        mask: NDArray[np.bool_],
        licence: str = "",
    ) -> None:
        self._denoiser, self.licence = denoiser, licence
        if context is None:
            no_words = torch.zeros(1, 1, denoiser.shape.n_word_values), torch.zeros(1, 1, dtype=torch.bool)
            self._context = Context(*no_words)
        else:
            self._context = Context.of(context)
        self._mean, self._scale = torch.from_numpy(mean), torch.from_numpy(scale)
        self._places = torch.from_numpy(np.flatnonzero(mask))

    @property
    def n_passes(self) -> int:
        """Number of passes of a call."""
        return self._denoiser.n_passes

    def __call__(self, base: Adapted, adapters: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Run all passes.

        Args:
            base: the base of the adapters, frozen.
            adapters: flat adapters to start from, shape `(n, n_values)`.
            inputs: crops of the pairs, shape `(n_crops, 3, side, side)`, values -1 to 1.
            targets: the same after the edit.

        Returns:
            Refined adapters, shape `(n, n_values)`.
        """
        count = len(adapters)
        shown = torch.stack([inputs, targets], dim=1)[None].expand(count, -1, -1, -1, -1, -1)
        mask = torch.ones(count, len(inputs), dtype=torch.bool)
        residuals = self._to_residuals(adapters)
        with torch.no_grad():
            tokens, bias = self._denoiser.read(shown, mask, self._context.repeat(count))
        for number in range(self.n_passes):
            gradient, loss = pass_gradient(base, self._to_adapters, residuals, shown, mask)
            with torch.no_grad():
                residuals = self._denoiser(residuals, PairView(gradient, loss, tokens, bias), number)
        return self._to_adapters(residuals)

    def _to_adapters(self, residuals: Tensor) -> Tensor:
        blocks = torch.addcmul(self._mean, residuals, self._scale)
        return blocks.flatten(1).index_select(1, self._places)

    def _to_residuals(self, adapters: Tensor) -> Tensor:
        blocks = torch.zeros(len(adapters), self._mean.numel())
        blocks[:, self._places] = adapters
        # At padding the mean is zero and the scale one.
        return (blocks.view(-1, *self._mean.shape) - self._mean) / self._scale


def pass_gradient(
    base: Adapted, to_adapters: Callable[[Tensor], Tensor], residuals: Tensor, shown: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient of the error on pairs with respect to residuals, and the error.

    Args:
        base: the base of the adapters, frozen.
        to_adapters: converts residuals to flat adapters.
        residuals: shape `(batch, n_blocks, block_size)`.
        shown: pairs, values -1 to 1, shape `(batch, n_pairs, 2, 3, size, size)`.
        mask: which pairs there are, bool, shape `(batch, n_pairs)`.

    Returns:
        The gradient, shape of the residuals, and the mean absolute error of each row, shape `(batch,)`.
    """
    # In float32, as at use: passes live on small differences of gradients.
    with torch.enable_grad(), torch.autocast(residuals.device.type, enabled=False):
        varied = residuals.detach().requires_grad_()
        pairs = shown.flatten(0, 1)
        edited = base(pairs[:, 0], to_adapters(varied))
        errors = (edited.float() - pairs[:, 1]).abs().mean(dim=(1, 2, 3)).view(mask.shape)
        losses = (errors * mask).sum(dim=1) / mask.sum(dim=1)
        (gradient,) = torch.autograd.grad(losses.sum(), varied)
    return gradient.detach(), losses.detach()


def build_pair_denoiser(shape: DenoiserShape, weights: Mapping[str, NDArray[np.float16]]) -> PairDenoiser:
    """A denoiser of pairs with given weights, frozen.

    Raises:
        DamagedFile: a weight is missing, not needed, or has another shape.
    """
    with torch.device("meta"):  # checks shapes without allocating memory
        denoiser = PairDenoiser(shape)
    expected = {name: tuple(value.shape) for name, value in denoiser.state_dict().items()}
    for name in sorted({*expected, *weights}):
        found = weights[name].shape if name in weights else None
        if found != expected.get(name):
            raise DamagedFile(f"tensor '{name}': expected {expected.get(name)}, found {found}")
    state = {name: torch.from_numpy(value).float() for name, value in weights.items()}
    denoiser.load_state_dict(state, assign=True)
    return denoiser.eval().requires_grad_(False)
