"""Adam by torch's own kernel: the first use of `torch.optim.Adam` would import the compiler of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

__all__ = ["Adam"]


class Adam:
    """Adam without weight decay: the same steps as `torch.optim.Adam(..., fused=True)`, bit for bit.

    A command that takes a second of steps would otherwise wait longer for the import than for them.

    Args:
        parameters: parameters to train, on one device.
        betas: decay of the running means of gradients, and of their squares.

    Source:
        Kingma and Ba (2015), arXiv:1412.6980.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> optimizer, target = Adam(layer.parameters(), betas=(0.9, 0.99)), torch.ones(4, 1)
        >>> losses = []
        >>> for _ in range(50):
        ...     loss = (layer(torch.ones(4, 2)) - target).square().mean()
        ...     losses.append(loss.item())
        ...     loss.backward()
        ...     optimizer.step(0.1)
        >>> losses[-1] < 0.1 * losses[0] + 1e-3
        True
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, betas: tuple[float, float]) -> None:
        self.parameters = list(parameters)
        self.betas = betas
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.counts = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take a step along the gradients, and delete them. A parameter without a gradient stays.

        Args:
            rate: learning rate of this step.
        """
        places = [place for place, one in enumerate(self.parameters) if one.grad is not None]
        adam(
            [self.parameters[place] for place in places],
            [grad for grad in (self.parameters[place].grad for place in places) if grad is not None],
            [self.means[place] for place in places],
            [self.squares[place] for place in places],
            [],
            [self.counts[place] for place in places],
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        self.forget()

    def forget(self) -> None:
        """Delete the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Running means and counts by name."""
        return {
            f"{place}.{name}": value
            for name, values in self._values().items()
            for place, value in enumerate(values)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the output of `state`.

        Raises:
            KeyError, RuntimeError: the state is that of other parameters.
        """
        for name, values in self._values().items():
            for place, value in enumerate(values):
                value.copy_(state[f"{place}.{name}"])

    def _values(self) -> dict[str, list[Tensor]]:
        return {"mean": self.means, "square": self.squares, "count": self.counts}
