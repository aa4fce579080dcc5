"""Clipping of gradients that are much longer than the usual ones."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["GradientClip"]

_MOST_OF_USUAL, _DECAY = 1.3, 0.2
"""Longest gradient in units of the running mean, and the share of a step in that mean."""


class GradientClip:
    """Shortens gradients that are much longer than the running mean of the lengths before.

    A batch on which a good network goes astray would otherwise spoil the running means of its optimizer, and
    the steps after it. The mean adapts, so no threshold has to be chosen.

    Args:
        parameters: the parameters whose gradients are clipped together.

    Example:
        >>> weight = nn.Parameter(torch.zeros(4))
        >>> clip, lengths = GradientClip([weight]), []
        >>> for size in (1.0, 1.0, 8.0):
        ...     weight.grad = torch.full((4,), size / 2)
        ...     clip()
        ...     lengths.append(round(float(weight.grad.norm()), 2))
        >>> lengths
        [1.0, 1.0, 1.3]
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.usual = math.inf

    @torch.no_grad()
    def __call__(self) -> None:
        """Clip the present gradients, in place. Parameters without one are left out."""
        gradients = [one.grad for one in self.parameters if one.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([one.norm() for one in gradients])))
        if not 0 < norm < math.inf:  # of a batch without an error, or of a training that diverges
            return
        most = _MOST_OF_USUAL * self.usual
        if norm > most:
            for gradient in gradients:
                gradient.mul_(most / norm)
            norm = most
        self.usual = norm if math.isinf(self.usual) else self.usual + _DECAY * (norm - self.usual)

    def state(self) -> dict[str, Tensor]:
        """The running mean by name."""
        return {"usual": torch.tensor(self.usual, dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore the output of `state`.

        Raises:
            KeyError: it is the state of something else.
        """
        self.usual = float(state["usual"])
